//! Latents as people have them on disk: safetensors, NumPy, ComfyUI.
//!
//! All are read as f32, channels last, and refused if anything in them is not finite. What a
//! decoder takes are latents in the VAE's own space; those of a diffusers pipeline
//! (`output_type="latent"`) are scaled and shifted, and some are packed into the tokens of a
//! transformer. [`LatentsFile::for_decoder`] undoes both.

mod arrange;
mod error;
mod file;
mod layout;
mod npy;
mod packing;
mod space;
mod stored;
mod tensors;
mod values;

pub use arrange::Wanted;
pub use error::{LatentsError, Place};
pub use file::{ForDecoder, LatentsFile, LatentsFormat};
pub use packing::{Packing, TokenContent, TokenOrder};
pub use space::LatentSpace;
pub use values::Latents;
