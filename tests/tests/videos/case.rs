//! A golden model, decoded and compared.

use halovae_core::Plan;
use halovae_cpu::CpuBackend;
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::VaeConfig;
use halovae_engine::decode::{Control, Decoder};
use halovae_engine::sink::{Clamped, MemorySink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::{Cut, cpu_ranks, plan, program, size_of};
use halovae_tests::golden::Golden;

/// Of how many rows and columns one is kept.
const STEP: usize = 7;

pub(crate) struct Case<B: Backend> {
    pub(crate) golden: Golden,
    pub(crate) decoder: Decoder<B>,
}

impl Case<CpuBackend> {
    pub(crate) fn on_cpu(name: &str, ranks: u32) -> Self {
        Self::load(name, cpu_ranks(ranks, 1))
    }
}

impl<B: Backend> Case<B> {
    pub(crate) fn load(name: &str, backends: Vec<B>) -> Self {
        let golden = Golden::load(name);
        let program = program(&golden.checkpoint);
        let decoder = Decoder::new(&program, &golden.checkpoint, backends);
        Self { golden, decoder: decoder.expect("a decoder") }
    }

    /// The picture as `config` has it, with so many frames of latents going in at a time.
    pub(crate) fn decode(
        &self,
        config: &dyn VaeConfig,
        latents: &HostTensor,
        plan: &Plan,
        chunk: u32,
    ) -> HostTensor {
        let mut picture = MemorySink::default();
        let control = Control { chunk, ..Control::default() };
        let mut sink = Clamped::new(&mut picture, config.output_range(plan.strategy()));
        self.decoder.decode(latents, plan, &mut sink, &control).expect("a decode");
        picture.into_picture().expect("a picture")
    }

    /// Compares the kept pixels and the sums of all with diffusers'; of a decode of fewer frames, its
    /// frames.
    pub(crate) fn check(&self, what: &str, key: &str, got: &HostTensor) {
        let Shape { frames, height, width, channels, .. } = got.shape();
        let first = |expected: &HostTensor| {
            let shape = Shape { batch: frames, ..expected.shape() };
            let len = frames * shape.frame_len();
            HostTensor::new(shape, expected.data()[..len].to_vec()).expect("as many elements")
        };
        let images = Shape { batch: frames, frames: 1, ..got.shape() };
        let images = HostTensor::new(images, got.data().to_vec()).expect("as many elements");
        let kept = halovae_tests::tensors::sampled(&images, STEP);
        assert_f32_close(what, &kept, &first(self.golden.expected(key)));

        let mut sums = HostTensor::zeros(Shape::new(frames, 1, 1, channels)).expect("memory");
        for (frame, sums) in
            got.data().chunks(images.shape().frame_len()).zip(sums.data_mut().chunks_mut(channels))
        {
            for (channel, sum) in sums.iter_mut().enumerate() {
                let values = frame.iter().skip(channel).step_by(channels);
                let mean = values.map(|&value| f64::from(value)).sum::<f64>();
                *sum = (mean / (height * width) as f64) as f32;
            }
        }
        let mut expected = first(self.golden.expected(&format!("{key}.sums")));
        expected.data_mut().iter_mut().for_each(|sum| *sum /= (height * width) as f32);
        assert_f32_close(&format!("{what}: means of frames"), &sums, &expected);
    }

    pub(crate) fn first_frames(&self, frames: usize) -> HostTensor {
        let all = &self.golden.latents;
        let size = size_of(all).at_origin();
        all.crop(0, size.over(0, frames as u32)).expect("a crop")
    }
}

pub(crate) fn whole(config: &dyn VaeConfig, latents: &HostTensor) -> Plan {
    plan(config, size_of(latents), Cut::Whole)
}

/// All lengths of a model's latents, whole.
pub(crate) fn check_whole<B: Backend>(case: &Case<B>) {
    let config = case.golden.config();
    let time = config.tiling().scale.time;
    for frames in 1..=case.golden.latents.shape().frames {
        let latents = case.first_frames(frames);
        let picture = case.decode(config, &latents, &whole(config, &latents), 1);
        assert_eq!(Some(picture.shape().frames as u32), time.at(frames as u32));
        case.check(&format!("{frames} frames of latents"), "whole", &picture);
    }
}
