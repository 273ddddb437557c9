//! The library as users see it: a VAE from a path, decodes into memory, sinks and streams, plans, and what
//! it says where something cannot be.

mod data;
mod decodes;
mod refused;
mod streams;

use std::path::PathBuf;

use halovae::{DecodeOptions, HostTensor, Latents, LatentsOptions, Vae};
use halovae_tests::golden;

/// The golden model of that name, and its latents.
fn golden(name: &str) -> (Vae, HostTensor) {
    let folder = golden::folder().join(name);
    let vae = Vae::open(&folder).expect("a golden checkpoint opens");
    let latents = vae.read_latents(folder.join("latents.safetensors"), &LatentsOptions::default());
    let Latents { tensor, .. } = latents.expect("golden latents");
    (vae, tensor)
}

/// One thread, whatever machine runs the tests.
fn one_thread() -> DecodeOptions {
    let mut options = DecodeOptions::cpu();
    options.devices.threads = Some(1);
    options
}

fn demo() -> PathBuf {
    golden::demo_folder()
}
