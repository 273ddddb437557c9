//! `AutoencoderKLFlux2`: the network of an `AutoencoderKL`, and latents that pipelines normalize by the
//! statistics of a batch norm, which lie beside its weights.

mod config;
mod infer;
mod names;
mod pipeline;
mod statistics;

pub use config::AutoencoderKlFlux2Config;
pub use pipeline::Flux2Pipeline;
pub use statistics::BatchNorm;

use config::{CLASS, DECODER_CHANNELS};
use names::Flux2Names;
use statistics::STATISTICS;

use super::config::{ConfigError, VaeConfig};
use super::family::{About, Family, Found, Inferred, Released};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign::{Is, Is2d};

/// The family.
pub(crate) struct AutoencoderKlFlux2;

impl Family for AutoencoderKlFlux2 {
    fn about(&self) -> &'static About {
        &About {
            classes: &[CLASS],
            models: "FLUX.2, ERNIE-Image, Ideogram 4, FIBO 2",
            anchors: &["decoder.conv_in.weight"],
            // The last is in files of its own code that lost the statistics.
            evidence: &[
                &[Is2d("decoder.conv_in.weight"), Is("bn")],
                &[Is2d("decoder.conv_in.weight"), Is("decoder.post_quant_conv")],
            ],
            space: &STATISTICS,
            own_fields: &["batch_norm_eps", "batch_norm_momentum", DECODER_CHANNELS],
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlFlux2Config::from_fields(fields).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        let config = AutoencoderKlFlux2Config::default();
        vec![Released { models: self.about().models, config: config.into() }]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(Flux2Names::detect(names))
    }

    /// The statistics, and what the pipeline does with them.
    fn complete(
        &self,
        config: Box<dyn VaeConfig>,
        found: &Found<'_>,
    ) -> Result<Box<dyn VaeConfig>, String> {
        let Some(own) = config.downcast_ref::<AutoencoderKlFlux2Config>() else {
            return Ok(config);
        };
        let [mean, variance] = STATISTICS.map(|name| found.vector(name));
        let statistics = mean.zip(variance).map(|(mean, variance)| BatchNorm { mean, variance });
        let pipeline = found.pipeline.map_or(Flux2Pipeline::default(), Flux2Pipeline::of_class);
        let config = AutoencoderKlFlux2Config { statistics, pipeline, ..own.clone() };
        if let Some(statistics) = &config.statistics {
            config.check(statistics)?;
        }
        Ok(config.into())
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found)
    }
}
