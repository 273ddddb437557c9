//! Whole decodes of a size that was decoded before, by a graph and kernel by kernel, in turns: FLUX.1's
//! decoder with random weights, from latents on the device to its picture there, in each type.
//!
//! `cargo bench -p halovae-cuda --bench graphs -- [rows and columns of the latents] [repetitions] [MiB of a
//! band that a conv stages] [queries and keys of attention at once] [f32] [f16] [bf16] [own]`; `own` leaves
//! cuDNN out.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

mod common;

use std::time::Instant;

use halovae_cuda::{
    CudaBackend, CudaDevice, CudaWeights, DeviceChoice, Limits, Options, Precision,
};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::AutoencoderKlConfig;
use halovae_engine::conformance::RandomWeights;
use halovae_engine::execute::{Stop, execute};
use halovae_engine::model::Model;
use halovae_engine::program::{Program, fuse};
use halovae_engine::tensor::{HostTensor, Shape};

/// A decoder on a device.
struct Side {
    backend: CudaBackend,
    program: Program,
    weights: CudaWeights,
}

impl Side {
    fn new(precision: Precision, without_graphs: bool, limits: Limits) -> Self {
        let cache_folder = halovae_engine::cache::cache_folder();
        let without_cudnn = common::is_asked("own");
        let options = Options {
            precision,
            without_graphs,
            without_cudnn,
            limits,
            cache_folder,
            ..Options::default()
        };
        let device = CudaDevice::open(&DeviceChoice::Auto, options);
        let backend = device.unwrap_or_else(|error| panic!("{error}")).backend();
        let backend = backend.expect("a stream");
        let config = AutoencoderKlConfig {
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            latent_channels: 16,
            use_post_quant_conv: false,
            ..AutoencoderKlConfig::default()
        };
        let plain = config.decoder().expect("a possible config");
        let program = fuse(&plain, |program, op| backend.supports(program, op));
        let weights = backend.prepare(&program, &RandomWeights { seed: 1 }).expect("room");
        Self { backend, program, weights }
    }

    /// Seconds of one decode, and of the calls that queue it.
    fn decode(&self, latents: &HostTensor) -> [f64; 2] {
        let Self { backend, program, weights } = self;
        let input = backend.upload(latents).expect("room");
        backend.synchronize().expect("a device");
        let start = Instant::now();
        let picture = backend.repeat(weights, input, &mut |input| {
            execute(backend, program, weights, input, |_| Ok::<(), ()>(()))
        });
        let queued = start.elapsed().as_secs_f64();
        let picture = picture.map_err(|stop: Stop<()>| format!("{stop:?}")).expect("a decode");
        backend.synchronize().expect("a device");
        drop(picture);
        [start.elapsed().as_secs_f64(), queued]
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let numbers = common::numbers();
    let side = numbers.first().copied().unwrap_or(128).max(1);
    let repetitions = numbers.get(1).copied().unwrap_or(5).max(1);
    let mut limits = Limits::default();
    limits.band_bytes = numbers.get(2).map_or(limits.band_bytes, |&mib| (mib as u64) << 20);
    if let [_, _, _, queries, keys, ..] = numbers[..] {
        limits.attention = [queries, keys];
    }
    let shape = Shape::new(1, side, side, 16);
    let values = (0..side * side * 16)
        .map(|i| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5);
    let latents = HostTensor::new(shape, values.collect()).expect("its elements");
    for precision in common::types() {
        let sides =
            [false, true].map(|without_graphs| Side::new(precision, without_graphs, limits));
        println!(
            "{}, latents {side} x {side}, bands of {} MiB, attention by {:?}",
            sides[0].backend.description(),
            limits.band_bytes >> 20,
            limits.attention
        );
        let mut times: [Vec<[f64; 2]>; 2] = [Vec::new(), Vec::new()];
        for round in 0..repetitions + 2 {
            for (side, times) in sides.iter().zip(&mut times) {
                let took = side.decode(&latents);
                // The first is taken down, the second captured.
                if round >= 2 {
                    times.push(took);
                }
            }
        }
        for (name, times) in ["by a graph", "kernel by kernel"].into_iter().zip(times) {
            let [all, queued] = [0, 1].map(|at| median(times.iter().map(|t| t[at]).collect()));
            println!("{name:<18}{:>10.3} ms, queued in {:>8.3} ms", all * 1e3, queued * 1e3);
        }
    }
}
