//! Frames to H.264.

use std::io;

use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Encoder as OpenH264, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange,
    RateControlMode, VuiConfig,
};
use openh264::formats::YUVSlices;

use super::avc::ParameterSets;
use super::muxer::Muxer;
use crate::video::encoder::{Encoder, Video};

/// A frame that needs none before it at least so often: where players seek to.
const KEY_EVERY: u32 = 60;

/// Encodes into an `.mp4`.
pub(super) struct H264 {
    encoder: OpenH264,
    muxer: Muxer,
    sets: ParameterSets,
    sample: Vec<u8>,
    width: usize,
    height: usize,
}

impl H264 {
    /// Every frame with the same quantiser.
    pub(super) fn begin(muxer: Muxer, video: Video, quantiser: u8) -> io::Result<Self> {
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
        let encoder = OpenH264::with_api_config(OpenH264API::from_source(), config);
        Ok(Self {
            encoder: encoder.map_err(io::Error::other)?,
            muxer,
            sets: ParameterSets::default(),
            sample: Vec::new(),
            width: video.shape.width,
            height: video.shape.height,
        })
    }
}

impl Encoder for H264 {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let Self { width, height, .. } = *self;
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
        self.muxer.write(&self.sample, matches!(stream.frame_type(), FrameType::IDR))
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let Self { muxer, sets, .. } = *self;
        muxer.finish(&sets.configuration()?).map(drop)
    }
}
