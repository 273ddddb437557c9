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

/// A config without a class is of the class that the weights tell; which of the two that share them, fields
/// tell that one of these lacks.
#[test]
fn a_config_without_a_class_is_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let opened = |model: &Model, without: &[&str], with: Option<&str>| {
        let tensors = model.diffusers("");
        let whole = Checkpoint::from_bytes(serialize(&tensors), None).unwrap();
        let mut fields = whole.config().to_json();
        let fields = fields.as_object_mut().unwrap();
        for field in ["_class_name"].iter().chain(without) {
            fields.remove(*field).unwrap();
        }
        fields.extend(with.map(|field| (field.to_owned(), fields["z_dim"].clone())));
        let text = serde_json::Value::Object(fields.clone()).to_string();
        std::fs::write(path("config.json"), text).unwrap();
        std::fs::write(path("diffusion_pytorch_model.safetensors"), serialize(&tensors)).unwrap();
        let opened = Checkpoint::open(folder.path(), None);
        opened.map(|checkpoint| config(&checkpoint).clone()).map_err(|error| error.to_string())
    };
    let plain = Model::default();
    assert_eq!(opened(&plain, &[], None).unwrap().class, WanClass::Wan);
    let of_wan = [
        "decoder_base_dim",
        "in_channels",
        "out_channels",
        "is_residual",
        "patch_size",
        "scale_factor_temporal",
        "scale_factor_spatial",
    ];
    assert_eq!(opened(&plain, &of_wan, None).unwrap().class, WanClass::Untold);
    let of_qwen_image = opened(&plain, &of_wan, Some("input_channels")).unwrap();
    assert_eq!((of_qwen_image.class, of_qwen_image.in_channels), (WanClass::QwenImage, 16));
    let residual = Model { residual: true, z_dim: 48, ..Model::default() };
    let found = opened(&residual, &[], None).unwrap();
    assert_eq!((found.class, found.is_residual), (WanClass::Wan, true));
    let images = Model { images: true, z_dim: 64, ..residual };
    assert_eq!(opened(&images, &[], None).unwrap().class, WanClass::QwenImage21);
    // Of other numbers of channels than the class has statistics for, the file and the field are named.
    let error = opened(&Model { z_dim: 5, ..plain }, &["latents_std"], None).unwrap_err();
    assert!(error.contains("config.json` `latents_std` is absent, expected 5 numbers"), "{error}");
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
