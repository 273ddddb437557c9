//! What is found around a decoder and refused, and what is told of classes and spaces.

use halovae_engine::checkpoint::{
    AutoencoderKlConfig, Checkpoint, CheckpointError, VaeConfig, WanClass, parse_config,
};
use safetensors::Dtype;

use super::*;

#[test]
fn what_is_around_the_decoder_does_not_matter() {
    let model = Model::default();
    let mut tensors = model.original("vae.");
    let one = || Tensor::new(Dtype::F16, &[1], &[0.0]);
    for name in
        ["vae.encoder.head.0.gamma", "vae.conv1.bias", "model.diffusion_model.head.modulation"]
    {
        tensors.insert(name.into(), one());
    }
    let encoder = Tensor::new(Dtype::F16, &[12, 3, 1, 1, 1], &[0.0; 36]);
    tensors.insert("vae.encoder.conv1.weight".into(), encoder);
    let checkpoint = model.check(&tensors);
    assert!(checkpoint.ignored().is_empty());
    assert_eq!((config(&checkpoint).base_dim, config(&checkpoint).decoder_base_dim), (12, 2));
    tensors.insert("vae.odd".into(), one());
    assert_eq!(model.check(&tensors).ignored(), ["vae.odd"]);
}

/// A tensor without elements may claim any extents; nothing is made as large as they say.
#[test]
fn extents_beyond_any_network_are_refused() {
    let model = Model::default();
    for (name, shape, field) in [
        ("decoder.conv_in.weight", [8, u32::MAX as usize, 0, 3, 3], "z_dim"),
        ("decoder.conv_out.weight", [u32::MAX as usize, 2, 0, 3, 3], "in_channels"),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", [u32::MAX as usize, 8, 3, 0, 3], "dim_mult"),
        ("encoder.conv_in.weight", [u32::MAX as usize, 3, 0, 3, 3], "base_dim"),
    ] {
        let mut tensors = model.diffusers("");
        tensors.insert(name.into(), Tensor::new(Dtype::F16, &shape, &[]));
        let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
        assert!(matches!(error, CheckpointError::NotInferable { .. }), "{error}");
        assert!(error.to_string().contains(&format!("`{field}` is ")), "{name}: {error}");
    }
}

/// Four channels are those of Qwen-Image-Layered's pictures, unless its class cannot say what an encoder
/// beside them has.
#[test]
fn a_class_is_told_only_of_what_it_can_say() {
    let model = Model { out_channels: 4, ..Model::default() };
    for (shape, class) in [
        ([2, 4, 1, 1, 1], WanClass::QwenImage),
        ([2, 3, 1, 1, 1], WanClass::Untold),
        ([6, 4, 1, 1, 1], WanClass::Untold),
    ] {
        let mut tensors = model.diffusers("");
        let zeros = vec![0.0; shape.iter().product()];
        tensors.insert("encoder.conv_in.weight".into(), Tensor::new(Dtype::F16, &shape, &zeros));
        let checkpoint = model.check(&tensors);
        let found = config(&checkpoint);
        assert_eq!(found.class, class);
        assert_eq!((found.base_dim as usize, found.in_channels as usize), (shape[0], shape[1]));
        let read = parse_config(found.to_json().to_string().as_bytes()).unwrap();
        assert!(*read == *checkpoint.config(), "{read:?}");
        assert_eq!(read.decoder().unwrap(), checkpoint.config().decoder().unwrap());
    }
}

/// Mean and deviation of 16 channels are known, of which both classes have the same; of others they are
/// not.
#[test]
fn the_space_of_sixteen_channels_is_known() {
    let model = Model::default();
    let checkpoint = model.check(&model.original(""));
    assert!(checkpoint.guessed().is_empty());
    let (mean, std) = checkpoint.latent_space().unwrap().mean_and_std.unwrap();
    assert_eq!((mean.len(), mean[0], std[15]), (16, -0.7571, 1.916));
    assert!(checkpoint.config().packing().is_some(), "it may be Qwen-Image's");
    let wan = parse_config(b"{\"_class_name\": \"AutoencoderKLWan\"}").unwrap();
    assert!(wan.packing().is_none());
    assert_eq!(wan.latent_space().unwrap().mean_and_std, Some((mean, std)));

    let model = Model { z_dim: 4, ..model };
    let checkpoint = model.check(&model.original(""));
    assert_eq!(checkpoint.guessed(), ["latents_mean", "latents_std"]);
    let error = checkpoint.latent_space().unwrap_err();
    assert!(matches!(error, CheckpointError::UntoldSpace { .. }), "{error}");
    assert!(
        error.to_string().contains("are known for latents of the released models alone"),
        "{error}"
    );
}

#[test]
fn weights_and_config_of_different_families_are_told() {
    let wan = Model::default();
    let kl = checkpoint_common::Model::default();
    let kl_config = || Some(AutoencoderKlConfig::default().into());
    let wan_config =
        || Some(parse_config(b"{\"_class_name\": \"AutoencoderKLQwenImage\"}").unwrap());
    for (tensors, config, told, class) in [
        (wan.original("vae."), kl_config(), "AutoencoderKLWan", "AutoencoderKL"),
        (wan.diffusers(""), kl_config(), "AutoencoderKLWan", "AutoencoderKL"),
        (kl.ldm(Dtype::F16, "", 2), wan_config(), "AutoencoderKL", "AutoencoderKLQwenImage"),
        (kl.diffusers(Dtype::F16), wan_config(), "AutoencoderKL", "AutoencoderKLQwenImage"),
    ] {
        let error = Checkpoint::from_bytes(serialize(&tensors), config).unwrap_err();
        let message = error.to_string();
        let CheckpointError::OtherFamily { told: found, class: given, evidence, .. } = error else {
            panic!("{message}")
        };
        assert_eq!((found, given), (told, class));
        assert!(tensors.contains_key(&evidence), "{evidence}");
    }
}

#[test]
fn a_decoder_with_a_hole_is_told() {
    let model = Model::default();
    let opened = |name: &str| {
        let mut tensors = model.diffusers("");
        tensors.remove(name);
        Checkpoint::from_bytes(serialize(&tensors), None)
    };
    let error = opened("decoder.conv_out.weight").unwrap_err().to_string();
    assert!(error.contains("is not that of an AutoencoderKLWan"), "{error}");
    assert!(error.contains("`decoder.conv_out.weight` is missing"), "{error}");
    let checkpoint = opened("decoder.mid_block.attentions.0.proj.bias").unwrap();
    let program = checkpoint.config().decoder().unwrap();
    let wanted = program.weights().iter().map(|spec| (&*spec.name, &*spec.shape));
    let error = checkpoint.verify(wanted).unwrap_err();
    assert_eq!(error.missing, ["decoder.mid_block.attentions.0.proj.bias"]);
}
