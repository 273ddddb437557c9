//! `AutoencoderKL`: SD 1.5, SDXL, SD 3, FLUX.1, Z-Image.

mod config;
pub(super) mod infer;
pub(super) mod names;
mod origin;
mod space;

pub use config::{AutoencoderKlConfig, MAX_LEVELS};

use config::CLASS;
use names::AutoencoderKlNames;

use super::config::{ConfigError, VaeConfig};
use super::family::{About, Family, Found, Inferred};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign::{Is2d, Lacks};

/// The family.
pub(crate) struct AutoencoderKl;

impl Family for AutoencoderKl {
    fn about(&self) -> &'static About {
        &About {
            classes: &[CLASS, "FlaxAutoencoderKL"],
            models: "SD 1.x to 3.5, SDXL, FLUX.1, Z-Image",
            anchors: &["decoder.conv_in.weight"],
            // Others have that, too, and more; FLUX.2's is the same network.
            evidence: &[&[Lacks("bn"), Is2d("decoder.conv_in.weight")]],
            space: &[],
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlConfig::from_fields(fields, AutoencoderKlConfig::default()).map(Into::into)
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(AutoencoderKlNames::detect(names))
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found)
    }
}
