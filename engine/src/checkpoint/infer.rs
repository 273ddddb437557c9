//! A config from the shapes of the weights, for files that come without one.

use std::collections::BTreeMap;

use super::config::{AutoencoderKlConfig, MAX_LEVELS};
use super::contents::Stored;
use super::keys;
use super::origin::Evidence;
use super::text;

/// Fields that no shape tells; see [`super::Checkpoint::guessed`].
const UNTOLD: [&str; 4] = ["norm_num_groups", "sample_size", "scaling_factor", "shift_factor"];

/// Groups of every released model.
const GROUPS: u32 = 32;

/// More resnets per level than any decoder has.
const MAX_RESNETS: usize = 65;

/// What the names outside the decoder tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings {
    /// Whether there is a `quant_conv`.
    pub(crate) has_quant_conv: bool,
    /// Channels that the encoder reads, if there is one.
    pub(crate) encoder_channels: Option<u32>,
    /// Whether the encoder has attention; then the decoder has, too.
    pub(crate) encoder_attention: bool,
}

/// A config from shapes, and what of it they do not tell.
#[derive(Debug)]
pub(crate) struct Inferred {
    pub(crate) config: AutoencoderKlConfig,
    /// The model that the VAE is part of, if that is told.
    pub(crate) model: Option<&'static str>,
    /// Models whose parts it has, and of which no VAE is a part at once.
    pub(crate) contradicting: Vec<&'static str>,
    /// Fields that are neither told by shapes nor by the model.
    pub(crate) guessed: Vec<&'static str>,
}

impl Inferred {
    /// Nothing had to be inferred.
    pub(crate) fn given(config: AutoencoderKlConfig) -> Self {
        Self { config, model: None, contradicting: Vec::new(), guessed: Vec::new() }
    }
}

/// The config that the decoder's weights, by canonical name, belong to. Not yet validated.
///
/// # Errors
/// What is missing or odd, as the end of a sentence.
pub(crate) fn config(
    tensors: &BTreeMap<String, Stored>,
    surroundings: Surroundings,
    evidence: Evidence,
) -> Result<Inferred, String> {
    let shapes = Shapes(tensors);
    let conv_in = shapes.conv("decoder.conv_in.weight")?;
    let conv_out = shapes.conv("decoder.conv_out.weight")?;

    let mut block_out_channels = Vec::new();
    while let Some(channels) = shapes.block_channels(block_out_channels.len())? {
        block_out_channels.push(channels);
        if block_out_channels.len() > MAX_LEVELS {
            return Err(format!("it has more than {MAX_LEVELS} up blocks"));
        }
    }
    block_out_channels.reverse();
    if block_out_channels.is_empty() {
        return Err("`decoder.up_blocks.0.resnets.0.conv1.weight` is missing".into());
    }
    let has = |name: &str| tensors.contains_key(name);
    let resnet = |index| format!("decoder.up_blocks.0.resnets.{index}.conv1.weight");
    let resnets = (0..MAX_RESNETS + 1).take_while(|&index| has(&resnet(index))).count();

    let use_post_quant_conv = has("post_quant_conv.weight");
    let (origin, contradicting) = match evidence.of_vae(conv_in.inputs) {
        Evidence::Nothing => (None, Vec::new()),
        Evidence::Model(origin) => (Some(origin), Vec::new()),
        Evidence::Contradiction(models) => (None, models),
    };
    let family = Family::guess(conv_in.inputs, use_post_quant_conv);
    let mut config = AutoencoderKlConfig {
        in_channels: surroundings.encoder_channels.unwrap_or(conv_out.outputs),
        out_channels: conv_out.outputs,
        latent_channels: conv_in.inputs,
        norm_num_groups: common_groups(&block_out_channels),
        block_out_channels,
        layers_per_block: resnets.saturating_sub(1) as u32,
        sample_size: [family.sample_size; 2],
        scaling_factor: family.scaling_factor,
        shift_factor: family.shift_factor,
        latents_mean: None,
        latents_std: None,
        use_quant_conv: surroundings.has_quant_conv,
        use_post_quant_conv,
        mid_block_add_attention: surroundings.encoder_attention
            || tensors.keys().any(|name| keys::is_in_middle_beside_resnets(name)),
        force_upcast: true,
    };
    let mut guessed = UNTOLD.to_vec();
    if let Some(origin) = &origin {
        config.scaling_factor = origin.scaling_factor;
        config.shift_factor = origin.shift_factor;
        if let Some((mean, std)) = &origin.mean_and_std {
            config.latents_mean = Some(mean.clone());
            config.latents_std = Some(std.clone());
        }
        config.sample_size = origin.sample_size.map_or(config.sample_size, |pixels| [pixels; 2]);
        guessed.retain(|&field| match field {
            "norm_num_groups" => config.norm_num_groups != GROUPS,
            "sample_size" => origin.sample_size.is_none(),
            _ => false,
        });
    }
    // A tile has at least one latent cell.
    config.sample_size = config.sample_size.map(|pixels| pixels.max(config.scale()));
    Ok(Inferred { config, model: origin.map(|origin| origin.model), contradicting, guessed })
}

/// [`GROUPS`]; small models have the largest power of two that works.
fn common_groups(block_out_channels: &[u32]) -> u32 {
    let fits = |&groups: &u32| block_out_channels.iter().all(|channels| channels % groups == 0);
    [GROUPS, 16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// What models of the same shape have in common, and where they differ, the best known of them.
struct Family {
    sample_size: u32,
    scaling_factor: f64,
    shift_factor: f64,
}

impl Family {
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

struct ConvChannels {
    outputs: u32,
    inputs: u32,
}

struct Shapes<'a>(&'a BTreeMap<String, Stored>);

impl Shapes<'_> {
    fn conv(&self, name: &str) -> Result<ConvChannels, String> {
        let stored = self.0.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
        let odd = || {
            let found = text::shape(&stored.shape);
            format!("`{name}` is {found}, expected the weights of a 2-d conv")
        };
        let &[outputs, inputs, _, _] = stored.shape.as_slice() else { return Err(odd()) };
        let [outputs, inputs] = [outputs, inputs].map(u32::try_from);
        Ok(ConvChannels {
            outputs: outputs.map_err(|_| odd())?,
            inputs: inputs.map_err(|_| odd())?,
        })
    }

    fn block_channels(&self, block: usize) -> Result<Option<u32>, String> {
        let name = format!("decoder.up_blocks.{block}.resnets.0.conv1.weight");
        if !self.0.contains_key(&name) {
            return Ok(None);
        }
        self.conv(&name).map(|conv| Some(conv.outputs))
    }
}
