//! Checkpoints: the config and the weights of a VAE decoder, as people have them on disk.
//!
//! Opened are a diffusers folder (`config.json` and `diffusion_pytorch_model.safetensors`, also its
//! variants such as `.fp16`, also in shards), a pipeline's folder with such a folder `vae` in it, a
//! model's folder in the Hugging Face hub's cache (`models--ORG--NAME`; its snapshot of `main`, or
//! its only one), and a single `.safetensors` file in the naming of diffusers or of the original
//! code (LDM, BFL, Wan, LTX, Tencent), bare or under `first_stage_model.`, `vae.`, or another prefix.
//!
//! Weights are memory-mapped and known by their diffusers names whatever the file calls them. They
//! are in 32, 16 or 8 bits, those in 8 bits perhaps with scales as ComfyUI has them. What is outside
//! the decoder is not read. Files are not trusted: whatever a header claims is checked against the
//! bytes that are there, and no memory is set aside on its word.

mod autoencoder_kl;
mod autoencoder_kl_flux2;
mod autoencoder_kl_hunyuan_image;
mod autoencoder_kl_ltx;
mod autoencoder_kl_wan;
mod config;
mod config_file;
mod contents;
mod convert;
mod dtype;
mod error;
mod families;
mod family;
mod fields;
mod file_names;
mod folder;
mod keys;
mod opened;
mod prefix;
mod registry;
mod shapes;
mod signs;
mod tensors;
mod verify;
mod view;

pub use crate::files::header::HeaderError;
pub use crate::files::sniff::FileKind;
pub use crate::files::text::names as listed_names;
pub use autoencoder_kl::{AutoencoderKlConfig, MAX_LEVELS};
pub use autoencoder_kl_flux2::{AutoencoderKlFlux2Config, BatchNorm, Flux2Pipeline};
pub use autoencoder_kl_hunyuan_image::AutoencoderKlHunyuanImageConfig;
pub use autoencoder_kl_ltx::{
    AutoencoderKlLtxConfig, LtxClass, LtxLevel, LtxStatistics, LtxUpsampler, UpsampleType,
};
pub use autoencoder_kl_wan::{AutoencoderKlWanConfig, WanClass};
pub use config::{ConfigError, Detail, VaeConfig};
pub use config_file::read_config;
pub use dtype::Dtype;
pub use error::CheckpointError;
pub use families::{Refused, refused};
pub use family::Released;
pub use keys::Naming;
pub use opened::{Checkpoint, ConfigSource};
pub use registry::{parse_config, released};
pub use verify::{Misshapen, WeightsError};
pub use view::TensorView;
