//! What ffmpeg said, fit for an error in one line.

use std::path::Path;

/// What comes of an error, and tells nothing of it.
const CONSEQUENCES: [&str; 7] = [
    "Error initializing output stream",
    "Error reinitializing filters",
    "Failed to inject frame into filter network",
    "Error while processing the decoded data",
    "Could not write header for output file",
    "Conversion failed",
    "Error while opening encoder",
];

/// What libraries tell where nothing is wrong.
const FIGURES: [&str; 4] = ["[info]:", "[debug]:", "Svt[info]", "encoded 0 frames"];

/// The lines that tell what was wrong: without figures, consequences (unless there is nothing else) and
/// addresses in memory, and with the name of the file that it was for, `shown`, in the place of that which
/// it has until it is complete, `staged`.
pub(super) fn lines(said: &str, staged: &Path, shown: &Path) -> Vec<String> {
    let [staged, shown] = [staged, shown].map(|path| path.display().to_string());
    let lines = said.lines().map(str::trim).filter(|line| {
        let is_figure = FIGURES.iter().any(|figure| line.contains(figure));
        !line.is_empty() && !is_figure
    });
    let lines: Vec<&str> = lines.collect();
    let is_cause = |line: &&str| !CONSEQUENCES.iter().any(|words| line.starts_with(words));
    let causes: Vec<&str> = lines.iter().copied().filter(is_cause).collect();
    let told = if causes.is_empty() { lines } else { causes };
    let plain = |line: &str| {
        let line = without_address(line).replace(&format!("file:{staged}"), &shown);
        line.replace(&staged, &shown)
    };
    told.into_iter().map(|line| cut(&plain(line))).collect()
}

/// The beginning of what a program may say without end in a line, without its control characters.
fn cut(line: &str) -> String {
    const LONGEST: usize = 300;
    line.chars().filter(|char| !char.is_control()).take(LONGEST).collect()
}

/// `[webm @ 0x55f7a5e68c40] text` as `webm: text`.
fn without_address(line: &str) -> String {
    let parts = || {
        let (name, rest) = line.strip_prefix('[')?.split_once(" @ 0x")?;
        let (_, text) = rest.split_once("] ")?;
        Some(format!("{name}: {text}"))
    };
    parts().unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &str) -> Vec<String> {
        lines(said, Path::new("/a/.halovae-1/0.mkv"), Path::new("b.mkv"))
    }

    #[test]
    fn lines_are_no_longer_than_one_can_read() {
        let said = format!("{}bad\n{}", "\0".repeat(4000), "x".repeat(4000));
        assert_eq!(told(&said), ["bad".to_owned(), "x".repeat(300)]);
    }

    /// As ffmpeg 5.1 has said it.
    #[test]
    fn causes_are_told() {
        let of_container = "\
[webm @ 0x55f7a5e68c40] Only VP8 or VP9 or AV1 video are supported for WebM.
Could not write header for output file #0 (incorrect codec parameters ?): Invalid argument
Error initializing output stream 0:0 -- 
Conversion failed!
";
        assert_eq!(
            told(of_container),
            ["webm: Only VP8 or VP9 or AV1 video are supported for WebM."]
        );
        let of_encoder = "
x265 [info]: HEVC encoder version 3.5+1-f0c1022b6
x265 [error]: Valid quality based range: -qpBDOffsetY to 51
[libx265 @ 0x558563626c00] Cannot open libx265 encoder.
Error initializing output stream 0:0 -- Error while opening encoder for output stream #0:0 - maybe \
incorrect parameters such as bit_rate, rate, width or height
";
        assert_eq!(
            told(of_encoder),
            [
                "x265 [error]: Valid quality based range: -qpBDOffsetY to 51",
                "libx265: Cannot open libx265 encoder."
            ]
        );
        assert_eq!(told("Conversion failed!\n"), ["Conversion failed!"]);
        assert_eq!(told(" \n\n"), [""; 0]);
    }

    #[test]
    fn files_have_the_names_that_the_user_gave_them() {
        assert_eq!(
            told("file:/a/.halovae-1/0.mkv: No space left\n[a] b /a/.halovae-1/0.mkv"),
            ["b.mkv: No space left", "[a] b b.mkv"]
        );
    }
}
