//! `AutoencoderKLHunyuanImage`: HunyuanImage 2.1, in files of diffusers, of Tencent and of ComfyUI.

mod config;
mod infer;
mod names;

pub use config::AutoencoderKlHunyuanImageConfig;

use config::CLASS;
use names::HunyuanImageNames;

use super::config::{ConfigError, VaeConfig};
use super::family::{About, Family, Found, Inferred, Released};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign::{Is, Is2d, IsFlat, Widens};

/// The family.
pub(crate) struct AutoencoderKlHunyuanImage;

impl Family for AutoencoderKlHunyuanImage {
    fn about(&self) -> &'static About {
        &About {
            classes: &[CLASS],
            models: "HunyuanImage 2.1",
            anchors: &["decoder.conv_in.weight"],
            // The upsamplers of HunyuanImage 3 widen as well, and see frames.
            evidence: &[
                &[
                    Is("decoder.mid_block.attentions.#.to_q"),
                    Is2d("decoder.mid_block.attentions.#.proj.weight"),
                ],
                &[
                    IsFlat("decoder.up.#.upsample.conv.weight"),
                    Widens("decoder.up.#.upsample.conv.weight"),
                ],
            ],
            space: &[],
            own_fields: &["downsample_match_channel", "upsample_match_channel"],
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlHunyuanImageConfig::from_fields(fields).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        let config = AutoencoderKlHunyuanImageConfig::default();
        vec![Released { models: self.about().models, config: config.into() }]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(HunyuanImageNames::detect(names))
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found)
    }
}
