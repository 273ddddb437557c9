//! Why no device could be opened.

/// Why an adapter could not be found or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No adapter at all.
    #[error(
        "no adapter was found: install a driver with Vulkan, or for software rendering \
         `apt-get install mesa-vulkan-drivers libvulkan1`"
    )]
    NoAdapter,
    /// Nothing but software.
    #[error(
        "no GPU was found, only software ({}); ask for it by its index or name as the device to use it all the same",
        .found.join(", ")
    )]
    OnlySoftware {
        /// What there is.
        found: Vec<String>,
    },
    /// The adapter that was asked for is not there.
    #[error("there is no adapter `{asked}`; there are: {}", .found.join(", "))]
    Unknown {
        /// What was asked for.
        asked: String,
        /// What there is.
        found: Vec<String>,
    },
    /// The adapter cannot do enough.
    #[error("{adapter} has {limit} {has}, and {need} is needed; use another adapter")]
    Limit {
        /// The adapter's name.
        adapter: String,
        /// Which limit, in wgpu's words.
        limit: &'static str,
        /// What it has.
        has: u64,
        /// What is needed.
        need: u64,
    },
    /// The adapter lacks a feature.
    #[error("{adapter} does not have {feature}; use another adapter{hint}")]
    Feature {
        /// The adapter's name.
        adapter: String,
        /// Which feature, in wgpu's words.
        feature: &'static str,
        /// What else one can do.
        hint: &'static str,
    },
    /// The driver refused.
    #[error("{adapter} could not be opened: {message}")]
    Refused {
        /// The adapter's name.
        adapter: String,
        /// What the driver said.
        message: String,
    },
}
