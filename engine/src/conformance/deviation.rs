//! How far two backends are apart, on a decoder that is small enough to ask before every decode.

use std::convert::Infallible;

use halovae_core::Region;

use super::{Random, RandomWeights};
use crate::backend::{Backend, BackendError};
use crate::checkpoint::AutoencoderKlConfig;
use crate::execute::{Stop, execute};
use crate::program::{Model as _, Program, fuse};
use crate::tensor::{HostTensor, Shape};

/// No multiples of tiles.
const SIDES: [usize; 2] = [9, 7];

/// How often an image of the same size is decoded: a backend that [repeats](Backend::repeat) decodes
/// may do so in another way each time up to the third.
const TIMES: u64 = 3;

/// Decodes small images with random weights on both: the relative rms of their difference. It has
/// every kind of op, is the same each time, and takes the CPU some hundredths of a second an image.
///
/// # Errors
/// What a backend says.
pub fn deviation(reference: &impl Backend, tested: &impl Backend) -> Result<f64, BackendError> {
    let [expected, got] = [decode(reference)?, decode(tested)?];
    let square = |value: f32| f64::from(value) * f64::from(value);
    let pairs = expected.iter().zip(&got);
    let error: f64 = pairs.map(|(expected, got)| square(expected - got)).sum();
    let power: f64 = expected.iter().map(|&value| square(value)).sum();
    Ok((error / power).sqrt())
}

/// A small decoder with every kind of op, wide enough that kernels for many channels run, and those
/// for few.
fn small_decoder() -> Program {
    let config = AutoencoderKlConfig {
        block_out_channels: vec![128, 160],
        layers_per_block: 1,
        latent_channels: 4,
        norm_num_groups: 32,
        ..Default::default()
    };
    config.decoder().expect("a possible config")
}

/// All pixels of the images.
fn decode<B: Backend>(backend: &B) -> Result<Vec<f32>, BackendError> {
    let program = fuse(&small_decoder(), |program, op| backend.supports(program, op));
    let weights = backend.prepare(&program, &RandomWeights { seed: 1 })?;
    let [height, width] = SIDES;
    let shape = Shape::new(1, height, width, program.latent_channels() as usize);
    let mut pixels = Vec::new();
    for seed in 0..TIMES {
        let mut random = Random::new(seed);
        let count = shape.elements().expect("few");
        let numbers = (0..count).map(|_| random.uniform(-2.0, 2.0)).collect();
        let input = backend.upload(&HostTensor::new(shape, numbers).expect("as many numbers"))?;
        let output = backend.repeat(&weights, input, &mut |input| {
            execute(backend, &program, &weights, input, |_| Ok::<(), Infallible>(()))
        });
        let output = output.map_err(|Stop::Op { error, .. }| error)?;
        let Shape { height, width, .. } = backend.shape(&output);
        let all = Region::new(0, 0, height as u32, width as u32);
        pixels.extend(backend.download(&output, all)?.into_data());
    }
    Ok(pixels)
}
