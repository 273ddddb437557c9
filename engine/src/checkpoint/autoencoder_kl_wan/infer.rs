//! A config from the shapes of the weights, for files that come without one.

use super::config::{
    AutoencoderKlWanConfig, LAYERED_CHANNELS, MAX_LEVELS, MAX_RES_BLOCKS, WanClass,
};
use crate::checkpoint::family::{Found, Inferred, UntoldSpace};
use crate::checkpoint::shapes::Shapes;
use crate::checkpoint::tensors;

/// Fields that only a config tells where the latents are not those of the released models.
const UNTOLD_SPACE: [&str; 2] = ["latents_mean", "latents_std"];

/// Why mean and deviation cannot be guessed.
const REASON: &str = "mean and deviation per channel are known for 16 channels alone";

/// The config that the weights belong to. Not yet validated.
///
/// # Errors
/// What is missing or odd, as the end of a sentence.
pub(super) fn config(found: &Found<'_>) -> Result<Inferred, String> {
    let shapes = Shapes(found.weights);
    let conv_in = shapes.conv3d("decoder.conv_in.weight")?;
    let conv_out = shapes.conv3d("decoder.conv_out.weight")?;
    let mut channels = Vec::new();
    let mut temporal = Vec::new();
    for level in 0.. {
        let block = format!("decoder.up_blocks.{level}");
        let conv = format!("{block}.resnets.0.conv1.weight");
        if level > 0 && !shapes.has(&conv) {
            break;
        }
        channels.push(shapes.conv3d(&conv)?.outputs);
        temporal.push(shapes.has(&format!("{block}.upsamplers.0.time_conv.weight")));
        if level == MAX_LEVELS {
            return Err(format!("it has more than {MAX_LEVELS} up blocks"));
        }
    }
    // The last level has no upsampler.
    temporal.pop();
    channels.reverse();
    let resnet = |index| format!("decoder.up_blocks.0.resnets.{index}.conv1.weight");
    let resnets = (0..MAX_RES_BLOCKS + 2).take_while(|&index| shapes.has(&resnet(index))).count();
    let res_blocks = resnets.saturating_sub(1) as u32;
    let network =
        AutoencoderKlWanConfig::of_network(&channels, &temporal, conv_in.inputs, res_blocks);

    let of_decoder = [network.decoder_base_dim, conv_out.outputs];
    let [base_dim, in_channels] = encoder_conv_in(found).unwrap_or(of_decoder);
    // The class of Qwen-Image has one field for what encoder and decoder may have different numbers of.
    let class = match conv_out.outputs {
        LAYERED_CHANNELS if [base_dim, in_channels] == of_decoder => WanClass::QwenImage,
        _ => WanClass::Untold,
    };
    let out_channels = conv_out.outputs;
    let config = AutoencoderKlWanConfig { class, base_dim, in_channels, out_channels, ..network };
    let untold = (!config.has_known_space()).then(|| UntoldSpace {
        fields: &UNTOLD_SPACE,
        contradicting: Vec::new(),
        reason: REASON,
    });
    Ok(Inferred { config: config.into(), model: None, guessed: Vec::new(), untold })
}

/// Channels that the encoder's first conv makes and reads, if there is one.
fn encoder_conv_in(found: &Found<'_>) -> Option<[u32; 2]> {
    let names = ["encoder.conv_in.weight", "encoder.conv1.weight"];
    let (_, shape) = tensors::of_vae(found.tensors, found.prefix)
        .find(|(name, shape)| names.contains(name) && shape.len() == 5)?;
    Some([u32::try_from(shape[0]).ok()?, u32::try_from(shape[1]).ok()?])
}
