//! What a caller can ask for.

mod decode;
mod devices;
mod error;
mod latents;
mod open;
mod tiles;

pub use decode::{CutOptions, DecodeOptions};
pub use devices::{BackendChoice, Cudnn, DeviceOptions, Dtype, Exchange};
pub use error::OptionError;
pub(crate) use halovae_engine::option_names::names;
pub use latents::{LatentsOptions, Space};
pub use open::OpenOptions;
pub use tiles::TileOptions;
pub(crate) use tiles::{ModelTiles, tile_pixels};
