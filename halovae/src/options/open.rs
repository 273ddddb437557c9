//! How a checkpoint is opened.

use std::path::PathBuf;

/// How a checkpoint is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct OpenOptions {
    /// A `config.json` that counts in place of the checkpoint's own.
    pub config: Option<PathBuf>,
    /// Which of a folder's weights: `fp16` for `diffusion_pytorch_model.fp16.safetensors`. Without it
    /// the plain ones, else those of another type.
    pub variant: Option<String>,
}
