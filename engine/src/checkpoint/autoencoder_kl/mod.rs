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
use super::family::{About, Family, Found, Inferred, Released};
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
            own_fields: &[],
        }
    }

    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        AutoencoderKlConfig::from_fields(fields, AutoencoderKlConfig::default()).map(Into::into)
    }

    fn released(&self) -> Vec<Released> {
        let of = |models, latent_channels, [scaling_factor, shift_factor]: [f64; 2]| {
            let use_quant_conv = latent_channels == 4;
            let config = AutoencoderKlConfig {
                latent_channels,
                scaling_factor,
                shift_factor,
                block_out_channels: vec![128, 256, 512, 512],
                layers_per_block: 2,
                sample_size: [1024, 1024],
                use_quant_conv,
                use_post_quant_conv: use_quant_conv,
                ..AutoencoderKlConfig::default()
            };
            Released { models, config: config.into() }
        };
        vec![
            of("SD 1.x and 2.x, SDXL, Playground 2.5, AuraFlow", 4, [0.18215, 0.0]),
            of("SD 3 and 3.5", 16, [1.5305, space::SD3_SHIFT_FACTOR]),
            of("FLUX.1, Z-Image, Chroma, HiDream, Lumina 2", 16, [0.3611, 0.1159]),
        ]
    }

    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names> {
        Box::new(AutoencoderKlNames::detect(names))
    }

    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String> {
        infer::config(found)
    }
}
