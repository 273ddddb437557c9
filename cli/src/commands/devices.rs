//! `halovae devices`: what can decode here.

use std::fmt::Write;

use halovae::Listed;

use crate::console::emit;
use crate::error::Error;

/// Prints the devices.
///
/// # Errors
/// What a backend says; that stdout takes nothing.
pub(crate) fn run() -> Result<(), Error> {
    let mut text = String::new();
    for Listed { backend, what, properties, .. } in halovae::devices()? {
        // In columns, where there is more than a reason why there is none.
        let gap = if properties.is_empty() || backend == "cpu" { "  " } else { " " };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{backend}{gap}{what}");
        for (name, value) in properties {
            let _ = writeln!(text, "     {name:<10}{value}");
        }
    }
    emit(text.as_bytes(), None)
}
