//! What can be wrong with latents.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::files::header::HeaderError;

/// The place of a value among latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The sample.
    pub batch: usize,
    /// The channel.
    pub channel: usize,
    /// The frame; `None` in an image.
    pub frame: Option<usize>,
    /// The row.
    pub row: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, channel, frame, row, column } = self;
        write!(f, "batch {batch}, channel {channel}, ")?;
        if let Some(frame) = frame {
            write!(f, "frame {frame}, ")?;
        }
        write!(f, "row {row}, column {column}")
    }
}

/// Why latents cannot be used. Messages begin with a verb; [`LatentsError::InFile`] puts the file
/// before them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    #[error("have {axes} axes (shape {shape}), expected {expected}{hint}")]
    Axes {
        /// How many.
        axes: usize,
        /// The shape.
        shape: String,
        /// What a decoder takes.
        expected: &'static str,
        /// What to do, with leading punctuation.
        hint: &'static str,
    },
    /// A video, where the decoder takes images.
    #[error(
        "have {frames} frames (shape {shape}), and the VAE decodes images; take one frame, as in \
         latents[:, :, 0]"
    )]
    Frames {
        /// How many.
        frames: usize,
        /// The shape.
        shape: String,
    },
    /// An extent of zero, or beyond everything.
    #[error("have the shape {shape}; every extent must be from 1 to 4294967295")]
    Extent {
        /// The shape.
        shape: String,
    },
    /// An infinity or NaN.
    #[error("are {value} at {at}; expected finite numbers{hint}")]
    NotFinite {
        /// The value, as it is read.
        value: f32,
        /// Where.
        at: Place,
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
    /// Mean and deviation of other latents.
    #[error(
        "have {values} values for each of which there are to be a mean and a deviation, and there are \
         {found}"
    )]
    Statistics {
        /// How many there are.
        found: usize,
        /// How many there should be.
        values: usize,
    },
    /// A pipeline's latents where the VAE's were to be.
    #[error(
        "have the shape {shape}: they are packed for a transformer, as a pipeline gives them, and \
         the VAE takes them unpacked"
    )]
    Packed {
        /// The shape.
        shape: String,
    },
    /// One image or many: the shape does not tell.
    #[error(
        "have the shape {shape}, which is one image of {} x {} pixels without a batch, or {images} \
         images that are packed for a transformer",
        sides[0],
        sides[1]
    )]
    Ambiguous {
        /// The shape.
        shape: String,
        /// Images, if they are packed.
        images: usize,
        /// Height and width in pixels, if they are one.
        sides: [u64; 2],
    },
    /// Packed latents that are no square, without the sides of their picture.
    #[error(
        "have the shape {shape}, which is {tokens} tokens an image, each of {} x {} pixels: they \
         make no square, so the height and width of the picture are needed",
        token[0],
        token[1]
    )]
    SidesNeeded {
        /// The shape.
        shape: String,
        /// Tokens of an image.
        tokens: usize,
        /// Height and width of a token in pixels.
        token: [u64; 2],
    },
    /// Packed layers without the sides of their picture.
    #[error(
        "have the shape {shape}, which is {tokens} tokens of a picture and its layers: it does not tell \
         how many layers there are, so the height and width of the picture are needed"
    )]
    SidesOfLayersNeeded {
        /// The shape.
        shape: String,
        /// Tokens of picture and layers together.
        tokens: usize,
    },
    /// Packed frames of a video without their sides.
    #[error(
        "have the shape {shape}, which is {tokens} tokens of the frames of a video: it does not tell how \
         many frames there are, so their height and width are needed"
    )]
    SidesOfFramesNeeded {
        /// The shape.
        shape: String,
        /// Tokens of all frames together.
        tokens: usize,
    },
    /// A height and a width that packed latents cannot have.
    #[error("are packed and cannot be of {} x {} pixels: {problem}", sides[0], sides[1])]
    Sides {
        /// Height and width in pixels.
        sides: [u64; 2],
        /// Why not.
        problem: String,
    },
    /// A height and a width where the shape tells both.
    #[error(
        "are of {} x {} pixels by their shape {shape}; a height and width, here {} x {}, are for \
         packed ones only",
        own[0],
        own[1],
        given[0],
        given[1]
    )]
    SidesKnown {
        /// The shape.
        shape: String,
        /// Height and width in pixels by that shape.
        own: [u64; 2],
        /// Those that were given.
        given: [u32; 2],
    },
    /// A pipeline's latents, unpacked, where pipelines differ in what these are.
    #[error(
        "have the shape {shape}, unpacked: of the pipelines with this VAE {cells}, and nothing beside the \
         VAE tells which one it was"
    )]
    CellsUntold {
        /// The shape.
        shape: String,
        /// Which of them gives what.
        cells: &'static str,
    },
    /// ComfyUI's latents for a pipeline's.
    #[error("are ComfyUI's (`latent_tensor`), which are in the VAE's space, not in a pipeline's")]
    InVaeSpace,
}
