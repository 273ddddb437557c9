//! Lines of the description.

use std::fmt::Write;

/// A line of a name and a value.
pub(super) fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{name:<22}{value}");
}
