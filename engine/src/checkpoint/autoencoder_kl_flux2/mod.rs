//! `AutoencoderKLFlux2`: the network of an `AutoencoderKL`, and latents that pipelines normalize by the
//! statistics of a batch norm, which lie beside its weights.

mod config;
mod infer;
mod names;
mod pipeline;

pub use config::{AutoencoderKlFlux2Config, BatchNorm};
pub use pipeline::Flux2Pipeline;

use config::CLASS;
use names::Flux2Names;

use super::config::{ConfigError, VaeConfig};
use super::family::{About, Family, Found, Inferred, Released};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign::{Is, Is2d};

/// Mean and variance of the values of a token.
const STATISTICS: [&str; 2] = ["bn.running_mean", "bn.running_var"];

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
    fn complete(&self, config: Box<dyn VaeConfig>, found: &Found<'_>) -> Box<dyn VaeConfig> {
        let Some(own) = config.downcast_ref::<AutoencoderKlFlux2Config>() else { return config };
        let [mean, variance] = STATISTICS.map(|name| found.vector(name));
        let statistics = mean.zip(variance).map(|(mean, variance)| BatchNorm { mean, variance });
        let pipeline = found.pipeline.map_or(Flux2Pipeline::default(), Flux2Pipeline::of_class);
        AutoencoderKlFlux2Config { statistics, pipeline, ..own.clone() }.into()
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found)
    }
}
