//! Checkpoints as people have them: folders, shards, single files, both namings.

#[path = "../checkpoint_common/mod.rs"]
mod checkpoint_common;

mod folders;
mod inferred;
mod names;
mod shards;
mod types;
mod verify;

use checkpoint_common::Model;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

fn models() -> Vec<Model> {
    vec![
        Model::default(),
        Model { post_quant_conv: false, latent_channels: 16, ..Model::default() },
        Model { attention: false, ..Model::default() },
        Model { block_out_channels: vec![8], layers_per_block: 1, ..Model::default() },
        Model { block_out_channels: vec![4, 8, 12, 16, 4], ..Model::default() },
        // Eleven levels: indices of two digits.
        Model { block_out_channels: vec![2; 11], layers_per_block: 1, ..Model::default() },
    ]
}
