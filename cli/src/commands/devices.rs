//! `halovae devices`: what can decode here.

use std::fmt::Write;

use halovae::devices::Device;
use serde::Serialize;

use crate::args::DevicesArgs;
use crate::console::{emit, emit_json};
use crate::error::Error;

/// All that are known, as JSON.
#[derive(Serialize)]
struct Devices {
    version: &'static str,
    devices: Vec<Device>,
}

/// Prints the devices.
///
/// # Errors
/// What a backend says; that stdout takes nothing.
pub(crate) fn run(args: &DevicesArgs) -> Result<(), Error> {
    let devices = halovae::devices()?;
    if args.json {
        return emit_json(&Devices { version: env!("CARGO_PKG_VERSION"), devices }, None);
    }
    let mut text = String::new();
    for Device { backend, what, is_there, properties, remarks, .. } in devices {
        // In columns, where there is more than a reason why there is none.
        let gap = if is_there && backend != "cpu" { " " } else { "  " };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{backend}{gap}{what}");
        let remarks = remarks.iter().map(|remark| (String::new(), remark.clone()));
        for (name, value) in properties.into_iter().chain(remarks) {
            let _ = writeln!(text, "     {name:<10}{value}");
        }
    }
    emit(text.as_bytes(), None)
}
