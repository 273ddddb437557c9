//! The engine of halovae: checkpoints, decoder programs, strategies, stitching.
//!
//! A decode goes from file to file like this:
//!
//! 1. [`checkpoint`] opens a checkpoint, [`latents`] reads latents;
//! 2. [`model`] turns the checkpoint's config into a [`program::Program`];
//! 3. [`decode::Decoder`] fuses the program for its backends and hands them the weights;
//! 4. a [`halovae_core::Plan`] says which rank decodes which window of the latents;
//! 5. each rank of a [`group::Group`] runs its pieces on its [`backend::Backend`];
//! 6. [`stitch`] puts the finished pieces together and gives rows to a [`sink::Sink`].

pub mod backend;
pub mod cache;
pub mod checkpoint;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod decode;
mod error;
pub mod event;
pub mod execute;
mod files;
pub mod flow;
pub mod group;
pub mod latents;
pub mod model;
pub mod option_names;
pub mod program;
mod progress;
mod rank;
pub mod room;
pub mod schedule;
pub mod shard;
pub mod sink;
pub mod stitch;
pub mod tensor;
mod weights;
pub mod wrap;

/// Bytes in the unit that fits: `1.5 GiB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}
