//! What a decode did, as JSON.

use std::path::PathBuf;

use halovae::Report;
use serde::Serialize;

/// The report of one decode: the library's, and what the command line knows of files.
#[derive(Debug, Serialize)]
pub(crate) struct ReportJson {
    /// The version of halovae.
    pub(crate) version: &'static str,
    /// The checkpoint.
    pub(crate) vae: PathBuf,
    /// What was decoded.
    pub(crate) latents: LatentsJson,
    /// What came out.
    pub(crate) image: ImageJson,
    /// The files that were written.
    pub(crate) output: Vec<PathBuf>,
    /// The pictures of some frames of a video that were written beside them, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) previews: Vec<PathBuf>,
    /// What was decided for the user, in words.
    pub(crate) notices: Vec<String>,
    #[serde(flatten)]
    pub(crate) decode: Report,
}

/// The latents.
#[derive(Debug, Serialize)]
pub(crate) struct LatentsJson {
    /// The file.
    pub(crate) path: PathBuf,
    /// Batch, channels, frames of several, height, width.
    pub(crate) shape: Vec<usize>,
}

/// The images or videos.
#[derive(Debug, Serialize)]
pub(crate) struct ImageJson {
    /// Batch, channels, frames of several, height, width.
    pub(crate) shape: Vec<usize>,
}
