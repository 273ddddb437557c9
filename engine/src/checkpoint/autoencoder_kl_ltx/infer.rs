//! A config from the shapes of the weights, for files that come without one.

use super::config::{AutoencoderKlLtxConfig, LtxClass, MAX_LEVELS, MAX_RESNETS};
use super::levels::UpsampleType;
use crate::checkpoint::family::{Found, Inferred};
use crate::checkpoint::shapes::{ConvChannels, Shapes};

/// Channels of a picture.
const PICTURE_CHANNELS: u32 = 3;

/// What weights of a decoder have that denoises latents, under the names of diffusers and of the original
/// code.
const OF_TIMESTEPS: [&str; 4] = [
    "decoder.timestep_scale_multiplier",
    "decoder.scale_shift_table",
    "decoder.last_scale_shift_table",
    "decoder.mid_block.resnets.0.scale_shift_table",
];

/// Fields that weights of no released shape do not tell.
const UNTOLD: [&str; 3] = ["upsample_residual", "decoder_causal", "decoder_spatial_padding_mode"];

/// The config that the weights belong to. Not yet validated.
///
/// # Errors
/// What is missing or odd, as the end of a sentence.
pub(super) fn config(found: &Found<'_>) -> Result<Inferred, String> {
    let shapes = Shapes(found.weights);
    if let Some(name) = OF_TIMESTEPS.into_iter().find(|name| shapes.has(name)) {
        return Err(format!(
            "`{name}` is of a decoder that denoises latents at a timestep, as LTX-Video 0.9.1 and later \
             ones have it, which is not supported"
        ));
    }
    let conv_in = shapes.conv3d("decoder.conv_in.conv.weight")?;
    let mut config = AutoencoderKlLtxConfig {
        latent_channels: conv_in.inputs,
        patch_size: patch_size(shapes)?,
        decoder_block_out_channels: Vec::new(),
        decoder_layers_per_block: vec![resnets(shapes, "decoder.mid_block")],
        decoder_spatio_temporal_scaling: Vec::new(),
        upsample_type: Vec::new(),
        upsample_residual: Vec::new(),
        upsample_factor: Vec::new(),
        ..AutoencoderKlLtxConfig::of_ltx_2_0()
    };
    let mut before = conv_in.outputs;
    for index in 0..=MAX_LEVELS {
        let Some(level) = Level::find(shapes, index, before)? else { break };
        if index == MAX_LEVELS {
            return Err(format!("it has more than {MAX_LEVELS} up blocks"));
        }
        let Level { channels, factor, doubles, resnets } = level;
        before = channels;
        config.decoder_block_out_channels.push(channels.saturating_mul(factor));
        config.decoder_layers_per_block.push(resnets);
        config.decoder_spatio_temporal_scaling.push(doubles.is_some());
        config.upsample_type.push(doubles.unwrap_or(UpsampleType::Spatiotemporal));
        config.upsample_factor.push(factor);
    }
    config.decoder_block_out_channels.reverse();
    config.decoder_layers_per_block.reverse();
    config.decoder_spatio_temporal_scaling.reverse();
    config.upsample_factor.reverse();
    let levels = config.upsample_factor.len();
    let of_class = |class| AutoencoderKlLtxConfig { class, ..config.clone() };
    let released = [
        AutoencoderKlLtxConfig::of_ltx_2_0(),
        AutoencoderKlLtxConfig::of_ltx_2_3(),
        AutoencoderKlLtxConfig::default_of(LtxClass::Ltx),
    ];
    // Shapes are those of a released model, which then tells what they do not.
    for model in released {
        let told = AutoencoderKlLtxConfig {
            upsample_residual: model.upsample_residual.clone(),
            decoder_causal: model.decoder_causal,
            decoder_spatial_padding_mode: model.decoder_spatial_padding_mode,
            ..of_class(model.class)
        };
        if told == model {
            let config = told.into();
            return Ok(Inferred { config, model: None, guessed: Vec::new(), untold: None });
        }
    }
    // As LTX-2.0 has it, where channels can be repeated.
    config.upsample_residual = vec![false; levels];
    for index in 0..levels {
        config.upsample_residual[index] = true;
        let is_possible =
            super::levels::validate_channels(config.deepest_channels(), config.levels());
        config.upsample_residual[index] = is_possible.is_ok();
    }
    Ok(Inferred { config: config.into(), model: None, guessed: UNTOLD.into(), untold: None })
}

/// A level as its weights show it.
struct Level {
    channels: u32,
    factor: u32,
    doubles: Option<UpsampleType>,
    resnets: u32,
}

impl Level {
    /// The level of that place, if there is one, behind one of so many channels.
    fn find(shapes: Shapes<'_>, index: usize, before: u32) -> Result<Option<Self>, String> {
        let block = format!("decoder.up_blocks.{index}");
        let resnets = resnets(shapes, &block);
        let shortcut = format!("{block}.conv_in.conv1.conv.weight");
        let upsampler = format!("{block}.upsamplers.0.conv.conv.weight");
        let input = match shapes.has(&shortcut) {
            true => shapes.conv3d(&shortcut)?.outputs,
            false => before,
        };
        if !shapes.has(&upsampler) {
            let is_there = resnets > 0 || shapes.has(&shortcut);
            let level = Self { channels: input, factor: 1, doubles: None, resnets };
            return Ok(is_there.then_some(level));
        }
        let ConvChannels { outputs, inputs } = shapes.conv3d(&upsampler)?;
        // What reads the cells that come out of its channels.
        let reader = [
            format!("{block}.resnets.0.conv1.conv.weight"),
            format!("decoder.up_blocks.{}.conv_in.conv1.conv.weight", index + 1),
            format!("decoder.up_blocks.{}.upsamplers.0.conv.conv.weight", index + 1),
            "decoder.conv_out.conv.weight".into(),
        ];
        let reader = reader.into_iter().find(|name| shapes.has(name));
        let reader = reader.ok_or("`decoder.conv_out.conv.weight` is missing")?;
        let channels = shapes.conv3d(&reader)?.inputs;
        let over = |all: u32| {
            let whole = all.checked_div(channels).filter(|_| all.is_multiple_of(channels));
            whole.ok_or_else(|| {
                format!("`{upsampler}` has {all} channels where `{reader}` reads {channels}")
            })
        };
        let (cells, factor) = (over(outputs)?, over(inputs)?);
        let doubles = UpsampleType::ALL.into_iter().find(|doubles| doubles.cells() == cells);
        let doubles = doubles.ok_or_else(|| {
            format!("`{upsampler}` makes {cells} cells of each, expected 2, 4 or 8")
        })?;
        Ok(Some(Self { channels, factor, doubles: Some(doubles), resnets }))
    }
}

/// How many resnets a block has.
fn resnets(shapes: Shapes<'_>, block: &str) -> u32 {
    let has = |index: &u32| shapes.has(&format!("{block}.resnets.{index}.conv1.conv.weight"));
    (0..=MAX_RESNETS).take_while(has).count() as u32
}

/// Rows and columns of pixels in the channels of a cell of the network's output.
fn patch_size(shapes: Shapes<'_>) -> Result<u32, String> {
    let name = "decoder.conv_out.conv.weight";
    let outputs = shapes.conv3d(name)?.outputs;
    let side = (outputs / PICTURE_CHANNELS).isqrt();
    match side * side * PICTURE_CHANNELS == outputs && side > 0 {
        true => Ok(side),
        false => Err(format!(
            "`{name}` has {outputs} channels, expected {PICTURE_CHANNELS} for each pixel of a square"
        )),
    }
}
