//! LTX-2 and LTX-Video: configs and what no decoder can have, networks that are found without a config, and
//! the statistics that latents are normalized by.

mod checkpoint_common;

use checkpoint_common::{Tensor, Tensors, serialize};
use halovae_core::{AxisTiling, DroppedFrame, Scale, Size, Tiling, TimeScale};
use halovae_engine::checkpoint::{
    AutoencoderKlLtxConfig, Checkpoint, CheckpointError, ConfigError, LtxClass, VaeConfig,
    parse_config, released,
};
use halovae_engine::latents::{LatentSpace, TokenContent};
use halovae_engine::model::Model as _;
use halovae_engine::program::{Edge, Geometry, ReceptiveField};
use safetensors::Dtype;
use serde_json::{Value, json};

const LTX2: &str = "AutoencoderKLLTX2Video";
const LTX: &str = "AutoencoderKLLTXVideo";

fn parse(config: &Value) -> Result<AutoencoderKlLtxConfig, ConfigError> {
    let config = parse_config(config.to_string().as_bytes())?;
    Ok(config.downcast_ref::<AutoencoderKlLtxConfig>().expect("the config of an LTX").clone())
}

/// What LTX-2.0's file says.
fn ltx_2_0() -> Value {
    json!({
        "_class_name": LTX2, "block_out_channels": [256, 512, 1024, 2048],
        "decoder_block_out_channels": [256, 512, 1024], "decoder_causal": false,
        "decoder_inject_noise": [false, false, false, false],
        "decoder_layers_per_block": [5, 5, 5, 5], "decoder_spatial_padding_mode": "reflect",
        "decoder_spatio_temporal_scaling": [true, true, true], "encoder_causal": true,
        "latent_channels": 128, "out_channels": 3, "patch_size": 4, "patch_size_t": 1,
        "resnet_norm_eps": 1e-6, "scaling_factor": 1.0, "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8, "timestep_conditioning": false,
        "upsample_factor": [2, 2, 2], "upsample_residual": [true, true, true],
        "upsample_type": ["spatiotemporal", "spatiotemporal", "spatiotemporal"],
    })
}

/// A network of two levels.
fn small() -> Value {
    json!({
        "_class_name": LTX2, "latent_channels": 3, "decoder_block_out_channels": [8, 16],
        "decoder_layers_per_block": [1, 2, 1], "decoder_spatio_temporal_scaling": [true, true],
        "decoder_causal": false, "upsample_type": ["spatiotemporal", "spatial"],
        "upsample_residual": [true, true], "upsample_factor": [1, 2], "patch_size": 2,
    })
}

fn of_released(models: &str) -> AutoencoderKlLtxConfig {
    let released = released();
    let found = released.iter().find(|released| released.models.contains(models));
    let config = found.unwrap_or_else(|| panic!("no {models}")).config.downcast_ref();
    AutoencoderKlLtxConfig::clone(config.expect("the config of an LTX"))
}

#[test]
fn absent_fields_take_the_defaults_of_the_class() {
    let ltx2 = parse(&json!({ "_class_name": LTX2 })).unwrap();
    assert!(ltx2.decoder_causal);
    assert_eq!(ltx2.decoder_spatial_padding_mode, Edge::Reflect);
    let ltx = parse(&json!({ "_class_name": LTX })).unwrap();
    assert_eq!((ltx.class, ltx.decoder_causal), (LtxClass::Ltx, false));
    assert_eq!(ltx, of_released("LTX-Video 0.9.0"));
    for config in [ltx2, ltx] {
        assert!(config.is_video());
        // LTX-2's pipelines unpack latents.
        let content = config.packing().map(|packing| (packing.content, packing.token_len(128)));
        let is_packed = config.class == LtxClass::Ltx;
        assert_eq!(content, is_packed.then_some((TokenContent::Video, 128)));
        assert_eq!(parse(&config.to_json()).unwrap(), config);
        let tile = AxisTiling::Stride { tile_sample_min_size: 512, tile_sample_stride: 448 };
        let scale = Scale::video(TimeScale::first_alone(8), 32);
        assert_eq!(config.tiling(), Tiling::new(tile, tile, scale));
        let time = config.time_tiling().unwrap();
        let [tile, stride] = [time.tile_sample_min_num_frames, time.tile_sample_stride_num_frames];
        assert_eq!((tile, stride, time.dropped), (16, 8, DroppedFrame::Last));
        let program = config.decoder().unwrap();
        assert_eq!((program.latent_channels(), program.out_channels()), (128, 3));
        assert_eq!(program.out_scale(), scale);
    }
    // One flag may stand for all levels.
    let mut one_flag = ltx_2_0();
    one_flag["upsample_residual"] = json!(true);
    one_flag["decoder_inject_noise"] = json!(false);
    assert_eq!(parse(&one_flag).unwrap(), parse(&ltx_2_0()).unwrap());
}

/// Parameters of the decoders are as many as diffusers' have, the work is that of its convs, and they look
/// as far as perturbations of latents reach there.
#[test]
fn released_decoders_are_those_of_diffusers() {
    assert_eq!(parse(&ltx_2_0()).unwrap(), of_released("LTX-2.0"));
    for (models, parameters, of_image, of_frame, frames, radius) in
        [("LTX-2.0", 528.38, 1.52, 5.25, 22, 22), ("LTX-2.3", 407.2, 2.28, 10.3, 14, 16)]
    {
        let program = of_released(models).decoder().unwrap();
        let millions = program.weight_bytes() as f64 / 4e6;
        assert!((millions - parameters).abs() < 0.06, "{models}: {millions} million parameters");
        let field = ReceptiveField::new(&program);
        assert_eq!((field.frames[1], field.radius), (frames, radius), "{models}: {field:?}");
        assert!(!field.has_global_ops);
        let work = |frames| {
            let geometry = Geometry::new(&program, 1, Size::video(frames, 32, 32));
            program.ops().iter().map(|op| geometry.flops(op)).sum::<u128>() as f64 / 2e12
        };
        assert!((work(1) / of_image - 1.0).abs() < 0.01, "{models}: {}", work(1));
        assert!(((work(3) - work(2)) / of_frame - 1.0).abs() < 0.01, "{models}: {}", work(3));
    }
}

#[test]
fn what_is_not_decoded_is_refused_with_its_field() {
    assert_eq!(parse(&small()).unwrap().decoder().unwrap().out_scale().space, 8);
    for (config, field, value, expected) in [
        (ltx_2_0(), "decoder_inject_noise", json!([false, true, false, false]), "no seed"),
        (ltx_2_0(), "decoder_inject_noise", json!(true), "no seed"),
        (ltx_2_0(), "timestep_conditioning", json!(true), "at a timestep"),
        (ltx_2_0(), "patch_size_t", json!(2), "frames that lie in channels"),
        (ltx_2_0(), "spatial_compression_ratio", json!(64), "32, which the decoder's levels"),
        (ltx_2_0(), "temporal_compression_ratio", json!(16), "8, which the decoder's levels"),
        (ltx_2_0(), "decoder_spatial_padding_mode", json!("circular"), "\"replicate\""),
        (ltx_2_0(), "upsample_type", json!(["spatial", "temporal", "both"]), "a list of \"spa"),
        (ltx_2_0(), "upsample_type", json!(["spatial"]), "one entry for each level"),
        (ltx_2_0(), "upsample_residual", json!([true]), "one entry for each level"),
        (ltx_2_0(), "decoder_layers_per_block", json!([5, 5, 5]), "one for the middle (4)"),
        (ltx_2_0(), "decoder_layers_per_block", json!([5, 5, 5, 0]), "from 1 to 64"),
        (ltx_2_0(), "decoder_layers_per_block", json!([5, 5, 65, 5]), "from 0 to 64"),
        (ltx_2_0(), "decoder_block_out_channels", json!([]), "1 to 16 levels"),
        (ltx_2_0(), "upsample_factor", json!([2, 0, 2]), "from 1 to 65536"),
        (ltx_2_0(), "upsample_factor", json!([2, 3, 2]), "channels"),
        (ltx_2_0(), "patch_size", json!(17), "from 1 to 16"),
        (ltx_2_0(), "latent_channels", json!(0), "from 1 to 65536"),
        (ltx_2_0(), "scaling_factor", json!(0.0), "not 0"),
        (ltx_2_0(), "resnet_norm_eps", json!(-1e-6), "above 0"),
        // Channels of which a shortcut cannot repeat whole blocks.
        (small(), "decoder_block_out_channels", json!([6, 16]), "whole blocks of 4 cells"),
        // A level without an upsampler divides no channels.
        (small(), "decoder_spatio_temporal_scaling", json!([true, false]), "without an upsampler"),
    ] {
        let mut config = config;
        config[field] = value.clone();
        let error = parse(&config).expect_err(field);
        assert!(error.to_string().contains(expected), "{field}, {value}: {error}");
        assert!(matches!(error, ConfigError::Field { .. }), "{error}");
    }
}

/// The weights of a config's decoder, by name, without elements where they are convs'.
fn shapes(config: &AutoencoderKlLtxConfig) -> Tensors {
    let program = config.decoder().unwrap();
    let tensors = program.weights().iter().map(|spec| {
        let mut shape = spec.shape.clone();
        if shape.len() == 5 {
            shape[2] = 0;
        }
        let zeros = vec![0.0; shape.iter().product()];
        (spec.name.clone(), Tensor::new(Dtype::F16, &shape, &zeros))
    });
    tensors.collect()
}

fn open(tensors: &Tensors) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(serialize(tensors), None)
}

/// Shapes of released models tell their class and all else; of others something is guessed, and told.
#[test]
fn networks_are_found_without_a_config() {
    for models in ["LTX-2.0", "LTX-2.3", "LTX-Video 0.9.0"] {
        let config = of_released(models);
        let checkpoint = open(&shapes(&config)).unwrap();
        assert_eq!(checkpoint.config(), &config as &dyn VaeConfig, "{models}");
        assert!(checkpoint.guessed().is_empty(), "{models}");
    }
    let config = parse(&small()).unwrap();
    for prefix in ["", "vae.", "model."] {
        let tensors = shapes(&config).into_iter();
        let tensors = tensors.map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
        let checkpoint = open(&tensors).unwrap();
        assert_eq!(checkpoint.config(), &config as &dyn VaeConfig);
        assert_eq!(checkpoint.prefix(), prefix);
        let guessed = ["upsample_residual", "decoder_causal", "decoder_spatial_padding_mode"];
        assert_eq!(checkpoint.guessed(), guessed);
    }
}

#[test]
fn networks_that_cannot_be_are_refused() {
    let config = parse(&small()).unwrap();
    let huge = u32::MAX as usize;
    for (name, shape, expected) in [
        ("decoder.conv_in.conv.weight", &[16, huge, 0, 3, 3][..], "`latent_channels` is"),
        ("decoder.conv_out.conv.weight", &[13, 8, 0, 3, 3], "for each pixel of a square"),
        ("decoder.conv_out.conv.weight", &[12, 8, 3, 3], "expected the weights of a 3-d conv"),
        ("decoder.up_blocks.0.upsamplers.0.conv.conv.weight", &[63, 16, 0, 3, 3], "63 channels"),
        ("decoder.up_blocks.0.upsamplers.0.conv.conv.weight", &[24, 16, 0, 3, 3], "3 cells"),
        ("decoder.up_blocks.0.resnets.0.conv1.conv.weight", &[8, 0, 0, 3, 3], "reads 0"),
        ("decoder.scale_shift_table", &[2, 0], "at a timestep"),
    ] {
        let mut tensors = shapes(&config);
        let zeros = vec![0.0; shape.iter().product()];
        tensors.insert(name.into(), Tensor::new(Dtype::F16, shape, &zeros));
        let error = open(&tensors).expect_err(name);
        assert!(matches!(error, CheckpointError::NotInferable { .. }), "{name}: {error}");
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

/// Under either name. Pipelines of LTX-2 give latents away as the VAE takes them, those of LTX-Video do not,
/// and ComfyUI's are normalized.
#[test]
fn statistics_tell_the_space_of_latents() {
    let vector = |values: &[f32]| Tensor::new(Dtype::F32, &[values.len()], values);
    let (mean, std) = ([1.0, -2.0, 0.5], [2.0, 4.0, 0.25]);
    let normalized = LatentSpace {
        scaling_factor: 2.0,
        mean_and_std: Some((mean.into(), std.into())),
        ..LatentSpace::VAE
    };
    for (class, names) in [
        (LTX2, ["latents_mean", "latents_std"]),
        (LTX2, ["per_channel_statistics.mean-of-means", "per_channel_statistics.std-of-means"]),
        (LTX, ["latents_mean", "latents_std"]),
    ] {
        let mut fields = small();
        fields["_class_name"] = json!(class);
        fields["scaling_factor"] = json!(2.0);
        let config = parse(&fields).unwrap();
        let mut tensors = shapes(&config);
        let open = |tensors: &Tensors| {
            Checkpoint::from_bytes(serialize(tensors), Some(config.clone().into())).unwrap()
        };
        let without = open(&tensors);
        match class {
            LTX2 => assert_eq!(without.latent_space().unwrap(), LatentSpace::VAE),
            _ => {
                let error = without.latent_space().unwrap_err();
                assert!(matches!(error, CheckpointError::NoStatistics { .. }), "{error}");
            }
        }
        // Latents that would have to be converted by them are refused, whatever channels they have.
        let comfy = without.config().comfy_space().unwrap();
        assert_eq!(comfy.mean_and_std, Some((Vec::new(), Vec::new())));
        for (name, values) in names.into_iter().zip([mean, std]) {
            tensors.insert(name.into(), vector(&values));
        }
        let with = open(&tensors);
        assert!(with.ignored().is_empty());
        assert_eq!(with.config().comfy_space(), Some(normalized.clone()));
        let of_pipeline = if class == LTX2 { LatentSpace::VAE } else { normalized.clone() };
        assert_eq!(with.latent_space().unwrap(), of_pipeline);
        // Of other channels, or not above 0, they are no statistics.
        for odd in [vec![1.0; 4], vec![1.0, 0.0, 1.0]] {
            tensors.insert(names[1].into(), vector(&odd));
            let odd = open(&tensors).config().comfy_space().unwrap();
            assert_eq!(odd.mean_and_std, Some((Vec::new(), Vec::new())));
        }
    }
}
