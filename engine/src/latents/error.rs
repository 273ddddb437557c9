//! What can be wrong with latents.

use std::io;
use std::path::PathBuf;

use crate::checkpoint::HeaderError;

/// Why latents cannot be used. Messages begin with a verb; [`LatentsError::InFile`] puts the file
/// before them.
#[derive(Debug, thiserror::Error)]
pub enum LatentsError {
    /// A problem with a file.
    #[error("latents `{}`: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<LatentsError>,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
    /// No room for the latents.
    #[error("need {bytes} bytes of memory, which the system does not give")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A kind of file that is not read.
    #[error("is of no known format; expected .safetensors, .npy or .latent (ComfyUI){hint}")]
    UnknownFormat {
        /// What to do, with leading punctuation.
        hint: &'static str,
    },
    /// A damaged safetensors file, or none.
    #[error("{0}")]
    Header(#[source] HeaderError),
    /// A damaged npy file.
    #[error("is not a readable .npy file: {problem}")]
    Npy {
        /// What is wrong.
        problem: String,
    },
    /// Several tensors, and no key that says which.
    #[error("holds {count} tensors ({tensors}); name one by its key")]
    KeyNeeded {
        /// How many.
        count: usize,
        /// Keys and shapes.
        tensors: String,
    },
    /// No tensor of that key.
    #[error("has no tensor {key}; it holds {tensors}")]
    NoSuchKey {
        /// The key.
        key: String,
        /// Keys and shapes of what there is.
        tensors: String,
    },
    /// A key for a file that has none.
    #[error("is an .npy file, which holds one array without a key; leave the key {key} out")]
    KeyWithoutUse {
        /// The key.
        key: String,
    },
    /// A file without tensors.
    #[error("holds no tensor, expected latents of shape [batch, channels, height, width]")]
    Empty,
    /// An element type that is no latents'.
    #[error("are of type {found}, expected {expected}")]
    Dtype {
        /// The type.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// Too few or too many axes.
    #[error(
        "have {} axes (shape {shape}), expected [batch, channels, height, width] or [channels, \
         height, width]{hint}",
        axes
    )]
    Axes {
        /// How many.
        axes: usize,
        /// The shape.
        shape: String,
        /// What to do, with leading punctuation.
        hint: &'static str,
    },
    /// An extent of zero, or beyond everything.
    #[error("have the shape {shape}; every extent must be from 1 to 4294967295")]
    Extent {
        /// The shape.
        shape: String,
    },
    /// An infinity or NaN.
    #[error(
        "are {value} at batch {batch}, channel {channel}, row {row}, column {column}; expected \
         finite numbers{hint}"
    )]
    NotFinite {
        /// The value, as it is read.
        value: f32,
        /// The sample.
        batch: usize,
        /// The channel.
        channel: usize,
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// What may be the cause, with leading punctuation.
        hint: &'static str,
    },
    /// Latents of another model.
    #[error("have {found} channels, the VAE takes {expected}{hint}")]
    Channels {
        /// Theirs.
        found: usize,
        /// The decoder's.
        expected: usize,
        /// What may be the cause, with leading punctuation.
        hint: &'static str,
    },
}
