//! The golden values in `golden/`: small checkpoints, latents, and what diffusers makes of them.
//!
//! `golden/make_goldens.py` says how they were made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint};
use halovae_engine::tensor::HostTensor;

use crate::tensors;

/// Every golden model.
pub const NAMES: [&str; 6] =
    ["f1-one-level", "f2-complete", "f4-batch", "f4-no-attention", "f8-flux", "f8-sd"];

/// A golden model.
#[derive(Debug)]
pub struct Golden {
    /// The folder with its config, weights and latents.
    pub folder: PathBuf,
    /// Its config and weights.
    pub checkpoint: Checkpoint,
    /// Its latents, `[batch, height, width, channels]`.
    pub latents: HostTensor,
    /// What diffusers makes of them: `whole`, `tiled`, `patch2` and so on.
    pub expected: BTreeMap<String, HostTensor>,
}

impl Golden {
    /// Reads the golden model of that name.
    ///
    /// # Panics
    /// If it is not there or not readable.
    pub fn load(name: &str) -> Self {
        let folder = folder().join(name);
        let checkpoint = Checkpoint::open(&folder, None).expect("a golden checkpoint opens");
        let latents = tensors::read(&folder.join("latents.safetensors"))
            .remove("latents")
            .expect("golden latents have the key `latents`");
        let expected = tensors::read(&folder.join("expected.safetensors"));
        Self { folder, checkpoint, latents, expected }
    }

    /// Its config.
    pub fn config(&self) -> &AutoencoderKlConfig {
        self.checkpoint.config()
    }

    /// The file of its latents.
    pub fn latents_file(&self) -> PathBuf {
        self.folder.join("latents.safetensors")
    }

    /// What diffusers makes of the latents with that strategy.
    ///
    /// # Panics
    /// If the script did not save it.
    pub fn expected(&self, strategy: &str) -> &HostTensor {
        let saved = self.expected.keys();
        self.expected.get(strategy).unwrap_or_else(|| panic!("no `{strategy}` among {saved:?}"))
    }
}

/// The folder of all golden values.
pub fn folder() -> PathBuf {
    here().join("golden")
}

/// This crate's folder. On another machine than that which built the tests, `HALOVAE_TESTS` names a
/// copy of it.
fn here() -> PathBuf {
    std::env::var_os("HALOVAE_TESTS").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The folder of the demo VAE: `vae/` and `latents/`.
pub fn demo_folder() -> PathBuf {
    here().join("../examples/demo-vae")
}

/// The demo VAE's checkpoint.
///
/// # Panics
/// If it is not there.
pub fn demo_checkpoint() -> Checkpoint {
    Checkpoint::open(&demo_folder().join("vae"), None).expect("the demo checkpoint opens")
}

/// The latents of a photograph, by its name.
///
/// # Panics
/// If there is no such photograph.
pub fn demo_latents(photograph: &str) -> HostTensor {
    let file = demo_folder().join(format!("latents/{photograph}.safetensors"));
    tensors::read(&file).remove("latents").expect("demo latents have the key `latents`")
}
