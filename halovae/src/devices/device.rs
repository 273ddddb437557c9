//! A device as it is listed.

use serde::{Serialize, Serializer};

/// A device that can decode, or the reason why a backend has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Device {
    /// The backend: `cpu`, `cuda`, `wgpu`.
    pub backend: &'static str,
    /// Its index among the backend's devices, as `--device` and [`DeviceOptions`](crate::DeviceOptions)
    /// count them; `None` for the CPU, and where there is none.
    pub index: Option<u32>,
    /// What it is; why there is none where [`is_there`](Self::is_there) is false.
    pub what: String,
    /// Whether there is one.
    pub is_there: bool,
    /// Bytes of its memory, where the system tells.
    pub memory_bytes: Option<u64>,
    /// Names and values of its properties.
    #[serde(serialize_with = "as_map")]
    pub properties: Vec<(String, String)>,
    /// What else is to be known of it.
    pub remarks: Vec<String>,
}

impl Device {
    pub(super) fn new(backend: &'static str, what: impl Into<String>) -> Self {
        Self {
            backend,
            index: None,
            what: what.into(),
            is_there: true,
            memory_bytes: None,
            properties: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// That a backend has none, and why.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub(super) fn none(backend: &'static str, why: impl Into<String>) -> Self {
        Self { is_there: false, ..Self::new(backend, why) }
    }

    #[must_use]
    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}

fn as_map<S: Serializer>(
    properties: &[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(properties.iter().map(|(name, value)| (name, value)))
}
