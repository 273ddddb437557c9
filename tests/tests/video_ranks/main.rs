//! Videos on the CPU: in chunks, tiles and shards, on one rank and on several, against each other.

mod figures;
mod values;

use halovae_core::{Axes, Plan, ShardGrid};
use halovae_cpu::CpuBackend;
use halovae_engine::checkpoint::{VaeConfig, parse_config};
use halovae_engine::conformance::{Random, RandomWeights};
use halovae_engine::decode::{Control, Decoder};
use halovae_engine::program::Program;
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::decode::{cpu_ranks, size_of};
use serde_json::json;

const Z_DIM: usize = 4;

fn config() -> Box<dyn VaeConfig> {
    let config = json!({
        "_class_name": "AutoencoderKLWan", "base_dim": 16, "z_dim": Z_DIM,
        "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1, "temperal_downsample": [false, true, true],
        "latents_mean": vec![0.0; Z_DIM], "latents_std": vec![1.0; Z_DIM],
    });
    parse_config(config.to_string().as_bytes()).expect("a sound config")
}

fn program() -> Program {
    config().decoder().expect("a decoder")
}

/// A decoder whose levels have shortcuts around them, and whose pixels lie in channels.
fn residual() -> Box<dyn VaeConfig> {
    let config = json!({
        "_class_name": "AutoencoderKLWan", "base_dim": 16, "z_dim": Z_DIM, "is_residual": true,
        "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [true, true],
        "patch_size": 2, "out_channels": 12, "in_channels": 12, "scale_factor_spatial": 8,
        "latents_mean": vec![0.0; Z_DIM], "latents_std": vec![1.0; Z_DIM],
    });
    parse_config(config.to_string().as_bytes()).expect("a sound config")
}

/// A decoder that looks ahead, with reflections beside rows and columns, and shortcuts of repeated
/// channels.
fn looking_ahead() -> Box<dyn VaeConfig> {
    let config = json!({
        "_class_name": "AutoencoderKLLTX2Video", "latent_channels": Z_DIM, "patch_size": 2,
        "decoder_block_out_channels": [16, 32], "decoder_layers_per_block": [1, 1, 1],
        "decoder_spatio_temporal_scaling": [true, true], "decoder_causal": false,
        "upsample_type": ["spatiotemporal", "spatiotemporal"],
        "upsample_residual": [true, true], "upsample_factor": [2, 2],
    });
    parse_config(config.to_string().as_bytes()).expect("a sound config")
}

fn decoder(program: &Program, ranks: u32) -> Decoder<CpuBackend> {
    Decoder::new(program, &RandomWeights { seed: 8 }, cpu_ranks(ranks, 1)).expect("a decoder")
}

fn latents(frames: usize, height: usize, width: usize) -> HostTensor {
    let shape = Shape::new(1, height, width, Z_DIM).over(frames);
    let mut random = Random::new(frames as u64);
    let data = (0..shape.elements().expect("small")).map(|_| random.uniform(-2.0, 2.0)).collect();
    HostTensor::new(shape, data).expect("one element for each place")
}

fn whole(latents: &HostTensor) -> Plan {
    Plan::whole(size_of(latents), config().tiling().scale).expect("a plan")
}

fn decode(
    decoder: &Decoder<CpuBackend>,
    latents: &HostTensor,
    plan: &Plan,
    control: &Control<'_>,
) -> HostTensor {
    let mut sink = MemorySink::default();
    decoder.decode(latents, plan, &mut sink, control).expect("a decode");
    sink.into_picture().expect("a picture")
}

fn in_chunks(chunk: u32) -> Control<'static> {
    Control { chunk, ..Control::default() }
}

fn shards(latents: &HostTensor, [slices, rows, cols]: [u32; 3]) -> Plan {
    let shards = Axes::new(slices, rows, cols);
    let grid = ShardGrid::of(size_of(latents), shards, config().tiling().scale);
    Plan::sharded(grid.expect("a grid"))
}
