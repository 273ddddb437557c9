//! Text from files, made fit for one line of an error message.

use std::fmt::{Display, Write};
use std::path::Path;

/// Longest name or value that a message repeats, in characters.
const MAX_SHOWN: usize = 80;
/// Most entries that a message lists.
const MAX_LISTED: usize = 12;

/// `text` in double quotes, with control characters escaped, shortened.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// `text` without control characters, shortened: a file must not steer a terminal.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == MAX_SHOWN {
            shown.push_str("...");
            break;
        }
        match character {
            '"' | '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// The first entries with commas between them, and how many there are beyond.
pub(crate) fn listed<T: Display>(entries: impl IntoIterator<Item = T>) -> String {
    let mut list = String::new();
    let mut beyond = 0usize;
    for (index, entry) in entries.into_iter().enumerate() {
        if index >= MAX_LISTED {
            beyond += 1;
            continue;
        }
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(list, "{separator}{entry}");
    }
    if beyond > 0 {
        let _ = write!(list, " and {beyond} more");
    }
    list
}

/// The first names with commas between them, each on one line and shortened, and how many there are
/// beyond.
pub fn names(names: &[String]) -> String {
    listed(names.iter().map(|name| escaped(name)))
}

/// Extents in brackets, shortened.
pub(crate) fn shape(extents: &[usize]) -> String {
    format!("[{}]", listed(extents))
}

/// A path as one word of a shell's command.
pub(crate) fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "_-./+=@:,%".contains(character);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_on_one_line_and_short() {
        assert_eq!(escaped("a\nb\u{1b}[31m`\"'"), "a\\nb\\u{1b}[31m`\"'");
        assert_eq!(escaped(&"x".repeat(81)), format!("{}...", "x".repeat(80)));
        assert_eq!(escaped(&"x".repeat(80)), "x".repeat(80));
    }

    #[test]
    fn paths_are_one_word_of_a_shell() {
        assert_eq!(shell(Path::new("/a/b-c_1.bin")), "/a/b-c_1.bin");
        assert_eq!(shell(Path::new("my vae")), "'my vae'");
        assert_eq!(shell(Path::new("it's $HOME")), r"'it'\''s $HOME'");
        assert_eq!(shell(Path::new("")), "''");
    }

    #[test]
    fn lists_stop_after_twelve() {
        assert_eq!(listed(0..2), "0, 1");
        assert!(listed(0..12).ends_with("10, 11"));
        assert!(listed(0..14).ends_with("10, 11 and 2 more"));
        assert_eq!(shape(&[]), "[]");
    }
}
