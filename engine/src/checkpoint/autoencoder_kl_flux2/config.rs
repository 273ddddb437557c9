//! The config of an `AutoencoderKLFlux2`.

use halovae_core::Tiling;
use serde_json::{Value, json};

use super::pipeline::{Flux2Pipeline, UNTOLD_CELLS};
use super::statistics::BatchNorm;
use crate::checkpoint::autoencoder_kl::AutoencoderKlConfig;
use crate::checkpoint::config::{ConfigError, Detail, VaeConfig};
use crate::checkpoint::fields::{
    Fields, MAX_CHANNELS, check_magnitude, ensure, ensure_within, wrong,
};
use crate::latents::{LatentSpace, Packing};
use crate::program::{Model, Program, ProgramError};

/// The class of diffusers.
pub(super) const CLASS: &str = "AutoencoderKLFlux2";

/// Most rows and columns of cells in a token.
const MAX_PATCH: u32 = 16;

/// What a decoder's shape and its latents' space follow from. Fields are those of diffusers' class;
/// `act_fn` and `up_block_types` are not kept, as of an `AutoencoderKL`.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlFlux2Config {
    /// The same network and tiles as an `AutoencoderKL`. Its `block_out_channels` are those of the
    /// decoder; nothing is scaled or shifted.
    pub network: AutoencoderKlConfig,
    /// Channels per level of the encoder, shallowest first. The decoder has others where the config has
    /// `decoder_block_out_channels`.
    pub block_out_channels: Vec<u32>,
    /// Added to the variance of the batch norm.
    pub batch_norm_eps: f64,
    /// Rows and columns of cells in a token.
    pub patch_size: [u32; 2],
    /// The batch norm's, where the weights were read and have it.
    pub statistics: Option<BatchNorm>,
    /// The pipeline, where its folder was read.
    pub pipeline: Flux2Pipeline,
}

impl Default for AutoencoderKlFlux2Config {
    /// The defaults of diffusers' class, which are FLUX.2's values.
    fn default() -> Self {
        let block_out_channels = vec![128, 256, 512, 512];
        let network = AutoencoderKlConfig {
            latent_channels: 32,
            block_out_channels: block_out_channels.clone(),
            layers_per_block: 2,
            sample_size: [1024, 1024],
            scaling_factor: 1.0,
            ..AutoencoderKlConfig::default()
        };
        Self {
            network,
            block_out_channels,
            batch_norm_eps: 1e-4,
            patch_size: [2, 2],
            statistics: None,
            pipeline: Flux2Pipeline::default(),
        }
    }
}

impl AutoencoderKlFlux2Config {
    /// Absent fields take the defaults of diffusers' class; unknown ones are ignored.
    pub(super) fn from_fields(fields: Fields<'_>) -> Result<Self, ConfigError> {
        let default = Self::default();
        let network = AutoencoderKlConfig::from_fields(fields, default.network.clone())?;
        let of_decoder = fields.counts_or_null(DECODER_CHANNELS)?;
        let config = Self {
            batch_norm_eps: fields.number("batch_norm_eps")?.unwrap_or(default.batch_norm_eps),
            patch_size: patch_size(fields, default.patch_size)?,
            ..default
        };
        let mut config = config.with_network(network);
        config.network.block_out_channels =
            of_decoder.unwrap_or_else(|| config.block_out_channels.clone());
        config.validate()?;
        Ok(config)
    }

    /// The same with another network, whose encoder has the channels of its decoder. What an
    /// `AutoencoderKL` has beside its network does not count.
    pub(super) fn with_network(self, network: AutoencoderKlConfig) -> Self {
        let AutoencoderKlConfig {
            scaling_factor,
            shift_factor,
            latents_mean,
            latents_std,
            force_upcast,
            ..
        } = Self::default().network;
        let block_out_channels = network.block_out_channels.clone();
        let network = AutoencoderKlConfig {
            scaling_factor,
            shift_factor,
            latents_mean,
            latents_std,
            force_upcast,
            ..network
        };
        Self { network, block_out_channels, ..self }
    }

    /// Undoes the batch norm, where its statistics are known and can be used.
    fn unnormalized(&self) -> Option<LatentSpace> {
        let statistics = self.statistics.as_ref()?;
        self.check(statistics).ok()?;
        Some(LatentSpace {
            mean_and_std: Some((statistics.mean.clone(), statistics.std(self.eps() as f32))),
            of_tokens: Some(self.pipeline.packing(self.patch_size)),
            ..LatentSpace::VAE
        })
    }

    /// Checks that these can be the statistics of its tokens.
    ///
    /// # Errors
    /// As [`BatchNorm::check`].
    pub(super) fn check(&self, statistics: &BatchNorm) -> Result<(), String> {
        let [height, width] = self.patch_size;
        statistics.check([height, width, self.network.latent_channels], self.eps() as f32)
    }

    /// What the pipeline adds to the variance.
    pub(super) fn eps(&self) -> f64 {
        self.pipeline.eps(self.batch_norm_eps)
    }

    /// Checks the channels of the decoder, where they have a field of their own.
    fn validate_decoder_channels(&self) -> Result<(), ConfigError> {
        let own = &self.network.block_out_channels;
        if *own == self.block_out_channels {
            return Ok(());
        }
        let [found, expected] = [own, &self.block_out_channels].map(Vec::len);
        ensure(
            found == expected,
            DECODER_CHANNELS,
            format_args!("a list of {found} levels"),
            || format!("as many levels as `block_out_channels` has ({expected})"),
        )?;
        let groups = self.network.norm_num_groups;
        ensure_within("norm_num_groups", groups, 1, MAX_CHANNELS)?;
        own.iter().try_for_each(|&channels| {
            ensure_within(DECODER_CHANNELS, channels, 1, MAX_CHANNELS)?;
            ensure(channels.is_multiple_of(groups), DECODER_CHANNELS, channels, || {
                format!("multiples of `norm_num_groups` ({groups})")
            })
        })
    }
}

/// Where the decoder's channels are not the encoder's.
pub(super) const DECODER_CHANNELS: &str = "decoder_block_out_channels";

impl Model for AutoencoderKlFlux2Config {
    /// That of an `AutoencoderKL`.
    fn decoder(&self) -> Result<Program, ProgramError> {
        self.network.decoder()
    }
}

impl VaeConfig for AutoencoderKlFlux2Config {
    fn class(&self) -> &'static str {
        CLASS
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate_decoder_channels()?;
        self.network.validate()?;
        check_magnitude("batch_norm_eps", self.batch_norm_eps)?;
        ensure(self.batch_norm_eps >= 0.0, "batch_norm_eps", self.batch_norm_eps, || {
            "a number that is not below 0".into()
        })?;
        self.patch_size
            .into_iter()
            .try_for_each(|side| ensure_within("patch_size", side, 1, MAX_PATCH))
    }

    fn tiling(&self) -> Tiling {
        self.network.tiling()
    }

    fn latent_space(&self) -> Option<LatentSpace> {
        match self.pipeline {
            Flux2Pipeline::Klein => Some(LatentSpace::VAE),
            Flux2Pipeline::Untold => {
                Some(LatentSpace { cells_untold: Some(UNTOLD_CELLS), ..self.unnormalized()? })
            }
            _ => self.unnormalized(),
        }
    }

    /// ComfyUI has batch norm and tokens in its VAE.
    fn comfy_space(&self) -> Option<LatentSpace> {
        self.unnormalized()
    }

    fn packing(&self) -> Option<Packing> {
        Some(self.pipeline.packing(self.patch_size))
    }

    fn details(&self) -> Vec<(&'static str, Detail)> {
        let of_network = self.network.details().into_iter();
        let mut details: Vec<_> = of_network
            .filter(|(name, _)| !matches!(*name, "scaling_factor" | "shift_factor"))
            .collect();
        details.push(("patch_size", Detail::Counts(self.patch_size.into())));
        details.push(("batch_norm_eps", Detail::Number(self.eps())));
        let told = match self.unnormalized() {
            Some(_) => "of each value of a token",
            None => "not in these weights",
        };
        details.push(("batch_norm statistics", Detail::Text(told)));
        details
    }

    fn to_json(&self) -> Value {
        let mut fields = self.network.to_json();
        for of_other in
            ["scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast"]
        {
            fields.as_object_mut().expect("a config is an object").remove(of_other);
        }
        fields["_class_name"] = CLASS.into();
        fields["block_out_channels"] = json!(self.block_out_channels);
        if self.network.block_out_channels != self.block_out_channels {
            fields[DECODER_CHANNELS] = json!(self.network.block_out_channels);
        }
        fields["batch_norm_eps"] = self.batch_norm_eps.into();
        fields["patch_size"] = json!(self.patch_size);
        fields
    }
}

/// Height and width.
fn patch_size(fields: Fields<'_>, default: [u32; 2]) -> Result<[u32; 2], ConfigError> {
    const FIELD: &str = "patch_size";
    match fields.counts(FIELD)?.as_deref() {
        None => Ok(default),
        Some(&[height, width]) => Ok([height, width]),
        Some(_) => {
            let value = fields.get(FIELD).expect("it was read");
            Err(wrong(FIELD, value, "height and width, in cells"))
        }
    }
}
