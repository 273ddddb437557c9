//! A config from the shapes of the weights, for files that come without one.

use super::config::{AutoencoderKlHunyuanImageConfig, MAX_LEVELS};
use crate::checkpoint::family::{Found, Inferred, UntoldSpace};
use crate::checkpoint::shapes::Shapes;
use crate::checkpoint::tensors;

/// What nothing tells where the latents are not those of the released model.
const UNTOLD_SPACE: [&str; 1] = ["scaling_factor"];
const UNTOLD: &str = "sample_size";

/// Why the scaling cannot be guessed.
const REASON: &str = "it is known for latents of the released model alone (64 channels)";

/// Resnets one behind the other, with an upsampler behind them or the end of the decoder.
struct Run {
    channels: u32,
    resnets: usize,
}

/// The config that the weights belong to. Not yet validated.
///
/// # Errors
/// What is missing or odd, as the end of a sentence.
pub(super) fn config(found: &Found<'_>) -> Result<Inferred, String> {
    let shapes = Shapes(found.weights);
    let conv_in = shapes.conv2d("decoder.conv_in.weight")?;
    let conv_out = shapes.conv2d("decoder.conv_out.weight")?;
    let runs = runs(shapes)?;
    let [first, .., last] = &runs[..] else {
        return Err("it has no upsampler, and levels without any look like one".into());
    };
    // Behind the last upsampler there may be levels without any.
    let per_level = first.resnets;
    let at_end = match last.resnets.is_multiple_of(per_level) {
        true => (last.resnets / per_level).min(MAX_LEVELS + 1),
        false => 1,
    };
    let of_runs = runs.iter().map(|run| run.channels);
    let mut block_out_channels: Vec<_> = of_runs.collect();
    block_out_channels.extend(std::iter::repeat_n(last.channels, at_end.saturating_sub(1)));
    block_out_channels.reverse();

    let default = AutoencoderKlHunyuanImageConfig::default();
    let is_known = conv_in.inputs == default.latent_channels;
    let ratio = 1u32 << (runs.len() - 1);
    let encoder = tensors::of_vae(found.tensors, found.prefix)
        .find(|&(name, _)| name == "encoder.conv_in.weight")
        .and_then(|(_, shape)| u32::try_from(*shape.get(1)?).ok());
    let config = AutoencoderKlHunyuanImageConfig {
        in_channels: encoder.unwrap_or(conv_out.outputs),
        out_channels: conv_out.outputs,
        latent_channels: conv_in.inputs,
        block_out_channels,
        layers_per_block: per_level.saturating_sub(1) as u32,
        spatial_compression_ratio: ratio,
        // A tile has at least one latent cell.
        sample_size: default.sample_size.max(ratio),
        ..default
    };
    let guessed = if is_known { Vec::new() } else { vec![UNTOLD] };
    let untold = (!is_known).then(|| UntoldSpace {
        fields: &UNTOLD_SPACE,
        contradicting: Vec::new(),
        reason: REASON,
    });
    Ok(Inferred { config: config.into(), model: None, guessed, untold })
}

/// What is in the list of up blocks.
fn runs(shapes: Shapes<'_>) -> Result<Vec<Run>, String> {
    let mut runs = Vec::new();
    let mut run = None;
    for place in 0.. {
        let [resnet, upsampler] =
            ["conv1", "conv"].map(|conv| format!("decoder.up_blocks.{place}.{conv}.weight"));
        if shapes.has(&resnet) {
            let channels = shapes.conv2d(&resnet)?.outputs;
            run.get_or_insert(Run { channels, resnets: 0 }).resnets += 1;
        } else if shapes.has(&upsampler)
            && let Some(run) = run.take()
        {
            runs.push(run);
        } else {
            runs.push(run.ok_or_else(|| format!("`{resnet}` is missing"))?);
            break;
        }
        if runs.len() == MAX_LEVELS {
            return Err(format!("it has more than {MAX_LEVELS} levels"));
        }
    }
    Ok(runs)
}
