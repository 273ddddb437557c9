//! The config of an `AutoencoderKLLTX2Video` or an `AutoencoderKLLTXVideo`.

use std::num::NonZeroU32;

use halovae_core::{AxisTiling, DroppedFrame, Scale, Tiling, TimeScale, TimeTiling};
use serde_json::{Value, json};

use super::levels::{LtxLevel, LtxUpsampler, UpsampleType, validate_channels};
use super::statistics::LtxStatistics;
use crate::checkpoint::config::{ConfigError, Detail, VaeConfig};
use crate::checkpoint::fields::{MAX_CHANNELS, check_magnitude, ensure, ensure_within};
use crate::latents::{LatentSpace, Packing, TokenContent, TokenOrder};
use crate::program::{Edge, MOST_FRAMES};

/// The classes of diffusers.
pub(super) const LTX_CLASS: &str = "AutoencoderKLLTXVideo";
pub(super) const LTX2_CLASS: &str = "AutoencoderKLLTX2Video";

/// Most levels of a decoder.
pub(super) const MAX_LEVELS: usize = 16;
/// Most resnets of a level.
pub(super) const MAX_RESNETS: u32 = 64;
/// Most rows and columns of pixels in the channels of a cell.
pub(super) const MAX_PATCH: u32 = 16;
/// Most rows and columns of pixels for each cell of the latents.
const MAX_SCALE: u32 = 1 << 12;

/// What pipelines of LTX-2 make and save.
const FRAMES_PER_SECOND: NonZeroU32 = NonZeroU32::new(24).unwrap();
/// The same of LTX-Video.
const FRAMES_PER_SECOND_OF_LTX: NonZeroU32 = NonZeroU32::new(25).unwrap();

/// Pixels of a tile along height and width, and from one tile to the next; neither depends on the config.
const TILE_SAMPLE_MIN_SIZE: u32 = 512;
const TILE_SAMPLE_STRIDE: u32 = 448;
/// The same along time, where tiles of frames are asked for.
const TILE_SAMPLE_MIN_NUM_FRAMES: u32 = 16;
const TILE_SAMPLE_STRIDE_NUM_FRAMES: u32 = 8;

/// Which of the classes a config is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LtxClass {
    /// `AutoencoderKLLTX2Video`.
    Ltx2,
    /// `AutoencoderKLLTXVideo`.
    Ltx,
}

/// What a decoder's shape and its latents' space follow from. Fields are those of diffusers' classes; those
/// of the encoder are not kept, nor are `decoder_inject_noise`, `timestep_conditioning` and `patch_size_t`,
/// of which one value alone is decoded, and the compression ratios, which follow from the levels.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderKlLtxConfig {
    /// The class; `AutoencoderKLLTXVideo` has neither `upsample_type` nor `decoder_spatial_padding_mode`.
    pub class: LtxClass,
    /// Channels of the frames.
    pub out_channels: u32,
    /// Channels of the latents.
    pub latent_channels: u32,
    /// Channels per level times the level's `upsample_factor`, shallowest first (the decoder runs through
    /// them backwards, as through all lists but `upsample_type`).
    pub decoder_block_out_channels: Vec<u32>,
    /// Resnets per level, and behind them those of the middle.
    pub decoder_layers_per_block: Vec<u32>,
    /// Whether a level begins with an upsampler.
    pub decoder_spatio_temporal_scaling: Vec<bool>,
    /// What the upsamplers double, in the order in which the decoder runs through the levels.
    pub upsample_type: Vec<UpsampleType>,
    /// Whether there are shortcuts around the upsamplers.
    pub upsample_residual: Vec<bool>,
    /// By what the upsamplers divide channels.
    pub upsample_factor: Vec<u32>,
    /// Rows and columns of pixels that lie in the channels of one cell of the network's output.
    pub patch_size: u32,
    /// Added to the variance of norms ahead of shortcuts that change channels.
    pub resnet_norm_eps: f64,
    /// Divides the latents of pipelines, with the deviation of each channel.
    pub scaling_factor: f64,
    /// Whether convs look back alone, else as far ahead.
    pub decoder_causal: bool,
    /// What stands beyond rows and columns.
    pub decoder_spatial_padding_mode: Edge,
    /// Mean and deviation of the latents, where the weights were read and have them.
    pub statistics: Option<LtxStatistics>,
}

impl AutoencoderKlLtxConfig {
    /// Channels of the deepest level, which the middle has, too.
    pub fn deepest_channels(&self) -> u32 {
        self.decoder_block_out_channels.last().copied().unwrap_or(0)
    }

    /// Resnets of the middle.
    pub fn middle_resnets(&self) -> u32 {
        self.decoder_layers_per_block.last().copied().unwrap_or(0)
    }

    /// The levels in the order in which the decoder runs through them: as many as all lists have.
    pub fn levels(&self) -> impl Iterator<Item = LtxLevel> {
        let channels = self.decoder_block_out_channels.iter().rev();
        let resnets = self.decoder_layers_per_block.iter().rev().skip(1);
        let scaled = self.decoder_spatio_temporal_scaling.iter().rev();
        let factors = self.upsample_factor.iter().rev();
        let shortcuts = self.upsample_residual.iter().rev();
        let upsamplers = factors.zip(shortcuts).zip(&self.upsample_type);
        channels.zip(resnets).zip(scaled).zip(upsamplers).map(
            |(((&channels, &resnets), &is_scaled), ((&factor, &has_shortcut), &doubles))| {
                let upsampler = LtxUpsampler { doubles, has_shortcut };
                LtxLevel {
                    channels: channels.checked_div(factor).unwrap_or(0),
                    factor,
                    resnets,
                    upsampler: is_scaled.then_some(upsampler),
                }
            },
        )
    }

    /// Frames per latent frame behind the first, and pixels per latent cell; saturates for a config that
    /// is refused.
    pub(super) fn scales(&self) -> [u32; 2] {
        let own = [1, self.patch_size];
        self.levels().filter_map(|level| level.upsampler).fold(own, |[frames, side], upsampler| {
            let doubles = upsampler.doubles;
            [frames.saturating_mul(doubles.frames()), side.saturating_mul(doubles.side())]
        })
    }

    /// Every list has as many entries as there are levels.
    fn validate_lists(&self) -> Result<(), ConfigError> {
        let levels = self.decoder_block_out_channels.len();
        ensure(
            (1..=MAX_LEVELS).contains(&levels),
            "decoder_block_out_channels",
            format_args!("a list of {levels} levels"),
            || format!("1 to {MAX_LEVELS} levels"),
        )?;
        for (field, entries) in [
            ("decoder_spatio_temporal_scaling", self.decoder_spatio_temporal_scaling.len()),
            ("upsample_type", self.upsample_type.len()),
            ("upsample_residual", self.upsample_residual.len()),
            ("upsample_factor", self.upsample_factor.len()),
        ] {
            ensure(entries == levels, field, format_args!("a list of {entries}"), || {
                format!("one entry for each level of `decoder_block_out_channels` ({levels})")
            })?;
        }
        let entries = self.decoder_layers_per_block.len();
        let field = "decoder_layers_per_block";
        ensure(entries == levels + 1, field, format_args!("a list of {entries}"), || {
            format!(
                "one entry for each level of `decoder_block_out_channels` and one for the middle \
                 ({})",
                levels + 1
            )
        })
    }
}

impl VaeConfig for AutoencoderKlLtxConfig {
    fn class(&self) -> &'static str {
        match self.class {
            LtxClass::Ltx2 => LTX2_CLASS,
            LtxClass::Ltx => LTX_CLASS,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.validate_lists()?;
        ensure_within("patch_size", self.patch_size, 1, MAX_PATCH)?;
        ensure_within("latent_channels", self.latent_channels, 1, MAX_CHANNELS)?;
        let pixels = self.patch_size * self.patch_size;
        ensure_within("out_channels", self.out_channels, 1, MAX_CHANNELS / pixels)?;
        for &channels in &self.decoder_block_out_channels {
            ensure_within("decoder_block_out_channels", channels, 1, MAX_CHANNELS)?;
        }
        for &resnets in &self.decoder_layers_per_block {
            ensure_within("decoder_layers_per_block", resnets, 0, MAX_RESNETS)?;
        }
        // A middle without resnets is no sign of a decoder.
        let field = "decoder_layers_per_block";
        ensure_within(field, self.middle_resnets(), 1, MAX_RESNETS)?;
        for &factor in &self.upsample_factor {
            ensure_within("upsample_factor", factor, 1, MAX_CHANNELS)?;
        }
        validate_channels(self.deepest_channels(), self.levels())?;
        let [frames, side] = self.scales();
        let field = "decoder_spatio_temporal_scaling";
        ensure(frames <= MOST_FRAMES, field, format_args!("a list that makes {frames}"), || {
            format!("no more than {MOST_FRAMES} frames for each of the latents")
        })?;
        ensure(side <= MAX_SCALE, field, format_args!("a list that makes {side}"), || {
            format!("no more than {MAX_SCALE} rows of pixels for each of the latents")
        })?;
        let is_told = self.class == LtxClass::Ltx2;
        ensure(
            is_told || self.decoder_spatial_padding_mode == Edge::Zeros,
            "decoder_spatial_padding_mode",
            padding_mode(self.decoder_spatial_padding_mode),
            || format!("zeros: an {LTX_CLASS} has no others"),
        )?;
        let is_plain = |&doubles: &UpsampleType| doubles == UpsampleType::Spatiotemporal;
        ensure(
            is_told || self.upsample_type.iter().all(is_plain),
            "upsample_type",
            "a list with others than \"spatiotemporal\"",
            || format!("those alone: an {LTX_CLASS} has no others"),
        )?;
        check_magnitude("resnet_norm_eps", self.resnet_norm_eps)?;
        ensure(self.resnet_norm_eps > 0.0, "resnet_norm_eps", self.resnet_norm_eps, || {
            "a number above 0".into()
        })?;
        check_magnitude("scaling_factor", self.scaling_factor)?;
        // Latents are scaled in f32, where the least numbers are 0.
        ensure(self.scaling_factor as f32 != 0.0, "scaling_factor", self.scaling_factor, || {
            "a number that is not 0".into()
        })
    }

    fn is_video(&self) -> bool {
        true
    }

    fn frames_per_second(&self) -> Option<NonZeroU32> {
        Some(match self.class {
            LtxClass::Ltx2 => FRAMES_PER_SECOND,
            LtxClass::Ltx => FRAMES_PER_SECOND_OF_LTX,
        })
    }

    fn tiling(&self) -> Tiling {
        let axis = AxisTiling::Stride {
            tile_sample_min_size: TILE_SAMPLE_MIN_SIZE,
            tile_sample_stride: TILE_SAMPLE_STRIDE,
        };
        let [frames, side] = self.scales();
        Tiling::new(axis, axis, Scale::video(TimeScale::first_alone(frames), side))
    }

    fn time_tiling(&self) -> Option<TimeTiling> {
        Some(TimeTiling {
            tile_sample_min_num_frames: TILE_SAMPLE_MIN_NUM_FRAMES,
            tile_sample_stride_num_frames: TILE_SAMPLE_STRIDE_NUM_FRAMES,
            dropped: DroppedFrame::Last,
        })
    }

    /// LTX-2's pipelines undo the normalization before they give latents away.
    fn latent_space(&self) -> Option<LatentSpace> {
        match self.class {
            LtxClass::Ltx2 => Some(LatentSpace::VAE),
            LtxClass::Ltx => Some(self.statistics.as_ref()?.space(self.scaling_factor)),
        }
    }

    /// ComfyUI undoes the normalization in its VAE. Where the statistics are missing, no latents are taken.
    fn comfy_space(&self) -> Option<LatentSpace> {
        let none = LtxStatistics { mean: Vec::new(), std: Vec::new() };
        Some(self.statistics.as_ref().unwrap_or(&none).space(self.scaling_factor))
    }

    /// A token of LTX-Video's pipelines is one cell. Those of LTX-2 unpack.
    fn packing(&self) -> Option<Packing> {
        let [patch_height, patch_width] = [1; 2];
        let (order, content) = (TokenOrder::ChannelsFirst, TokenContent::Video);
        let packing = Packing { patch_height, patch_width, order, content, in_place: false };
        (self.class == LtxClass::Ltx).then_some(packing)
    }

    fn details(&self) -> Vec<(&'static str, Detail)> {
        let levels: Vec<_> = self.levels().collect();
        let told = match self.statistics {
            Some(_) => "per channel",
            None => "not in these weights",
        };
        vec![
            ("latent_channels", Detail::Count(self.latent_channels)),
            ("out_channels", Detail::Count(self.out_channels)),
            (
                "channels of the levels",
                Detail::Counts(levels.iter().map(|level| level.channels).collect()),
            ),
            (
                "resnets of the levels",
                Detail::Counts(levels.iter().map(|level| level.resnets).collect()),
            ),
            ("resnets of the middle", Detail::Count(self.middle_resnets())),
            ("patch_size", Detail::Count(self.patch_size)),
            ("decoder_causal", Detail::Flag(self.decoder_causal)),
            (
                "decoder_spatial_padding_mode",
                Detail::Text(padding_mode(self.decoder_spatial_padding_mode)),
            ),
            ("latents_mean, _std", Detail::Text(told)),
        ]
    }

    fn to_json(&self) -> Value {
        let [temporal, spatial] = self.scales();
        let mut fields = json!({
            "_class_name": self.class(),
            "out_channels": self.out_channels,
            "latent_channels": self.latent_channels,
            "decoder_block_out_channels": self.decoder_block_out_channels,
            "decoder_layers_per_block": self.decoder_layers_per_block,
            "decoder_spatio_temporal_scaling": self.decoder_spatio_temporal_scaling,
            "decoder_inject_noise": vec![false; self.decoder_layers_per_block.len()],
            "upsample_residual": self.upsample_residual,
            "upsample_factor": self.upsample_factor,
            "timestep_conditioning": false,
            "patch_size": self.patch_size,
            "patch_size_t": 1,
            "resnet_norm_eps": self.resnet_norm_eps,
            "scaling_factor": self.scaling_factor,
            "decoder_causal": self.decoder_causal,
            "spatial_compression_ratio": spatial,
            "temporal_compression_ratio": temporal,
        });
        if self.class == LtxClass::Ltx2 {
            let types = self.upsample_type.iter().map(|doubles| doubles.name());
            fields["upsample_type"] = types.collect();
            let mode = padding_mode(self.decoder_spatial_padding_mode);
            fields["decoder_spatial_padding_mode"] = mode.into();
        }
        fields
    }
}

/// PyTorch's names of what stands beyond rows and columns.
pub(super) const PADDING_MODES: [(&str, Edge); 3] =
    [("zeros", Edge::Zeros), ("reflect", Edge::Reflect), ("replicate", Edge::Repeat)];

fn padding_mode(edge: Edge) -> &'static str {
    let named = PADDING_MODES.iter().find(|(_, mode)| *mode == edge);
    named.map_or("zeros", |(name, _)| name)
}
