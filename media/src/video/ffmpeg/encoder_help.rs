//! What ffmpeg tells of an encoder.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use crate::children::Program;

/// What can be known of an encoder of videos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EncoderHelp {
    /// Its own names of the pixel formats that it takes; empty if it does not say.
    pub(super) pixel_formats: Vec<String>,
    /// Whether it has a quality called `crf`.
    pub(super) has_crf: bool,
}

impl EncoderHelp {
    /// Runs ffmpeg. `None` if it has no encoder of videos of that name.
    ///
    /// # Errors
    /// That it cannot be run: [`io::ErrorKind::NotFound`] if there is none.
    pub(super) fn ask(codec: &str) -> io::Result<Option<Self>> {
        let help = format!("encoder={codec}");
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-h", &help]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::start(&mut command)?;
        let pipes = program.pipes();
        let (stdout, stderr) = (pipes.stdout.take(), pipes.stderr.take());
        let errors = std::thread::spawn(move || stderr.map(all_of).unwrap_or_default());
        let text = stdout.map(all_of).unwrap_or_default();
        let status = program.wait()?;
        let said = errors.join().unwrap_or_default();
        if !status.success() {
            let said = String::from_utf8_lossy(&said);
            let said = said.trim().lines().last().map(|last| format!(": {last}"));
            let said = said.unwrap_or_default();
            return Err(io::Error::other(format!("it ended with {status}{said}")));
        }
        let is_name =
            codec.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let text = String::from_utf8_lossy(&text);
        Ok(Self::parse(&text, codec).filter(|_| is_name))
    }

    fn parse(text: &str, codec: &str) -> Option<Self> {
        // Several encoders of a format are told one after the other, if the name is that of the format.
        let (mut found, mut is_its) = (None, false);
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("Encoder ") {
                is_its = rest.split_whitespace().next() == Some(codec);
                if is_its {
                    found = Some(Self { pixel_formats: Vec::new(), has_crf: false });
                }
            }
            let Some(found) = found.as_mut().filter(|_| is_its) else { continue };
            let line = line.trim_start();
            if line.starts_with("Supported sample") || line.starts_with("Supported channel") {
                // An encoder of sound.
                return None;
            }
            if let Some(formats) = line.strip_prefix("Supported pixel formats:") {
                found.pixel_formats = formats.split_whitespace().map(str::to_owned).collect();
            }
            found.has_crf |= line.split_whitespace().next() == Some("-crf");
        }
        found
    }
}

/// All that comes of a pipe, until it cannot be read.
fn all_of(mut pipe: impl Read) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = pipe.read_to_end(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_understood() {
        let text = "Encoder libx265 [libx265 H.265 / HEVC]:
    General capabilities: dr1 delay threads 
    Supported pixel formats: yuv420p yuv420p10le
libx265 AVOptions:
  -crf               <float>      E..V....... set the x265 crf (from -1 to FLT_MAX) (default -1)
";
        let help = EncoderHelp::parse(text, "libx265").unwrap();
        assert_eq!(help.pixel_formats, ["yuv420p", "yuv420p10le"]);
        assert!(help.has_crf);
        assert_eq!(EncoderHelp::parse(text, "hevc"), None);
        assert_eq!(EncoderHelp::parse("Codec 'x' is not recognized by FFmpeg.", "x"), None);
        let sound = "Encoder aac [AAC]:\n    Supported sample formats: fltp\n";
        assert_eq!(EncoderHelp::parse(sound, "aac"), None);
        let silent = "Encoder odd [Odd]:\n  -crf_max  <float>  E..V\n";
        let expected = EncoderHelp { pixel_formats: Vec::new(), has_crf: false };
        assert_eq!(EncoderHelp::parse(silent, "odd"), Some(expected));
    }
}
