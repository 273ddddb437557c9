//! The configs of Wan and Qwen-Image: defaults, and everything that no decoder can have.

use halovae_core::{AxisTiling, Scale, Strategy as Cut, Tiling, TimeScale};
use halovae_engine::checkpoint::{
    AutoencoderKlWanConfig, ConfigError, VaeConfig, WanClass, parse_config,
};
use halovae_engine::latents::TokenContent;
use halovae_engine::model::Model as _;
use proptest::prelude::*;
use serde_json::{Value, json};

const CLASSES: [&str; 2] = ["AutoencoderKLWan", "AutoencoderKLQwenImage"];

fn parse(config: &Value) -> Result<AutoencoderKlWanConfig, ConfigError> {
    let config = parse_config(config.to_string().as_bytes())?;
    Ok(config.downcast_ref::<AutoencoderKlWanConfig>().expect("the config of a Wan").clone())
}

fn with(class: &str, field: &str, value: Value) -> Value {
    let mut config = json!({ "_class_name": class });
    config[field] = value;
    config
}

#[test]
fn absent_fields_take_the_defaults_of_the_class() {
    for class in CLASSES {
        let config = parse(&json!({ "_class_name": class })).unwrap();
        assert_eq!(config.class(), class);
        assert_eq!((config.base_dim, config.decoder_base_dim, config.z_dim), (96, 96, 16));
        assert_eq!((&*config.dim_mult, config.num_res_blocks), (&[1, 2, 4, 4][..], 2));
        assert_eq!(config.temperal_downsample, [false, true, true]);
        assert!(config.decoder_channels().eq([384, 384, 192, 96]));
        assert!(config.temporal_upsample().eq([true, true, false]));
        assert_eq!((config.scale_factor_temporal, config.scale_factor_spatial), (4, 8));
        assert_eq!((config.in_channels, config.out_channels), (3, 3));
        let tile = AxisTiling::Stride { tile_sample_min_size: 256, tile_sample_stride: 192 };
        let scale = Scale::video(TimeScale::first_alone(4), 8);
        assert_eq!(config.tiling(), Tiling::new(tile, tile, scale));
        assert!(config.is_video());
        let program = config.decoder().unwrap();
        assert_eq!((program.latent_channels(), program.out_channels()), (16, 3));
        assert_eq!(program.out_scale(), scale);
    }
}

/// The file that Wan 2.1's repository has, and what Qwen-Image-Layered's has of its own.
#[test]
fn configs_of_released_models_are_read() {
    let wan = json!({
        "_class_name": "AutoencoderKLWan", "_diffusers_version": "0.33.0.dev0", "attn_scales": [],
        "base_dim": 96, "dim_mult": [1, 2, 4, 4], "dropout": 0.0, "num_res_blocks": 2,
        "temperal_downsample": [false, true, true], "z_dim": 16,
        "decoder_base_dim": null, "patch_size": null, "is_residual": false,
        "scale_factor_spatial": 8, "scale_factor_temporal": 4,
    });
    assert_eq!(parse(&wan).unwrap(), parse(&json!({"_class_name": "AutoencoderKLWan"})).unwrap());
    let layered = parse(&with(CLASSES[1], "input_channels", json!(4))).unwrap();
    assert_eq!((layered.class, layered.out_channels), (WanClass::QwenImage, 4));
    assert_eq!(layered.packing().unwrap().content, TokenContent::Layers);
}

/// The configs of Wan 2.2 TI2V-5B and of Qwen-Image 2.1, whose class has it as its defaults.
#[test]
fn configs_of_models_with_shortcuts_are_read() {
    let wan = json!({
        "_class_name": "AutoencoderKLWan", "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48,
        "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [],
        "temperal_downsample": [false, true, true], "is_residual": true, "patch_size": 2,
        "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16,
        "scale_factor_temporal": 4, "latents_mean": vec![0.5; 48], "latents_std": vec![2.0; 48],
        "clip_output": false,
    });
    let config = parse(&wan).unwrap();
    let program = config.decoder().unwrap();
    assert_eq!((program.latent_channels(), program.out_channels()), (48, 3));
    let scale = Scale::video(TimeScale::first_alone(4), 16);
    assert_eq!((program.out_scale(), config.tiling().scale), (scale, scale));
    assert_eq!(config.tiling().grain, 2);
    assert_eq!(config.frames_per_second().unwrap().get(), 24);
    assert!(config.packing().is_none() && config.is_video());
    assert_eq!(parse(&config.to_json()).unwrap(), config);

    let qwen = parse(&json!({ "_class_name": "AutoencoderKLQwenImage21" })).unwrap();
    let program = qwen.decoder().unwrap();
    assert_eq!((program.latent_channels(), program.out_channels()), (64, 4));
    assert_eq!(program.out_scale(), Scale::image(16));
    assert!(!qwen.is_video() && qwen.frames_per_second().is_none());
    assert_eq!(qwen.decoder_channels().collect::<Vec<_>>(), [1152, 1152, 576, 288, 144]);
    assert_eq!(qwen.packing().unwrap().token_len(64), 64);
    assert_eq!(qwen.output_range(Cut::Tiled), Some([-1.0, 1.0]));
    let (mean, std) = qwen.latent_space().unwrap().mean_and_std.unwrap();
    assert_eq!((mean.len(), std.len()), (64, 64));
    assert_eq!(parse(&qwen.to_json()).unwrap(), qwen);
    // No conv sees frames, and every shortcut is one of images.
    assert!(program.ops().iter().all(|op| op.by_tap().is_none()));

    for (fields, field, value, expected) in [
        (&wan, "decoder_base_dim", json!(250), "`out_channels`"),
        (&wan, "out_channels", json!(14), "a multiple of 4, the pixels of a patch"),
        (&wan, "dim_mult", json!([1, 2, 3, 4]), "levels whose shortcuts repeat whole channels"),
        (&qwen.to_json(), "is_residual", json!(false), "true: no AutoencoderKLQwenImage21 without"),
        (&qwen.to_json(), "scale_factor_temporal", json!(4), "8, which `temperal_downsample`"),
    ] {
        let mut fields = fields.clone();
        fields[field] = value;
        match parse(&fields) {
            Err(error) => assert!(error.to_string().contains(expected), "{field}: {error}"),
            // Any number of channels goes that every level has a multiple of.
            Ok(_) => assert_eq!(field, "decoder_base_dim"),
        }
    }
}

#[test]
fn classes_differ_in_packing_and_in_the_clamp_of_tiles() {
    let [wan, qwen] = CLASSES.map(|class| parse(&json!({ "_class_name": class })).unwrap());
    assert!(wan.packing().is_none());
    assert_eq!(qwen.packing().unwrap().token_len(16), 64);
    assert_eq!(qwen.packing().unwrap().content, TokenContent::Picture);
    for strategy in [Cut::Whole, Cut::Tiled, Cut::Patch, Cut::Sharded] {
        assert_eq!(wan.output_range(strategy), Some([-1.0, 1.0]));
        assert_eq!(qwen.output_range(strategy).is_none(), strategy == Cut::Tiled);
    }
}

#[test]
fn every_impossible_field_is_named() {
    let both = [
        ("base_dim", json!(0), "0, expected a whole number from 1 to 65536"),
        ("base_dim", Value::Null, "null, expected a whole number"),
        ("z_dim", json!(65537), "65537, expected a whole number from 1 to 65536"),
        (
            "z_dim",
            json!(4),
            "`latents_mean` is absent, expected 4 numbers, one for each latent channel (`z_dim`): those of \
             the class are for 16",
        ),
        ("dim_mult", json!([]), "a list of 0 levels, expected 1 to 16 levels"),
        (
            "dim_mult",
            json!([1, 2, 4, 0]),
            "0, expected numbers that make 2 to 65536 channels of 96",
        ),
        ("dim_mult", json!([1, 2, 4, 700]), "700, expected numbers that make 2 to 65536"),
        ("dim_mult", json!([1, 2]), "a list of 3, expected one flag for each level of `dim_mult`"),
        ("dim_mult", json!(4), "4, expected a list of whole numbers"),
        ("num_res_blocks", json!(0), "0, expected a whole number from 1 to 64"),
        ("temperal_downsample", json!([true]), "a list of 1, expected one flag for each level"),
        ("temperal_downsample", json!([0, 1, 1]), "0, expected only true and false in it"),
        ("temperal_downsample", json!(true), "true, expected a list of true and false"),
        ("attn_scales", json!("x"), "\"x\", expected a list of numbers"),
        (
            "latents_mean",
            json!([0.5]),
            "a list of 1, expected 16 numbers, one for each latent channel (`z_dim`)",
        ),
        ("latents_std", json!(vec![0.0; 16]), "0, expected numbers above 0"),
        ("latents_std", json!(vec![1e-46; 16]), "expected numbers above 0"),
    ];
    let of_wan = [
        ("patch_size", json!(0), "0, expected a whole number from 1 to 16"),
        ("patch_size", json!(17), "17, expected a whole number from 1 to 16"),
        ("patch_size", json!(2), "3, expected a multiple of 4, the pixels of a patch"),
        ("decoder_base_dim", json!(0), "0, expected a whole number from 1"),
        ("in_channels", json!(0), "0, expected a whole number from 1"),
        ("out_channels", json!("3"), "\"3\", expected a whole number"),
        (
            "scale_factor_spatial",
            json!(16),
            "16, expected 8, which 4 levels and `patch_size` come to",
        ),
        ("scale_factor_temporal", json!(8), "8, expected 4, which `temperal_downsample` comes to"),
    ];
    let of_qwen = [("input_channels", json!(0), "0, expected a whole number from 1 to 65536")];
    let cases = [(&CLASSES[..], &both[..]), (&CLASSES[..1], &of_wan), (&CLASSES[1..], &of_qwen)];
    for (classes, cases) in cases {
        for (class, (field, value, expected)) in
            classes.iter().flat_map(|class| cases.iter().map(move |case| (class, case)))
        {
            let error = parse(&with(class, field, value.clone())).unwrap_err();
            let message = error.to_string();
            assert!(matches!(error, ConfigError::Field { .. }), "{message}");
            assert!(message.contains(expected), "{class}, {field} = {value}: {message}");
        }
    }
}

/// Estimates and decodes go through the frames of a latent one by one.
#[test]
fn decoders_of_too_many_frames_are_refused() {
    for (doubled, fits) in [(6, true), (7, false)] {
        let config = json!({
            "_class_name": CLASSES[0], "base_dim": 2, "dim_mult": vec![1; doubled + 1],
            "temperal_downsample": vec![true; doubled],
            "scale_factor_temporal": 1 << doubled, "scale_factor_spatial": 1 << doubled,
        });
        match parse(&config) {
            Ok(config) => {
                assert!(fits && config.decoder().unwrap().out_scale().time.factor == 64);
            }
            Err(error) => {
                assert!(!fits);
                assert!(error.to_string().contains("comes to 128 frames"), "{error}");
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u32..20).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 24, 6, |inner| prop::collection::vec(inner, 0..20).prop_map(Value::from))
}

const FIELDS: [&str; 16] = [
    "base_dim",
    "decoder_base_dim",
    "z_dim",
    "dim_mult",
    "num_res_blocks",
    "attn_scales",
    "temperal_downsample",
    "latents_mean",
    "latents_std",
    "input_channels",
    "in_channels",
    "out_channels",
    "is_residual",
    "patch_size",
    "scale_factor_temporal",
    "scale_factor_spatial",
];

proptest! {
    /// Whatever a field holds, the answer is a config that validates and has a decoder, or an error on
    /// one line.
    #[test]
    fn any_value_of_any_field_is_answered(
        field in 0..FIELDS.len(), value in any_json(), class in 0usize..2,
    ) {
        match parse(&with(CLASSES[class], FIELDS[field], value)) {
            Ok(config) => {
                config.validate().unwrap();
                prop_assert_eq!(config.decoder().unwrap().out_scale(), config.tiling().scale);
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }
}
