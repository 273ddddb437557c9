//! A config from the shapes of the weights, for files that come without one.

use super::config::{
    AutoencoderKlWanConfig, LAYERED_CHANNELS, MAX_LEVELS, MAX_RES_BLOCKS, WanClass,
};
use crate::checkpoint::family::{Found, Inferred, UntoldSpace};
use crate::checkpoint::shapes::{ConvChannels, Shapes};
use crate::checkpoint::tensors;

/// Fields that only a config tells where the latents are not those of the released models.
const UNTOLD_SPACE: [&str; 2] = ["latents_mean", "latents_std"];

/// Why mean and deviation cannot be guessed.
const REASON: &str = "mean and deviation per channel are known for latents of the released models alone \
                      (16 channels, 48 of Wan 2.2 5B, 64 of Qwen-Image 2.1)";

/// Most channels of a picture. More of them are those of several pixels.
const MOST_PICTURE_CHANNELS: u32 = 4;
/// Rows and columns of pixels that lie in channels in the released model where any do.
const PATCH: u32 = 2;
/// Channels of the latents of that model.
const PATCHED_LATENT_CHANNELS: u32 = 48;

/// The config that the weights belong to. Not yet validated. Of a network of images, convs over time are
/// not among the weights.
///
/// # Errors
/// What is missing or odd, as the end of a sentence.
pub(super) fn config(found: &Found<'_>, is_of_images: bool) -> Result<Inferred, String> {
    let network = Network { shapes: Shapes(found.weights), is_of_images };
    let conv_in = network.conv("decoder.conv_in.weight")?;
    let conv_out = network.conv("decoder.conv_out.weight")?;
    // A single level shows nothing of it.
    let is_residual =
        is_of_images || network.shapes.has("decoder.up_blocks.0.upsampler.resample.1.weight");
    let mut channels = Vec::new();
    for level in 0.. {
        let conv = format!("decoder.up_blocks.{level}.resnets.0.conv1.weight");
        if level > 0 && !network.shapes.has(&conv) {
            break;
        }
        channels.push(network.conv(&conv)?.outputs);
        if level == MAX_LEVELS {
            return Err(format!("it has more than {MAX_LEVELS} up blocks"));
        }
    }
    let mut guessed = Vec::new();
    // The last level has no upsampler.
    let upsamplers = channels.len() - 1;
    let mut temporal: Vec<bool> =
        (0..upsamplers).map(|level| network.doubles_frames(found, level)).collect();
    if is_of_images && upsamplers > 0 && !temporal.contains(&true) {
        // No conv over time is left, and shortcuts differ: as in the released model.
        let default = AutoencoderKlWanConfig::default_of(WanClass::QwenImage21);
        let flags = default.temporal_upsample().chain(std::iter::repeat(false));
        temporal = flags.take(upsamplers).collect();
        guessed.push("temperal_downsample");
    }
    channels.reverse();
    let resnet = |index| format!("decoder.up_blocks.0.resnets.{index}.conv1.weight");
    let has_resnet = |&index: &u32| network.shapes.has(&resnet(index));
    let resnets = (0..MAX_RES_BLOCKS + 2).take_while(has_resnet).count();
    let res_blocks = resnets.saturating_sub(1) as u32;

    let outputs = conv_out.outputs;
    let is_patched = is_residual
        && !is_of_images
        && outputs > MOST_PICTURE_CHANNELS
        && outputs.is_multiple_of(PATCH * PATCH);
    if is_patched && conv_in.inputs != PATCHED_LATENT_CHANNELS {
        guessed.push("patch_size");
    }
    let patch_size = is_patched.then_some(PATCH);
    let of_decoder = |network: &AutoencoderKlWanConfig| [network.decoder_base_dim, outputs];
    let of_class = |class| {
        let kind = (class, is_residual, patch_size);
        AutoencoderKlWanConfig::of_network(&channels, &temporal, conv_in.inputs, res_blocks, kind)
    };
    let untold = of_class(WanClass::Untold);
    let [base_dim, in_channels] = encoder_conv_in(found).unwrap_or(of_decoder(&untold));
    // The class of Qwen-Image has one field for what encoder and decoder may have different numbers of.
    let class = match outputs {
        _ if is_of_images => WanClass::QwenImage21,
        _ if is_residual => WanClass::Wan,
        LAYERED_CHANNELS if [base_dim, in_channels] == of_decoder(&untold) => WanClass::QwenImage,
        _ => WanClass::Untold,
    };
    let config =
        AutoencoderKlWanConfig { base_dim, in_channels, out_channels: outputs, ..of_class(class) };
    let untold = config.known_statistics().is_none().then(|| UntoldSpace {
        fields: &UNTOLD_SPACE,
        contradicting: Vec::new(),
        reason: REASON,
    });
    Ok(Inferred { config: config.into(), model: None, guessed, untold })
}

/// The weights of a decoder.
struct Network<'a> {
    shapes: Shapes<'a>,
    is_of_images: bool,
}

impl Network<'_> {
    /// Channels of a conv that sees frames where there are any.
    fn conv(&self, name: &str) -> Result<ConvChannels, String> {
        match self.is_of_images {
            true => self.shapes.conv2d(name),
            false => self.shapes.conv3d(name),
        }
    }

    /// Whether there is a conv over time behind the resnets of a level.
    fn doubles_frames(&self, found: &Found<'_>, level: usize) -> bool {
        if self.is_of_images {
            let places = [
                format!("decoder.up_blocks.{level}.upsampler."),
                format!("decoder.upsamples.{level}.upsamples."),
            ];
            return tensors::of_vae(found.tensors, found.prefix).any(|(name, _)| {
                let place = places.iter().find_map(|place| name.strip_prefix(place.as_str()));
                place.is_some_and(|part| part.ends_with("time_conv.weight"))
            });
        }
        ["upsampler", "upsamplers.0"].iter().any(|upsampler| {
            let name = format!("decoder.up_blocks.{level}.{upsampler}.time_conv.weight");
            self.shapes.has(&name)
        })
    }
}

/// Channels that the encoder's first conv makes and reads, if there is one.
fn encoder_conv_in(found: &Found<'_>) -> Option<[u32; 2]> {
    let names = ["encoder.conv_in.weight", "encoder.conv1.weight"];
    let (_, shape) = tensors::of_vae(found.tensors, found.prefix)
        .find(|(name, shape)| names.contains(name) && matches!(shape.len(), 4 | 5))?;
    Some([u32::try_from(shape[0]).ok()?, u32::try_from(shape[1]).ok()?])
}
