//! `AutoencoderKLWan` and `AutoencoderKLQwenImage`: one network with the same names, of which a file
//! without a config does not tell which of the two it is. The 5B model of Wan 2.2 has shortcuts around its
//! levels; so has `AutoencoderKLQwenImage21`, which sees no frames.

mod config;
mod defaults;
mod infer;
mod names;
mod read;
mod statistics;

pub use config::{AutoencoderKlWanConfig, WanClass};

use config::{QWEN_IMAGE_21_CLASS, QWEN_IMAGE_CLASS, WAN_CLASS};
use names::{ImageNames, WanNames};

use super::config::{ConfigError, VaeConfig};
use super::family::{About, Family, Found, Inferred, Released};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign::{self, Is, IsFlat, IsOverTime, Lacks};

/// A weight of every decoder, as diffusers and as the original code call it.
const ANCHORS: &[&str] = &["decoder.conv_in.weight", "decoder.conv1.weight"];

/// Fields of all three classes.
const OWN_FIELDS: &[&str] = &["base_dim", "dim_mult", "z_dim"];

/// Without shortcuts around levels. HunyuanVideo 1.5 has names like these, and others that tell it.
const PLAIN: [&[Sign]; 2] = [
    &[Lacks("decoder.upsamples.#.upsamples"), Is("decoder.middle.#.residual")],
    &[
        Lacks("decoder.conv_in.conv"),
        Lacks("decoder.up_blocks.#.upsampler"),
        Is("decoder.mid_block.resnets.#.norm1.gamma"),
    ],
];

/// Configs of the class of Qwen-Image 2.1, and files whose convs see no frames.
pub(crate) struct AutoencoderKlQwenImage21;

/// Configs of the class of Wan, and every file that tells the network but no class.
pub(crate) struct AutoencoderKlWan;

/// Configs of the class of Qwen-Image.
pub(crate) struct AutoencoderKlQwenImage;

impl Family for AutoencoderKlWan {
    fn about(&self) -> &'static About {
        &About {
            classes: &[WAN_CLASS],
            models: "Wan 2.1, Wan 2.2",
            anchors: ANCHORS,
            evidence: &[
                PLAIN[0],
                PLAIN[1],
                &[IsOverTime("decoder.conv1.weight"), Is("decoder.upsamples.#.upsamples")],
                &[IsOverTime("decoder.conv_in.weight"), Is("decoder.up_blocks.#.upsampler")],
            ],
            space: &[],
            own_fields: OWN_FIELDS,
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlWanConfig::of_wan(fields).map(Into::into)
    }

    fn parse_without_class(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlWanConfig::of_no_class(fields).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        let plain = AutoencoderKlWanConfig::default_of(WanClass::Wan);
        let of_5b = AutoencoderKlWanConfig::of_wan_2_2_5b();
        vec![
            Released {
                models: "Wan 2.1, Wan 2.2 A14B, and models made of them",
                config: plain.into(),
            },
            Released { models: "Wan 2.2 TI2V-5B, FIBO", config: of_5b.into() },
        ]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(WanNames::detect(names))
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found, false)
    }
}

impl Family for AutoencoderKlQwenImage {
    fn about(&self) -> &'static About {
        &About {
            classes: &[QWEN_IMAGE_CLASS],
            models: "Qwen-Image",
            anchors: ANCHORS,
            evidence: &PLAIN,
            space: &[],
            own_fields: OWN_FIELDS,
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlWanConfig::of_qwen_image(fields).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        let plain = AutoencoderKlWanConfig::default_of(WanClass::QwenImage);
        let layered = config::LAYERED_CHANNELS;
        let layered =
            AutoencoderKlWanConfig { in_channels: layered, out_channels: layered, ..plain.clone() };
        vec![
            Released { models: "Qwen-Image, Qwen-Image-Edit, Krea 2", config: plain.into() },
            Released { models: "Qwen-Image-Layered", config: layered.into() },
        ]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        AutoencoderKlWan.names(names)
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        AutoencoderKlWan.infer(found)
    }
}

impl Family for AutoencoderKlQwenImage21 {
    fn about(&self) -> &'static About {
        &About {
            classes: &[QWEN_IMAGE_21_CLASS],
            models: "Qwen-Image 2.1",
            anchors: ANCHORS,
            evidence: &[
                &[IsFlat("decoder.conv1.weight"), Is("decoder.middle.#.residual")],
                &[IsFlat("decoder.conv_in.weight"), Is("decoder.mid_block.resnets.#.norm1.gamma")],
            ],
            space: &[],
            own_fields: OWN_FIELDS,
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlWanConfig::of_qwen_image_21(fields).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        let config = AutoencoderKlWanConfig::default_of(WanClass::QwenImage21);
        vec![Released { models: self.about().models, config: config.into() }]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(ImageNames::detect(names))
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found, true)
    }
}
