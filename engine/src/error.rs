//! What a device could not do.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a backend could not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BackendError {
    /// The backend does not have this op.
    #[error("the {backend} backend has no {op}")]
    Unsupported {
        /// The op's kind.
        op: Cow<'static, str>,
        /// The backend's name.
        backend: Cow<'static, str>,
    },
    /// An allocation failed.
    #[error(
        "{device} has no room for {what} ({} needed)",
        crate::format_bytes(*.requested)
    )]
    OutOfMemory {
        /// The device.
        device: String,
        /// What was to be stored.
        what: String,
        /// Bytes asked for.
        requested: u64,
    },
    /// The device failed.
    #[error("{device}: {message}")]
    Device {
        /// The device.
        device: String,
        /// What it said.
        message: String,
    },
    /// The halo of a part did not come; the group or the links know why.
    #[error("the halo of `{0}` did not come")]
    NoHalo(String),
    /// A weight could not be read.
    #[error("weight `{name}`: {message}")]
    Weight {
        /// The weight's canonical name.
        name: String,
        /// What was wrong.
        message: String,
    },
}
