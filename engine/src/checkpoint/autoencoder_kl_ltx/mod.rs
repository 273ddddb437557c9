//! `AutoencoderKLLTX2Video` and `AutoencoderKLLTXVideo`: decoders of convs alone, which may look ahead, and
//! whose latents are normalized by statistics that lie beside the weights.

mod config;
mod infer;
mod levels;
mod names;
mod read;
mod statistics;

pub use config::{AutoencoderKlLtxConfig, LtxClass};
pub use levels::{LtxLevel, LtxUpsampler, UpsampleType};
pub use statistics::LtxStatistics;

use config::{LTX_CLASS, LTX2_CLASS};
use names::LtxNames;

use super::config::{ConfigError, VaeConfig};
use super::family::{About, Family, Found, Inferred, Released};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign::{self, Is, Lacks};

/// A weight of every decoder, as diffusers and as the original code call it.
const ANCHORS: &[&str] = &[
    "decoder.mid_block.resnets.0.conv1.conv.weight",
    "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight",
];

/// Norms without weights tell both classes in diffusers' names; nothing tells which of them.
const EVIDENCE: &[&[Sign]] = &[
    &[Is("decoder.up_blocks.#.res_blocks.#.conv1.conv")],
    &[
        Lacks("decoder.mid_block.resnets.#.norm1"),
        Lacks("decoder.mid_block.attentions"),
        Is("decoder.conv_in.conv"),
        Is("decoder.mid_block.resnets.#.conv1.conv"),
    ],
];

/// Fields of both classes that no other family's configs have.
const OWN_FIELDS: &[&str] =
    &["decoder_causal", "decoder_spatio_temporal_scaling", "patch_size_t", "timestep_conditioning"];

/// Configs of the class of LTX-2, and every file that tells the network but no class.
pub(crate) struct AutoencoderKlLtx2Video;

/// Configs of the class of LTX-Video.
pub(crate) struct AutoencoderKlLtxVideo;

impl Family for AutoencoderKlLtx2Video {
    fn about(&self) -> &'static About {
        &About {
            classes: &[LTX2_CLASS],
            models: "LTX-2",
            anchors: ANCHORS,
            evidence: EVIDENCE,
            space: &[],
            own_fields: OWN_FIELDS,
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlLtxConfig::from_fields(fields, LtxClass::Ltx2).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        vec![
            Released { models: "LTX-2.0", config: AutoencoderKlLtxConfig::of_ltx_2_0().into() },
            Released {
                models: "LTX-2.3, LTX-2.5 (its decoder of convs)",
                config: AutoencoderKlLtxConfig::of_ltx_2_3().into(),
            },
        ]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(LtxNames::detect(names))
    }

    fn complete(
        &self,
        config: Box<dyn VaeConfig>,
        found: &Found<'_>,
    ) -> Result<Box<dyn VaeConfig>, String> {
        let Some(own) = config.downcast_ref::<AutoencoderKlLtxConfig>() else { return Ok(config) };
        let statistics = LtxStatistics::find(found, own.latent_channels);
        Ok(AutoencoderKlLtxConfig { statistics, ..own.clone() }.into())
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found)
    }
}

impl Family for AutoencoderKlLtxVideo {
    fn about(&self) -> &'static About {
        &About {
            classes: &[LTX_CLASS],
            models: "LTX-Video 0.9.0",
            anchors: ANCHORS,
            evidence: EVIDENCE,
            space: &statistics::NAMES[0],
            own_fields: OWN_FIELDS,
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlLtxConfig::from_fields(fields, LtxClass::Ltx).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        let config = AutoencoderKlLtxConfig::default_of(LtxClass::Ltx);
        vec![Released { models: self.about().models, config: config.into() }]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        AutoencoderKlLtx2Video.names(names)
    }

    fn complete(
        &self,
        config: Box<dyn VaeConfig>,
        found: &Found<'_>,
    ) -> Result<Box<dyn VaeConfig>, String> {
        AutoencoderKlLtx2Video.complete(config, found)
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        AutoencoderKlLtx2Video.infer(found)
    }
}
