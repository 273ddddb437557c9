//! A device as it is listed.

/// A device, or a kind of device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The backend: `cpu`, `cuda`, `wgpu`.
    pub backend: &'static str,
    /// What it is, after its index where there are several; why there is none where it has no
    /// properties.
    pub what: String,
    /// Names and values of its properties. A value without a name is a remark.
    pub properties: Vec<(String, String)>,
}

impl Listed {
    pub(super) fn new(backend: &'static str, what: impl Into<String>) -> Self {
        Self { backend, what: what.into(), properties: Vec::new() }
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}
