//! Frames to H.264.

use std::io;

use halovae_engine::tensor::Shape;
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Encoder as OpenH264, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange,
    RateControlMode, VuiConfig,
};
use openh264::formats::YUVSlices;

use super::QUANTISERS;
use super::avc::ParameterSets;
use super::muxer::Muxer;
use crate::video::encoder::{Encoder, Video};

/// A frame that needs none before it at least so often: where players seek to.
const KEY_EVERY: u32 = 60;

/// Encodes into an `.mp4`.
pub(super) struct H264 {
    encoder: OpenH264,
    quantiser: u8,
    video: Video,
    muxer: Muxer,
    sets: ParameterSets,
    sample: Vec<u8>,
}

/// How much coarser a frame is tried again.
const COARSER: u8 = 6;

impl H264 {
    /// Every frame with the same quantiser, unless one has more in it than the encoder has room for: that
    /// one and those behind it are quantised as much more coarsely as it takes.
    pub(super) fn begin(muxer: Muxer, video: Video, quantiser: u8) -> io::Result<Self> {
        Ok(Self {
            encoder: encoder(video, quantiser)?,
            quantiser,
            video,
            muxer,
            sets: ParameterSets::default(),
            sample: Vec::new(),
        })
    }

    /// Encodes a frame into the sample; gives whether it needs none before it.
    fn encode(&mut self, frame: &[u8]) -> io::Result<bool> {
        let Shape { width, height, .. } = self.video.shape;
        let (luma, chroma) = frame.split_at(width * height);
        let (cb, cr) = chroma.split_at(chroma.len() / 2);
        let planes = YUVSlices::new((luma, cb, cr), (width, height), (width, width / 2, width / 2));
        let stream = self.encoder.encode(&planes).map_err(io::Error::other)?;
        self.sample.clear();
        for layer in (0..stream.num_layers()).filter_map(|layer| stream.layer(layer)) {
            for unit in (0..layer.nal_count()).filter_map(|unit| layer.nal_unit(unit)) {
                self.sets.sort(unit, &mut self.sample)?;
            }
        }
        if self.sample.is_empty() {
            return Err(io::Error::other("the encoder of H.264 left a frame out"));
        }
        Ok(matches!(stream.frame_type(), FrameType::IDR))
    }
}

/// What OpenH264 holds for each pixel of a frame, and what it makes of one: measured, of noise.
const BYTES_OF_PIXEL: u64 = 13;

/// Bytes that OpenH264 holds for frames of that shape.
pub(super) fn bytes(shape: Shape) -> u64 {
    let pixels = (shape.height as u64).saturating_mul(shape.width as u64);
    pixels.saturating_mul(BYTES_OF_PIXEL)
}

fn encoder(video: Video, quantiser: u8) -> io::Result<OpenH264> {
    let config = EncoderConfig::new()
        .vui(VuiConfig::bt709())
        .skip_frames(false)
        .qp(QpRange::new(quantiser, quantiser))
        .adaptive_quantization(false)
        .background_detection(false)
        .scene_change_detect(true)
        .intra_frame_period(IntraFramePeriod::from_num_frames(KEY_EVERY))
        // With one quantiser no rate control has a say; this one does not ask for frames to be
        // left out. It wants a bit rate all the same.
        .rate_control_mode(RateControlMode::Bufferbased)
        .bitrate(BitRate::from_bps(10_000_000))
        .max_frame_rate(FrameRate::from_hz(video.rate.hertz()))
        .num_threads(1);
    OpenH264::with_api_config(OpenH264API::from_source(), config).map_err(io::Error::other)
}

impl Encoder for H264 {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let is_key = loop {
            match self.encode(frame) {
                Ok(is_key) => break is_key,
                // The coarsest there is has room for any frame.
                Err(error) if self.quantiser >= *QUANTISERS.end() => return Err(error),
                Err(_) => {
                    self.quantiser = (self.quantiser + COARSER).min(*QUANTISERS.end());
                    self.encoder = encoder(self.video, self.quantiser)?;
                }
            }
        };
        self.muxer.write(&self.sample, is_key)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let Self { muxer, sets, .. } = *self;
        muxer.finish(&sets.configuration()?).map(drop)
    }
}
