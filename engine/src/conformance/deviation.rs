//! How far two backends are apart, on a decoder that is small enough to ask before every decode.

use halovae_core::Rect;

use super::{Random, RandomWeights};
use crate::backend::{Backend, BackendError};
use crate::checkpoint::AutoencoderKlConfig;
use crate::execute::{Stop, execute};
use crate::model::autoencoder_kl;
use crate::program::fuse;
use crate::tensor::{HostTensor, Shape};

/// Wide enough that kernels for many channels run, and those for few; no multiples of tiles.
const SIDES: [usize; 2] = [9, 7];

fn config() -> AutoencoderKlConfig {
    AutoencoderKlConfig {
        block_out_channels: vec![128, 160],
        layers_per_block: 1,
        latent_channels: 4,
        norm_num_groups: 32,
        ..AutoencoderKlConfig::default()
    }
}

/// Decodes a small image with random weights on both: the relative rms of their difference. It has
/// every kind of op, is the same each time, and takes the CPU some hundredths of a second.
///
/// # Errors
/// What a backend says.
pub fn deviation(reference: &impl Backend, tested: &impl Backend) -> Result<f64, BackendError> {
    let [expected, got] = [decode(reference)?, decode(tested)?];
    let square = |value: f32| f64::from(value) * f64::from(value);
    let pairs = expected.data().iter().zip(got.data());
    let error: f64 = pairs.map(|(expected, got)| square(expected - got)).sum();
    let power: f64 = expected.data().iter().map(|&value| square(value)).sum();
    Ok((error / power).sqrt())
}

fn decode<B: Backend>(backend: &B) -> Result<HostTensor, BackendError> {
    let plain = autoencoder_kl::decoder(&config()).expect("a possible config");
    let program = fuse(&plain, |program, op| backend.supports(program, op));
    let weights = backend.prepare(&program, &RandomWeights { seed: 1 })?;
    let [height, width] = SIDES;
    let shape = Shape::new(1, height, width, config().latent_channels as usize);
    let mut random = Random::new(1);
    let numbers = (0..shape.elements().expect("few")).map(|_| random.uniform(-2.0, 2.0)).collect();
    let input = backend.upload(&HostTensor::new(shape, numbers).expect("as many numbers"))?;
    let output =
        execute(backend, &program, &weights, input, |_| Ok::<(), std::convert::Infallible>(()));
    let output = output.map_err(|Stop::Op { error, .. }| error)?;
    let Shape { height, width, .. } = backend.shape(&output);
    backend.download(&output, Rect::new(0, 0, height as u32, width as u32))
}
