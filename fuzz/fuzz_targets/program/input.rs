//! What a decoder, a program over time and a backend are made from.

use halovae_engine::conformance::Step;
use halovae_engine::program::Op;
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// Most chunks that frames come in.
pub(crate) const MAX_CHUNKS: u32 = 24;

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Number {
    Small(u8),
    Any(u32),
}

impl Number {
    pub(crate) fn get(self) -> u32 {
        match self {
            Self::Small(number) => number.into(),
            Self::Any(number) => number,
        }
    }
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    pub(crate) channels: Vec<Number>,
    pub(crate) groups: Number,
    /// Most channels divide by no number of groups; these do.
    pub(crate) channels_per_group: bool,
    pub(crate) latent_channels: Number,
    pub(crate) out_channels: Number,
    pub(crate) layers: Number,
    pub(crate) sample_size: [Number; 2],
    pub(crate) post_quant_conv: bool,
    pub(crate) attention: bool,
    pub(crate) height: Number,
    pub(crate) width: Number,
    pub(crate) batch: u8,
    /// Which fusions the backend takes.
    pub(crate) accepted: u64,
    /// Which operand an output takes the memory of.
    pub(crate) reused: u64,
    pub(crate) workspace: u64,
    /// Behind all others, so that inputs that end before it are of images alone.
    pub(crate) time: Time,
    /// The network of a decoder of videos, in the place of one of images.
    pub(crate) wan: Option<Wan>,
    /// How often a network of HunyuanImage's kind doubles rows and columns, in the place of an
    /// AutoencoderKL.
    pub(crate) hunyuan_image: Option<u8>,
    /// The same of another family, where there is none of that one.
    pub(crate) ltx: Option<Ltx>,
}

/// A network of LTX-2 or LTX-Video.
#[derive(Arbitrary, Debug)]
pub(crate) struct Ltx {
    pub(crate) is_ltx2: bool,
    pub(crate) latent_channels: Number,
    pub(crate) out_channels: Number,
    pub(crate) patch_size: u8,
    pub(crate) is_causal: bool,
    /// What stands beyond rows and columns.
    pub(crate) edge: u8,
    pub(crate) middle_resnets: u8,
    /// In the order in which a decoder runs through them.
    pub(crate) levels: Vec<LtxBlock>,
}

/// A level of it.
#[derive(Arbitrary, Debug)]
pub(crate) struct LtxBlock {
    /// Channels times the factor.
    pub(crate) channels: Number,
    pub(crate) factor: u8,
    pub(crate) resnets: u8,
    pub(crate) doubles: u8,
    pub(crate) is_scaled: bool,
    pub(crate) has_shortcut: bool,
}

/// A network of Wan or Qwen-Image.
#[derive(Arbitrary, Debug)]
pub(crate) struct Wan {
    pub(crate) is_qwen_image: bool,
    pub(crate) base_dim: Number,
    pub(crate) z_dim: Number,
    pub(crate) out_channels: Number,
    pub(crate) res_blocks: Number,
    /// Factors of channels, shallowest first, and whether frames are doubled into a level but the first.
    pub(crate) levels: Vec<(Number, bool)>,
    /// Of the encoder, where Wan's class tells them apart from the decoder's.
    pub(crate) encoder: Option<[Number; 2]>,
    /// Of frames and pixels, in the place of those that the levels come to.
    pub(crate) scales: Option<[Number; 2]>,
    pub(crate) is_residual: bool,
    pub(crate) patch_size: Option<u32>,
}

/// A program over time and its latents; of a config's decoder, how many frames it is given.
#[derive(Arbitrary, Debug)]
pub(crate) struct Time {
    pub(crate) frames: Number,
    /// Frames at a time.
    pub(crate) chunk: Number,
    /// Where short latents are cut into chunks.
    pub(crate) cuts: u16,
    pub(crate) extent: [u8; 2],
    pub(crate) channels: u8,
    pub(crate) first_alone: bool,
    pub(crate) keeps_workspace: bool,
    pub(crate) steps: Vec<Step>,
}

impl Time {
    /// Frames of latents of any length.
    pub(crate) fn frames(&self) -> u32 {
        self.frames.get().max(1)
    }

    /// A length of chunks, of which there are not too many.
    pub(crate) fn chunk(&self) -> u32 {
        self.chunk.get().max(self.frames().div_ceil(MAX_CHUNKS))
    }

    /// Frames of latents that are decoded, in chunks.
    pub(crate) fn chunks(&self) -> Vec<u32> {
        let mut chunks = vec![1];
        for at in 1..self.frames() % 7 {
            match self.cuts >> at & 1 {
                1 => chunks.push(1),
                _ => *chunks.last_mut().expect("there is one") += 1,
            }
        }
        chunks
    }
}

impl Input {
    /// Whether the backend takes a fusion.
    pub(crate) fn accepts(&self, op: &Op) -> bool {
        self.accepted >> (op.output().index() % 64) & 1 == 1
    }
}
