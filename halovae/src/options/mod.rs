//! What a caller can ask for.

mod decode;
mod devices;
mod error;
mod latents;
mod name;
mod open;
mod tiles;

pub use decode::{CutOptions, DecodeOptions};
pub use devices::{BackendChoice, Cudnn, DeviceOptions, Dtype, Exchange};
pub use error::OptionError;
pub use latents::{LatentsOptions, Space};
pub(crate) use name::names;
pub use open::OpenOptions;
pub(crate) use tiles::ModelTiles;
pub use tiles::{TileOptions, tile_pixels};
