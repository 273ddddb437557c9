//! Decodes through the engine, as short as tests need them.

use halovae_core::{
    Axes, AxisTiling, Direction, PatchGrid, Plan, ShardGrid, Size, TileGrid, Tiling,
};
use halovae_cpu::CpuBackend;
use halovae_engine::backend::{Backend, WeightSource};
use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, VaeConfig};
use halovae_engine::conformance::{Random, RandomWeights};
use halovae_engine::decode::{Control, Decoder};
use halovae_engine::program::Program;
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::{HostTensor, Shape};

/// How latents are cut, for a model with diffusers' attributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// In one piece.
    Whole,
    /// In tiles of the config's size with that overlap factor.
    Tiled(f64),
    /// In tiles of so many pixels, so many apart, for a model with diffusers' strides.
    Strides(u32, u32),
    /// In one patch for each of so many ranks.
    Patch(u32),
    /// In a grid of so many rows and columns of shards.
    Sharded(u32, u32),
    /// In a grid of so many slices of frames, rows and columns of shards.
    Sliced(u32, u32, u32),
}

/// Frames, rows and columns of latents.
pub fn size_of(latents: &HostTensor) -> Size {
    latents.shape().size()
}

/// The plan for latents of that size.
///
/// # Panics
/// If there is none: tests ask for possible ones.
pub fn plan(config: &dyn VaeConfig, latents: Size, cut: Cut) -> Plan {
    let own = config.tiling();
    let scale = own.scale;
    match cut {
        Cut::Whole => Plan::whole(latents, scale).expect("a plan"),
        Cut::Tiled(tile_overlap_factor) => {
            let [height, width] = [own.height, own.width].map(|own| match own {
                AxisTiling::Overlap { tile_latent_min_size, .. } => AxisTiling::Overlap {
                    tile_sample_min_size: tile_latent_min_size * scale.space,
                    tile_latent_min_size,
                    tile_overlap_factor,
                },
                other => panic!("tiles of an overlap factor, and not {other:?}"),
            });
            let tiling = Tiling::new(height, width, scale);
            let grid = TileGrid::new(Direction::Decode, latents, &tiling).expect("a grid");
            Plan::tiled(grid)
        }
        Cut::Strides(tile_sample_min_size, tile_sample_stride) => {
            let axis = AxisTiling::Stride { tile_sample_min_size, tile_sample_stride };
            let tiling = Tiling::new(axis, axis, scale).with_grain(own.grain);
            Plan::tiled(TileGrid::new(Direction::Decode, latents, &tiling).expect("a grid"))
        }
        Cut::Patch(ranks) => Plan::patch(PatchGrid::like(latents, ranks, &own).expect("a grid")),
        Cut::Sharded(rows, cols) => {
            Plan::sharded(ShardGrid::new(latents, rows, cols, scale).expect("a grid"))
        }
        Cut::Sliced(slices, rows, cols) => {
            let shards = Axes::new(slices, rows, cols);
            Plan::sharded(ShardGrid::of(latents, shards, scale).expect("a grid"))
        }
    }
}

/// The checkpoint's decoder.
///
/// # Panics
/// If the config has none or the weights do not fit it.
pub fn program(checkpoint: &Checkpoint) -> Program {
    let program = checkpoint.config().decoder().expect("a program");
    let expected = program.weights().iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
    checkpoint.verify(expected).expect("the weights of that program");
    program
}

/// One CPU backend for each rank, each with so many threads.
///
/// # Panics
/// If the system gives no threads.
pub fn cpu_ranks(ranks: u32, threads: usize) -> Vec<CpuBackend> {
    (0..ranks).map(|_| cpu(threads)).collect()
}

/// A CPU backend with so many threads.
///
/// # Panics
/// If the system gives no threads.
pub fn cpu(threads: usize) -> CpuBackend {
    CpuBackend::new(threads).expect("threads")
}

/// A decoder on the CPU, one thread a rank.
///
/// # Panics
/// If the weights cannot be read.
pub fn cpu_decoder(checkpoint: &Checkpoint, ranks: u32) -> Decoder<CpuBackend> {
    Decoder::new(&program(checkpoint), checkpoint, cpu_ranks(ranks, 1)).expect("a decoder")
}

/// Decodes into memory.
///
/// # Panics
/// If the decode fails.
pub fn decode<B: Backend>(decoder: &Decoder<B>, latents: &HostTensor, plan: &Plan) -> HostTensor {
    let mut sink = MemorySink::default();
    decoder.decode(latents, plan, &mut sink, &Control::default()).expect("a decode");
    sink.into_picture().expect("a picture")
}

/// A model of random weights, small enough to decode hundreds of times.
#[derive(Clone, Debug)]
pub struct SmallModel<C = AutoencoderKlConfig> {
    /// Its config.
    pub config: C,
    /// Its weights.
    pub weights: RandomWeights,
}

impl SmallModel {
    /// Two levels (factor 2) with attention and post_quant_conv, tiles of eight cells.
    pub fn new() -> Self {
        let config = AutoencoderKlConfig {
            block_out_channels: vec![8, 16],
            norm_num_groups: 4,
            sample_size: [16, 16],
            ..AutoencoderKlConfig::default()
        };
        config.validate().expect("a possible config");
        Self { config, weights: RandomWeights { seed: 1 } }
    }
}

impl<C: VaeConfig> SmallModel<C> {
    /// Its decoder.
    ///
    /// # Panics
    /// Never: the config is possible.
    pub fn program(&self) -> Program {
        self.config.decoder().expect("a program")
    }

    /// Its decoder on these backends, one a rank.
    ///
    /// # Panics
    /// If a backend does not take the weights.
    pub fn decoder<B: Backend>(&self, backends: Vec<B>) -> Decoder<B> {
        let weights: &dyn WeightSource = &self.weights;
        Decoder::new(&self.program(), weights, backends).expect("a decoder")
    }

    /// Random latents.
    pub fn latents(&self, batch: usize, height: u32, width: u32, seed: u64) -> HostTensor {
        let channels = self.program().latent_channels() as usize;
        random_tensor(Shape::new(batch, height as usize, width as usize, channels), seed)
    }
}

impl Default for SmallModel {
    fn default() -> Self {
        Self::new()
    }
}

/// Latents of the golden model `wan` that take seconds, and of which frames come early.
///
/// # Panics
/// If there is no memory for them.
pub fn long_video() -> HostTensor {
    random_tensor(Shape::new(1, 24, 24, 4).over(60), 1)
}

/// A tensor of random values from -2 to 2.
///
/// # Panics
/// If there is no memory for it.
pub fn random_tensor(shape: Shape, seed: u64) -> HostTensor {
    let mut random = Random::new(seed);
    let mut tensor = HostTensor::zeros(shape).expect("memory");
    tensor.data_mut().iter_mut().for_each(|value| *value = random.uniform(-2.0, 2.0));
    tensor
}
