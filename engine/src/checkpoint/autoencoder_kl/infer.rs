//! A config from the shapes of the weights, for files that come without one.

use super::config::{AutoencoderKlConfig, MAX_LEVELS};
use super::names::is_in_middle_beside_resnets;
use super::origin::{self, Evidence};
use crate::checkpoint::family::{Found, Inferred, UntoldSpace};
use crate::checkpoint::shapes::Shapes;
use crate::checkpoint::tensors;

/// Fields that neither shapes nor a model of several `sample_size`s tell.
const UNTOLD: [&str; 2] = ["norm_num_groups", "sample_size"];
/// Fields that only the tensors beside the VAE tell.
const UNTOLD_SPACE: [&str; 2] = ["scaling_factor", "shift_factor"];

/// Groups of every released model.
pub(in crate::checkpoint) const GROUPS: u32 = 32;

/// The conv behind the encoder, as most files and as FLUX.2's own code call it.
const QUANT_CONVS: [&str; 2] = ["quant_conv.weight", "encoder.quant_conv.weight"];

/// More resnets per level than any decoder has.
const MAX_RESNETS: usize = 65;

/// Why a scaling cannot be guessed.
const REASON: &str = "models of the same shapes (SD 1.5 and SDXL, FLUX.1 and SD 3) differ in it";

/// What the VAE's names outside the decoder tell.
struct Surroundings {
    has_quant_conv: bool,
    /// Channels that the encoder reads, if there is one.
    encoder_channels: Option<u32>,
    /// Whether the encoder has attention; then the decoder has, too.
    encoder_attention: bool,
}

impl Surroundings {
    fn of(found: &Found<'_>) -> Self {
        let of_vae = || tensors::of_vae(found.tensors, found.prefix);
        let find = |wanted: &str| of_vae().find(|&(name, _)| name == wanted);
        let is_attention =
            |name: &str| name.starts_with("encoder.") && is_in_middle_beside_resnets(name);
        Self {
            has_quant_conv: QUANT_CONVS.iter().any(|&name| find(name).is_some()),
            encoder_channels: find("encoder.conv_in.weight")
                .and_then(|(_, shape)| u32::try_from(*shape.get(1)?).ok()),
            encoder_attention: of_vae().any(|(name, _)| is_attention(name)),
        }
    }
}

/// The config that the weights belong to. Not yet validated.
///
/// # Errors
/// What is missing or odd, as the end of a sentence.
pub(super) fn config(found: &Found<'_>) -> Result<Inferred, String> {
    let mut config = network(found)?;
    let best_known = BestKnown::guess(config.latent_channels, config.use_post_quant_conv);
    config.sample_size = [best_known.sample_size; 2];
    config.scaling_factor = best_known.scaling_factor;
    config.shift_factor = best_known.shift_factor;
    let evidence = origin::find(found.tensors, found.files).of_vae(config.latent_channels);
    let mut guessed = UNTOLD.to_vec();
    let (model, untold) = match evidence {
        Evidence::Model(origin) => {
            config.scaling_factor = origin.scaling_factor;
            config.shift_factor = origin.shift_factor;
            (config.latents_mean, config.latents_std) = origin.mean_and_std.unzip();
            if let Some(pixels) = origin.sample_size {
                config.sample_size = [pixels; 2];
            }
            guessed.retain(|&field| match field {
                "norm_num_groups" => config.norm_num_groups != GROUPS,
                _ => origin.sample_size.is_none(),
            });
            (Some(origin.model), None)
        }
        Evidence::Nothing => (None, Some(Vec::new())),
        Evidence::Contradiction(models) => (None, Some(models)),
    };
    let untold = untold.map(|contradicting| UntoldSpace {
        fields: &UNTOLD_SPACE,
        contradicting,
        reason: REASON,
    });
    // A tile has at least one latent cell.
    config.sample_size = config.sample_size.map(|pixels| pixels.max(config.scale()));
    Ok(Inferred { config: config.into(), model, guessed, untold })
}

/// What shapes tell of the network; the rest is that of an empty config. Not yet validated.
///
/// # Errors
/// As [`config`].
pub(in crate::checkpoint) fn network(found: &Found<'_>) -> Result<AutoencoderKlConfig, String> {
    let shapes = Shapes(found.weights);
    let conv_in = shapes.conv2d("decoder.conv_in.weight")?;
    let conv_out = shapes.conv2d("decoder.conv_out.weight")?;

    let mut block_out_channels = Vec::new();
    while let Some(channels) = block_channels(shapes, block_out_channels.len())? {
        block_out_channels.push(channels);
        if block_out_channels.len() > MAX_LEVELS {
            return Err(format!("it has more than {MAX_LEVELS} up blocks"));
        }
    }
    block_out_channels.reverse();
    if block_out_channels.is_empty() {
        return Err("`decoder.up_blocks.0.resnets.0.conv1.weight` is missing".into());
    }
    let resnet = |index| format!("decoder.up_blocks.0.resnets.{index}.conv1.weight");
    let resnets = (0..MAX_RESNETS + 1).take_while(|&index| shapes.has(&resnet(index))).count();
    let surroundings = Surroundings::of(found);
    Ok(AutoencoderKlConfig {
        in_channels: surroundings.encoder_channels.unwrap_or(conv_out.outputs),
        out_channels: conv_out.outputs,
        latent_channels: conv_in.inputs,
        norm_num_groups: common_groups(&block_out_channels),
        block_out_channels,
        layers_per_block: resnets.saturating_sub(1) as u32,
        use_quant_conv: surroundings.has_quant_conv,
        use_post_quant_conv: shapes.has("post_quant_conv.weight"),
        mid_block_add_attention: surroundings.encoder_attention
            || found.weights.keys().any(|name| is_in_middle_beside_resnets(name)),
        ..AutoencoderKlConfig::default()
    })
}

/// Channels of an up block, if there is such a block.
fn block_channels(shapes: Shapes<'_>, block: usize) -> Result<Option<u32>, String> {
    let name = format!("decoder.up_blocks.{block}.resnets.0.conv1.weight");
    shapes.has(&name).then(|| shapes.conv2d(&name).map(|conv| conv.outputs)).transpose()
}

/// [`GROUPS`]; small models have the largest power of two that works.
fn common_groups(block_out_channels: &[u32]) -> u32 {
    let fits = |&groups: &u32| block_out_channels.iter().all(|channels| channels % groups == 0);
    [GROUPS, 16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// What models of the same shape have in common, and where they differ, the best known of them.
struct BestKnown {
    sample_size: u32,
    scaling_factor: f64,
    shift_factor: f64,
}

impl BestKnown {
    /// 16 channels without post_quant_conv: FLUX.1 and Z-Image (SD 3 has the same shapes, but
    /// 1.5305 and 0.0609). Everything else: SD 1.5, whose scaling is also the default of
    /// diffusers' class (SDXL has the same shapes, but 0.13025 and a sample size of 1024).
    fn guess(latent_channels: u32, use_post_quant_conv: bool) -> Self {
        if latent_channels == 16 && !use_post_quant_conv {
            Self { sample_size: 1024, scaling_factor: 0.3611, shift_factor: 0.1159 }
        } else {
            Self { sample_size: 512, scaling_factor: 0.18215, shift_factor: 0.0 }
        }
    }
}
