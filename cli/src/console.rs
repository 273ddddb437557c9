//! What goes to stdout and stderr. Neither may be there any more.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use halovae_media::{Temporary, check_place};

use crate::args::Verbosity;
use crate::error::{Chain, Error};
use crate::notices::Notice;

/// Writes `text` to stdout, or to the file `to`.
///
/// # Errors
/// What the system says; [`Error::BrokenPipe`] if the reader of stdout is gone.
pub(crate) fn emit(text: &[u8], to: Option<&Path>) -> Result<(), Error> {
    let Some(path) = to else {
        let mut stdout = io::stdout().lock();
        return stdout.write_all(text).and_then(|()| stdout.flush()).map_err(Error::stdout);
    };
    let file = write_temporary(text, path)?;
    Temporary::commit(vec![file]).map(drop).map_err(Error::Commit)
}

/// Writes `text` to a file that will be called `path` once it is committed.
///
/// # Errors
/// What the system says.
pub(crate) fn write_temporary(text: &[u8], path: &Path) -> Result<Temporary, Error> {
    check_place(path)?;
    let written = || {
        let mut file = Temporary::create(path)?;
        file.file()?.write_all(text)?;
        Ok(file)
    };
    written().map_err(|source| Error::write(path, source))
}

/// Writes `value` as JSON, as [`emit`] does.
///
/// # Errors
/// As [`emit`].
pub(crate) fn emit_json(value: &impl serde::Serialize, to: Option<&Path>) -> Result<(), Error> {
    emit(&json(value)?, to)
}

/// JSON, with a line feed at the end.
///
/// # Errors
/// That `value` has something that JSON has not.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::Write { path: "JSON".into(), source: error.into() })?;
    text.push(b'\n');
    Ok(text)
}

/// Whether this process speaks for all that were started together.
static IS_SPEAKER: AtomicBool = AtomicBool::new(true);

/// Of several processes that do the same, one speaks; this one does or does not.
pub(crate) fn set_speaker(speaks: bool) {
    IS_SPEAKER.store(speaks, Ordering::Relaxed);
}

/// Whether this process speaks.
pub(crate) fn is_speaker() -> bool {
    IS_SPEAKER.load(Ordering::Relaxed)
}

/// What a terminal shows of a text as one line: what else it would do with control characters, which
/// may be in a file's name, it does not.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => line.push(' '),
            _ if character.is_control() => line.extend(character.escape_default()),
            _ => line.push(character),
        }
    }
    line
}

/// Writes a line to stderr.
pub(crate) fn say(line: impl fmt::Display) {
    say_text(&one_line(&line.to_string()));
}

/// Writes lines to stderr.
pub(crate) fn say_text(line: &str) {
    if !is_speaker() {
        return;
    }
    // In one piece, since other processes may write there as well. Without stderr there is no way
    // to tell.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Whether the last word has been said.
static HAS_ENDED: AtomicBool = AtomicBool::new(false);

/// Tells why a command failed, unless that has been told or is no failure.
pub(crate) fn say_error(error: &Error) {
    if !matches!(error, Error::BrokenPipe) && !HAS_ENDED.swap(true, Ordering::Relaxed) {
        say(format_args!("halovae: error: {}", Chain(error)));
    }
}

/// Writes notices, unless the user asked for quiet.
pub(crate) fn say_notices(notices: &[Notice], verbosity: Verbosity) {
    if !verbosity.quiet {
        notices.iter().for_each(|notice| say(format_args!("halovae: note: {notice}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_does_nothing_to_a_terminal() {
        assert_eq!(one_line("a picture: größer, 8 × 8"), "a picture: größer, 8 × 8");
        assert_eq!(one_line("one\r\ntwo"), "one  two");
        let hostile = one_line("\u{1b}[31m\u{7}\u{9b}2J\u{7f}\t");
        assert!(!hostile.contains(char::is_control), "{hostile}");
        assert!(hostile.starts_with("\\u{1b}[31m"), "{hostile}");
    }

    #[test]
    fn a_failed_commit_names_the_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let file = write_temporary(b"{}", &path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let error = Temporary::commit(vec![file]).map_err(Error::Commit).unwrap_err();
        let line = Chain(&error).to_string();
        assert_eq!(line.matches("cannot write").count(), 1, "{line}");
        assert_eq!(line.matches("a.json").count(), 1, "{line}");
    }
}
