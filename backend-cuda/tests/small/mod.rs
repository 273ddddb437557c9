//! A small decoder with random weights, whose decodes are repeated.

use halovae_core::Region;
use halovae_cuda::{CudaBackend, CudaDevice, CudaWeights};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::AutoencoderKlConfig;
use halovae_engine::conformance::{Random, RandomWeights};
use halovae_engine::execute::{Stop, execute};
use halovae_engine::model::Model;
use halovae_engine::program::{Program, fuse};
use halovae_engine::tensor::{HostTensor, Shape};

pub(crate) type Tensor = <CudaBackend as Backend>::Tensor;

pub(crate) struct Small {
    pub(crate) backend: CudaBackend,
    program: Program,
    weights: CudaWeights,
}

impl Small {
    pub(crate) fn new(device: &CudaDevice) -> Self {
        let backend = device.backend().expect("a stream");
        let config = AutoencoderKlConfig {
            block_out_channels: vec![16, 32],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 8,
            ..AutoencoderKlConfig::default()
        };
        let plain = config.decoder().unwrap();
        let program = fuse(&plain, |program, op| backend.supports(program, op));
        let weights = backend.prepare(&program, &RandomWeights { seed: 4 }).unwrap();
        Self { backend, program, weights }
    }

    /// One decode; `before` is called before each op.
    pub(crate) fn decode_with(
        &self,
        latents: &HostTensor,
        mut before: impl FnMut(usize) -> Result<(), ()>,
    ) -> Result<Tensor, Stop<()>> {
        let Self { backend, program, weights } = self;
        let input = backend.upload(latents).unwrap();
        backend.repeat(weights, input, &mut |input| {
            execute(backend, program, weights, input, &mut before)
        })
    }

    pub(crate) fn read(&self, tensor: &Tensor) -> HostTensor {
        let Shape { height, width, .. } = self.backend.shape(tensor);
        let all = Region::new(0, 0, height as u32, width as u32);
        self.backend.download(tensor, all).unwrap()
    }

    pub(crate) fn picture(&self, latents: &HostTensor) -> HostTensor {
        self.read(&self.decode_with(latents, |_| Ok(())).unwrap())
    }
}

pub(crate) fn latents(height: usize, width: usize, seed: u64) -> HostTensor {
    let mut random = Random::new(seed);
    let values = (0..height * width * 4).map(|_| random.uniform(-2.0, 2.0)).collect();
    HostTensor::new(Shape::new(1, height, width, 4), values).unwrap()
}
