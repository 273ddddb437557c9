//! Configs that are inferred from shapes, and what is said where they cannot be.

use halovae_engine::checkpoint::{Checkpoint, ConfigSource};
use safetensors::Dtype;

use crate::checkpoint_common::{Model, Tensor, kl_config, open_bytes, serialize};
use crate::models;

#[test]
fn a_config_is_inferred_from_shapes() {
    for model in models() {
        let mut tensors = model.diffusers(Dtype::F32);
        tensors.insert("quant_conv.weight".into(), Tensor::new(Dtype::F32, &[1], &[0.0]));
        let rgba = Tensor::new(Dtype::F32, &[8, 4, 1, 1], &[0.0; 32]);
        tensors.insert("encoder.conv_in.weight".into(), rgba);
        let checkpoint = open_bytes(&tensors);
        let config = kl_config(&checkpoint);
        let block_out_channels: Vec<_> =
            config.block_out_channels.iter().map(|&channels| channels as usize).collect();
        assert_eq!(block_out_channels, model.block_out_channels);
        assert_eq!(config.layers_per_block as usize, model.layers_per_block);
        assert_eq!(config.latent_channels as usize, model.latent_channels);
        assert_eq!(config.mid_block_add_attention, model.attention);
        assert_eq!(config.use_post_quant_conv, model.post_quant_conv);
        assert!(config.use_quant_conv);
        assert_eq!((config.in_channels, config.out_channels), (4, 3));
        assert_eq!(checkpoint.config_source(), &ConfigSource::Shapes);
        assert_eq!(
            checkpoint.guessed(),
            ["norm_num_groups", "sample_size", "scaling_factor", "shift_factor"]
        );
    }
}

#[test]
fn what_shapes_do_not_tell_is_that_of_the_best_known_model() {
    let guess = |latent_channels, post_quant_conv, block_out_channels: &[usize]| {
        let model = Model {
            latent_channels,
            post_quant_conv,
            block_out_channels: block_out_channels.to_vec(),
            layers_per_block: 1,
            attention: false,
        };
        let checkpoint = open_bytes(&model.ldm(Dtype::F16, "", 2));
        let config = kl_config(&checkpoint);
        let factors = (config.scaling_factor, config.shift_factor);
        (config.norm_num_groups, config.sample_size, factors)
    };
    assert_eq!(guess(16, false, &[32, 64]), (32, [1024; 2], (0.3611, 0.1159)));
    assert_eq!(guess(4, true, &[32, 64]), (32, [512; 2], (0.18215, 0.0)));
    assert_eq!(guess(16, true, &[48, 32]), (16, [512; 2], (0.18215, 0.0)));
    assert_eq!(guess(4, true, &[12, 6]), (2, [512; 2], (0.18215, 0.0)));
    assert_eq!(guess(4, true, &[7, 9]), (1, [512; 2], (0.18215, 0.0)));
}

#[test]
fn files_without_a_decoder_are_explained() {
    let message = |tensors: &[(&str, Tensor)]| {
        let tensors = tensors.iter().map(|(name, tensor)| ((*name).into(), tensor.clone()));
        Checkpoint::from_bytes(serialize(&tensors.collect()), None).unwrap_err().to_string()
    };
    let tensor =
        |shape: &[usize]| Tensor::new(Dtype::F16, shape, &vec![0.0; shape.iter().product()]);
    let unet = message(&[("model.diffusion_model.x", tensor(&[1]))]);
    assert!(
        unet.contains("holds no decoder") && unet.contains("model.diffusion_model.x"),
        "{unet}"
    );
    let encoder = message(&[("encoder.conv_in.weight", tensor(&[1]))]);
    assert!(encoder.contains("holds no decoder"), "{encoder}");
    let other = message(&[("decoder.odd.weight", tensor(&[1]))]);
    assert!(other.contains("`decoder.conv_in.weight` is missing"), "{other}");
    let flat = message(&[
        ("decoder.conv_in.weight", tensor(&[8, 4, 3, 3])),
        ("decoder.conv_out.weight", tensor(&[3, 8, 3, 3])),
    ]);
    assert!(flat.contains("`decoder.up_blocks.0.resnets.0.conv1.weight` is missing"), "{flat}");
    let no_resnets = message(&[
        ("decoder.conv_in.weight", tensor(&[8, 4, 3, 3])),
        ("decoder.conv_out.weight", tensor(&[3, 8, 3, 3])),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", tensor(&[8, 8, 3, 3])),
    ]);
    assert!(no_resnets.contains("`layers_per_block` is 0"), "{no_resnets}");
}
