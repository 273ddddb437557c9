//! The golden values in `golden/`: small checkpoints, latents, and what diffusers makes of them.
//!
//! `golden/make_goldens.py`, `make_wan_goldens.py` and `make_ltx_goldens.py` say how they were made, `golden/make_half_errors.py` how diffusers' own
//! errors in float16 were measured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use halovae_engine::checkpoint::{Checkpoint, VaeConfig};
use halovae_engine::tensor::HostTensor;

use crate::compare::{Difference, relative_rms};
use crate::tensors;

/// Golden models of images that every backend decodes.
pub const NAMES: [&str; 7] =
    ["f1-one-level", "f2-complete", "f4-batch", "f4-no-attention", "f8-flux", "f8-sd", "flux2"];

/// Golden models of images with ops that not every backend has.
pub const SHUFFLED: [&str; 1] = ["hunyuan-image"];

/// Every golden model of images.
pub fn images() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(SHUFFLED)
}

/// Every golden model of videos, or of images with the blocks of videos.
pub const VIDEOS: [&str; 8] = [
    "ltx",
    "ltx2",
    "ltx2-3",
    "ltx2-causal",
    "qwen-image-21",
    "qwen-layered",
    "wan",
    "wan-residual",
];

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
    pub fn config(&self) -> &dyn VaeConfig {
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

/// How far a picture is from the golden one.
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// The root mean square of the differences, relative to that of the golden picture.
    pub relative_rms: f64,
    /// The mean absolute difference.
    pub mean_abs: f64,
    /// The largest absolute difference.
    pub max_abs: f64,
}

impl Error {
    /// Of a picture.
    ///
    /// # Panics
    /// As [`Difference::new`].
    pub fn of(got: &HostTensor, expected: &HostTensor) -> Self {
        let Difference { max_abs, mean_abs, .. } = Difference::new(got, expected);
        Self { relative_rms: relative_rms(got, expected), mean_abs, max_abs }
    }

    /// That of diffusers in `float16` or `bfloat16` on the model of that name, decoded `whole` or
    /// `tiled`; `golden/make_half_errors.py` measured it.
    ///
    /// # Panics
    /// If the script did not save it.
    pub fn of_diffusers(dtype: &str, name: &str, strategy: &str) -> Self {
        let file = folder().join("half_errors.json");
        let text = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let all: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let figure = |key: &str| {
            let figure = all[dtype][name][strategy][key].as_f64();
            figure.unwrap_or_else(|| panic!("no {key} of {name}, {strategy}, {dtype}"))
        };
        Self {
            relative_rms: figure("relative_rms"),
            mean_abs: figure("mean_abs"),
            max_abs: figure("max_abs"),
        }
    }

    /// Fails unless this is no more than 1.5 times another one, by every measure.
    ///
    /// # Panics
    /// If it is.
    #[track_caller]
    pub fn assert_close_to(&self, other: &Self, what: &str) {
        let what = format!("{what}: {self:?}, diffusers' own {other:?}");
        assert!(self.relative_rms <= 1.5 * other.relative_rms, "{what}");
        assert!(self.mean_abs <= 1.5 * other.mean_abs, "{what}");
        assert!(self.max_abs <= 1.5 * other.max_abs, "{what}");
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
