//! A decoder of images that is small enough to run whole in a test, or before a decode.

use std::convert::Infallible;

use halovae_core::Size;

use super::{Random, RandomWeights};
use crate::backend::{Backend, BackendError};
use crate::checkpoint::AutoencoderKlConfig;
use crate::execute::{Stop, execute};
use crate::program::{Analysis, Model as _, Program, fuse};
use crate::tensor::{HostTensor, Shape};

/// A decoder with every kind of op that images have, with random weights and latents.
#[derive(Clone, Debug)]
pub struct SmallDecoder {
    config: AutoencoderKlConfig,
    latents: Size,
    weights: RandomWeights,
}

impl SmallDecoder {
    /// A decoder with one resnet a level, which have so many channels, in groups of the norms; it decodes
    /// latents of that size.
    pub fn new(channels: &[u32], groups: u32, latent_channels: u32, latents: Size) -> Self {
        let config = AutoencoderKlConfig {
            block_out_channels: channels.to_vec(),
            layers_per_block: 1,
            latent_channels,
            norm_num_groups: groups,
            ..AutoencoderKlConfig::default()
        };
        Self { config, latents, weights: RandomWeights { seed: 2 } }
    }

    /// Its program, fused for a backend.
    ///
    /// # Panics
    /// If the numbers of channels cannot be.
    pub fn program(&self, backend: &impl Backend) -> Program {
        let plain = self.config.decoder().expect("a possible config");
        fuse(&plain, |program, op| backend.supports(program, op))
    }

    /// Its program and weights on a backend.
    ///
    /// # Errors
    /// What the backend says.
    pub fn prepare<B: Backend>(&self, backend: &B) -> Result<(Program, B::Weights), BackendError> {
        let program = self.program(backend);
        let weights = backend.prepare(&program, &self.weights)?;
        Ok((program, weights))
    }

    /// Latents by their seed.
    ///
    /// # Panics
    /// If they are more than there can be.
    pub fn latents(&self, seed: u64) -> HostTensor {
        let shape = Shape::sample(self.latents, self.config.latent_channels as usize);
        let mut random = Random::new(seed);
        let count = shape.elements().expect("few");
        let values = (0..count).map(|_| random.uniform(-2.0, 2.0)).collect();
        HostTensor::new(shape, values).expect("as many values")
    }

    /// Decodes latents with weights that are prepared, as a decode of one piece does; the peak of memory
    /// begins with it.
    ///
    /// # Errors
    /// What the backend says.
    pub fn decode_with<B: Backend>(
        &self,
        backend: &B,
        (program, weights): (&Program, &B::Weights),
        seed: u64,
    ) -> Result<HostTensor, BackendError> {
        backend.reset_peak();
        let input = backend.upload(&self.latents(seed))?;
        let output = backend.repeat(weights, input, &mut |input| {
            execute(backend, program, weights, input, |_| Ok::<(), Infallible>(()))
        });
        let output = output.map_err(|Stop::Op { error, .. }| error)?;
        backend.download(&output, backend.shape(&output).size().at_origin())
    }

    /// Prepares the weights and decodes.
    ///
    /// # Errors
    /// What the backend says.
    pub fn decode<B: Backend>(&self, backend: &B) -> Result<HostTensor, BackendError> {
        let (program, weights) = self.prepare(backend)?;
        self.decode_with(backend, (&program, &weights), 5)
    }

    /// The bytes that such a decode takes at its worst moment, weights included, by estimate.
    pub fn estimated_peak(&self, backend: &impl Backend) -> u64 {
        let analysis = Analysis::new(&self.program(backend), self.latents, 1, backend);
        analysis.peak_live_bytes + analysis.weight_bytes
    }
}

/// The root mean square of the difference, relative to that of what is expected.
pub fn relative_rms(got: &[f32], expected: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let error: f64 = got.iter().zip(expected).map(|(got, expected)| square(got - expected)).sum();
    let power: f64 = expected.iter().map(|&value| square(value)).sum();
    (error / power).sqrt()
}
