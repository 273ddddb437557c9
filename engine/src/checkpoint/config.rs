//! The config of a VAE, of whatever family, and why one cannot be used.

use std::any::Any;
use std::fmt::Debug;
use std::num::NonZeroU32;

use halovae_core::{Strategy, Tiling, TimeTiling};
use serde::Serialize;
use serde_json::Value;

use crate::files::sniff::FileKind;
use crate::latents::{LatentSpace, Packing};
use crate::program::Model;

/// A config is a few hundred bytes; what is larger is another file.
pub(crate) const MAX_JSON_BYTES: usize = 1 << 20;

/// What a VAE's shape, its tiles and its latents' space follow from.
///
/// Each family has a type of its own with the fields of its class in diffusers; code that needs these names
/// the type: `downcast_ref`.
pub trait VaeConfig: Model + Any + Debug + Send + Sync {
    /// The class of diffusers that it belongs to.
    fn class(&self) -> &'static str;

    /// Checks that a decoder of this config can exist. What was read from a file has been checked.
    ///
    /// # Errors
    /// [`ConfigError::Field`] for the first field that is impossible.
    fn validate(&self) -> Result<(), ConfigError>;

    /// Whether the decoder takes videos, of which an image is one of a single frame.
    fn is_video(&self) -> bool {
        false
    }

    /// How many frames of its videos make a second, where its models have such a custom.
    fn frames_per_second(&self) -> Option<NonZeroU32> {
        None
    }

    /// The tiles that diffusers takes where the user gives none.
    fn tiling(&self) -> Tiling;

    /// The tiles of frames that diffusers takes where the user asks for such, in classes that have them.
    fn time_tiling(&self) -> Option<TimeTiling> {
        None
    }

    /// How latents of a diffusers pipeline become what the decoder takes. `None` where the VAE's weights
    /// tell it, and the config was not read together with them.
    fn latent_space(&self) -> Option<LatentSpace>;

    /// How latents that ComfyUI saved become what the decoder takes, where they are not that already.
    fn comfy_space(&self) -> Option<LatentSpace> {
        None
    }

    /// How pipelines of this VAE pack latents, where there are such.
    fn packing(&self) -> Option<Packing>;

    /// Below and above what diffusers cuts off the values of a picture that was decoded by this
    /// strategy: after tiles have been blended, so this is no op of the decoder.
    fn output_range(&self, _strategy: Strategy) -> Option<[f32; 2]> {
        None
    }

    /// What [`output_range`](Self::output_range) assumes where neither config nor weights tell, as a
    /// sentence.
    fn assumed_of_range(&self, _strategy: Strategy) -> Option<&'static str> {
        None
    }

    /// What it says of the decoder and its latents, in the order in which a reader wants to know it.
    fn details(&self) -> Vec<(&'static str, Detail)>;

    /// Every field, under its name in diffusers.
    fn to_json(&self) -> Value;
}

/// A value among [`VaeConfig::details`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Detail {
    /// A number of things.
    Count(u32),
    /// A number for each level.
    Counts(Vec<u32>),
    /// A factor or an offset.
    Number(f64),
    /// Whether there is such a thing.
    Flag(bool),
    /// Whether there is such a thing, for each level.
    Flags(Vec<bool>),
    /// Height and width in pixels.
    Sides([u32; 2]),
    /// What cannot be said in a number.
    Text(&'static str),
}

impl dyn VaeConfig {
    /// The config as that of a certain family, if it is one.
    pub fn downcast_ref<C: VaeConfig>(&self) -> Option<&C> {
        (self as &dyn Any).downcast_ref()
    }
}

impl PartialEq for dyn VaeConfig {
    fn eq(&self, other: &Self) -> bool {
        self.class() == other.class() && self.to_json() == other.to_json()
    }
}

impl<C: VaeConfig> From<C> for Box<dyn VaeConfig> {
    fn from(config: C) -> Self {
        Box::new(config)
    }
}

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON at all.
    #[error("is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// Larger than any config.
    #[error("has more than {limit} bytes, expected the config of one model")]
    TooLarge {
        /// The most that is read.
        limit: usize,
    },
    /// A file of another kind.
    #[error("is {found}, expected a model's config.json{}", found.remedy())]
    OtherFormat {
        /// What it looks like.
        found: FileKind,
    },
    /// JSON, but no object.
    #[error("holds {found}, expected a JSON object with the fields of a VAE's class in diffusers")]
    NotAnObject {
        /// What it holds instead.
        found: String,
    },
    /// The config of another model.
    #[error("is of class {found}{what}; only {supported} supported")]
    Class {
        /// The class that it names.
        found: String,
        /// What that is, with a comma ahead; nothing if it is unknown.
        what: String,
        /// The classes that are decoded, with their verb.
        supported: String,
    },
    /// No class, and fields that an `AutoencoderKL` lacks and several others have.
    #[error(
        "has no `_class_name`, and `{field}`, which is no field of an AutoencoderKL; add the class, one of \
         {classes}"
    )]
    NoClass {
        /// The field.
        field: &'static str,
        /// The classes that have it.
        classes: String,
    },
    /// A field that no decoder can have.
    #[error("`{field}` is {found}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
}
