//! An ffmpeg that is fed with frames.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use super::said;
use crate::children::Program;
use crate::video::encoder::{Encoder, Stop};

/// The end of what it says that is kept, in bytes, and told, in lines.
const KEPT: usize = 4096;
pub(super) const LINES: usize = 4;

/// What ffmpeg 5.1 says of a file that is none, before it ends as if all had gone well; on a full disk, for one.
const NOT_WRITTEN: [&str; 4] = [
    "Error writing trailer",
    "Error closing file",
    "av_interleaved_write_frame(): ",
    // Of an encoder that the container does not know.
    "file will be unreadable",
];

/// Where an ffmpeg writes.
pub(super) struct Target {
    /// The file, as it is called until it is complete.
    pub(super) staged: PathBuf,
    /// The file that it will be.
    pub(super) shown: PathBuf,
}

/// A running ffmpeg. Dropped before its end, it is killed.
pub(super) struct Ffmpeg {
    program: Program,
    frames: Option<ChildStdin>,
    said: Option<JoinHandle<Vec<u8>>>,
    to: Target,
}

/// How an ffmpeg ended that has written no file.
pub(super) struct Died {
    status: ExitStatus,
    lines: Vec<String>,
}

impl Died {
    /// In words, with some of the lines that it said.
    pub(super) fn told(&self, some: impl FnOnce(&[String]) -> &[String]) -> String {
        let said = some(&self.lines).join("; ");
        match (self.status.success(), said.is_empty()) {
            (true, true) => "ffmpeg ended and has not written the file".into(),
            (false, true) => format!("ffmpeg failed ({}) and said nothing", self.status),
            (_, false) => format!("ffmpeg failed ({}): {said}", self.status),
        }
    }
}

impl Ffmpeg {
    /// Starts it; it writes the file `to`, which the arguments name.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(arguments: &[OsString], to: Target) -> io::Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut program = Program::start(&mut command)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot run ffmpeg: {error}")))?;
        let frames = program.pipes().stdin.take();
        let stderr = program.pipes().stderr.take();
        let said = std::thread::Builder::new()
            .name("ffmpeg's errors".into())
            .spawn(move || stderr.map(end_of).unwrap_or_default());
        let mut ffmpeg = Self { program, frames, said: None, to };
        ffmpeg.said = Some(said?);
        Ok(ffmpeg)
    }

    /// Hands it bytes of frames.
    ///
    /// # Errors
    /// That it takes no more.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let frames = self.frames.as_mut().ok_or_else(|| io::Error::other("ffmpeg has ended"))?;
        frames.write_all(bytes)
    }

    /// Waits for its end; gives how it died, if it has.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn end(&mut self) -> io::Result<Option<Died>> {
        self.frames = None;
        // First: what it has left behind would keep its errors open.
        let status = self.program.wait()?;
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let file = self.to.staged.symlink_metadata();
        let is_there = file.is_ok_and(|file| file.is_file() && file.len() > 0);
        let is_written = !NOT_WRITTEN.iter().any(|words| said.contains(words));
        if status.success() && is_there && is_written {
            return Ok(None);
        }
        Ok(Some(Died { status, lines: said::lines(&said, &self.to.staged, &self.to.shown) }))
    }

    /// Waits for its end; that it died is an error, told with the last that it said.
    fn end_well(&mut self) -> io::Result<()> {
        let last = |lines: &[String]| lines.len().saturating_sub(LINES);
        match self.end()? {
            None => Ok(()),
            Some(died) => Err(io::Error::other(died.told(|lines| &lines[last(lines)..]))),
        }
    }
}

/// Reads to the end, and keeps what came last.
fn end_of(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; KEPT];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    kept
}

impl Encoder for Ffmpeg {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        // A broken pipe is not told as such: the reader of the video is not ffmpeg, and it tells more.
        self.feed(frame).or_else(|_| {
            self.end_well()?;
            Err(io::Error::other("ffmpeg ended before the video"))
        })
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.end_well()
    }

    fn stop(&self) -> Option<Stop> {
        Some(Box::new(self.program.killer()))
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        if let Some(said) = self.said.take() {
            self.frames = None;
            self.program.killer()();
            let _ = self.program.wait();
            let _ = said.join();
        }
    }
}
