//! `AutoencoderKLWan` (Wan 2.1, and 2.2 but for its 5B model) and `AutoencoderKLQwenImage`: one network
//! with the same names, of which a file without a config does not tell which of the two it is.

mod config;
mod infer;
mod names;
mod read;

pub use config::{AutoencoderKlWanConfig, WanClass};

use config::{QWEN_IMAGE_CLASS, WAN_CLASS};
use names::WanNames;

use super::config::{ConfigError, VaeConfig};
use super::family::{About, Family, Found, Inferred};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign::{self, Is, Lacks};

/// A weight of every decoder, as diffusers and as the original code call it.
const ANCHORS: &[&str] = &["decoder.conv_in.weight", "decoder.conv1.weight"];

/// Wan 2.2's 5B model, Qwen-Image 2.1 and HunyuanVideo 1.5 have names like these, and others that tell
/// them.
const EVIDENCE: &[&[Sign]] = &[
    &[Lacks("decoder.upsamples.#.upsamples"), Is("decoder.middle.#.residual")],
    &[
        Lacks("decoder.conv_in.conv"),
        Lacks("decoder.up_blocks.#.upsampler"),
        Is("decoder.mid_block.resnets.#.norm1.gamma"),
    ],
];

/// Configs of the class of Wan, and every file that tells the network but no class.
pub(crate) struct AutoencoderKlWan;

/// Configs of the class of Qwen-Image.
pub(crate) struct AutoencoderKlQwenImage;

impl Family for AutoencoderKlWan {
    fn about(&self) -> &'static About {
        &About {
            classes: &[WAN_CLASS],
            models: "Wan 2.1, Wan 2.2 A14B",
            anchors: ANCHORS,
            evidence: EVIDENCE,
            space: &[],
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlWanConfig::of_wan(fields).map(Into::into)
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(WanNames::detect(names))
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found)
    }
}

impl Family for AutoencoderKlQwenImage {
    fn about(&self) -> &'static About {
        &About {
            classes: &[QWEN_IMAGE_CLASS],
            models: "Qwen-Image",
            anchors: ANCHORS,
            evidence: EVIDENCE,
            space: &[],
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlWanConfig::of_qwen_image(fields).map(Into::into)
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        AutoencoderKlWan.names(names)
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        AutoencoderKlWan.infer(found)
    }
}
