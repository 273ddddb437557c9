//! `config.json`: defaults, the values of real models, and everything that no decoder can have.

use halovae_core::{AxisTiling, Tiling};
use halovae_engine::checkpoint::{AutoencoderKlConfig, ConfigError, VaeConfig, parse_config};
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(value: &Value) -> Result<AutoencoderKlConfig, ConfigError> {
    parse_bytes(value.to_string().as_bytes())
}

fn parse_bytes(json: &[u8]) -> Result<AutoencoderKlConfig, ConfigError> {
    let config = parse_config(json)?;
    Ok(config
        .downcast_ref::<AutoencoderKlConfig>()
        .expect("the config of an AutoencoderKL")
        .clone())
}

/// Tiles of these pixels and latent cells.
fn tile(tile_sample_min_size: u32, tile_latent_min_size: u32) -> AxisTiling {
    AxisTiling::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor: 0.25 }
}

/// The config of FLUX.1's VAE.
fn flux() -> Value {
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.30.0.dev0",
        "_name_or_path": "../checkpoints/flux-dev",
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "force_upcast": true,
        "in_channels": 3,
        "latent_channels": 16,
        "latents_mean": null,
        "latents_std": null,
        "layers_per_block": 2,
        "mid_block_add_attention": true,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 1024,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "use_post_quant_conv": false,
        "use_quant_conv": false,
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut config = flux();
    config[field] = value;
    config
}

#[test]
fn the_config_of_flux_is_read() {
    let config = parse(&flux()).unwrap();
    let expected = AutoencoderKlConfig {
        in_channels: 3,
        out_channels: 3,
        latent_channels: 16,
        block_out_channels: vec![128, 256, 512, 512],
        layers_per_block: 2,
        norm_num_groups: 32,
        sample_size: [1024, 1024],
        scaling_factor: 0.3611,
        shift_factor: 0.1159,
        latents_mean: None,
        latents_std: None,
        use_quant_conv: false,
        use_post_quant_conv: false,
        mid_block_add_attention: true,
        force_upcast: true,
    };
    assert_eq!(config, expected);
    assert_eq!(config.scale(), 8);
    let tiling = config.tiling();
    assert_eq!(tiling, Tiling::new(tile(1024, 128), tile(1024, 128), 8));
    let space = config.latent_space().unwrap();
    assert_eq!((space.scaling_factor, space.shift_factor), (0.3611, 0.1159));
    assert_eq!(space.mean_and_std, None);
}

#[test]
fn absent_fields_take_the_defaults_of_the_class() {
    let config = parse(&json!({})).unwrap();
    assert_eq!(config, AutoencoderKlConfig::default());
    assert_eq!(config.block_out_channels, [64]);
    assert_eq!((config.latent_channels, config.layers_per_block), (4, 1));
    assert_eq!((config.norm_num_groups, config.sample_size), (32, [32, 32]));
    assert_eq!((config.scaling_factor, config.shift_factor), (0.18215, 0.0));
    assert!(config.use_quant_conv && config.use_post_quant_conv);
    assert!(config.mid_block_add_attention && config.force_upcast);
}

#[test]
fn sizes_of_tiles_are_rounded_down_per_axis() {
    let config = parse(&with("sample_size", json!([100, 520]))).unwrap();
    let tiling = config.tiling();
    assert_eq!([tiling.height, tiling.width], [tile(100, 12), tile(520, 65)]);
}

#[test]
fn means_and_deviations_count_only_together() {
    let both = |mean: Value, std: Value| {
        let mut config = flux();
        config["latents_mean"] = mean;
        config["latents_std"] = std;
        parse(&config).unwrap().latent_space().unwrap().mean_and_std
    };
    let list = |value: f64| json!(vec![value; 16]);
    assert_eq!(both(list(0.5), list(2.0)), Some((vec![0.5; 16], vec![2.0; 16])));
    assert_eq!(both(list(0.5), Value::Null), None);
    assert_eq!(both(Value::Null, list(2.0)), None);
}

#[test]
fn both_names_of_silu_are_one() {
    assert_eq!(parse(&with("act_fn", json!("swish"))).unwrap(), parse(&flux()).unwrap());
}

#[test]
fn another_class_is_named() {
    for (class, what) in [
        ("AutoencoderKLMochi", ", the VAE of Mochi"),
        ("AutoencoderTiny", ", a tiny autoencoder (TAESD and its kin)"),
        ("AutoencoderDC", ", a deep compression autoencoder (DC-AE, Sana)"),
        ("FluxTransformer2DModel", ""),
        ("", ""),
    ] {
        let error = parse(&with("_class_name", json!(class))).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "is of class \"{class}\"{what}; only AutoencoderKL, AutoencoderKLFlux2, \
                 AutoencoderKLHunyuanImage, AutoencoderKLQwenImage21, AutoencoderKLWan, \
                 AutoencoderKLQwenImage, AutoencoderKLLTX2Video and AutoencoderKLLTXVideo are supported"
            )
        );
    }
    let absent = json!({"block_out_channels": [32, 32]});
    assert_eq!(parse(&absent).unwrap().scale(), 2);
    // Fields of other classes tell them, if they are of one alone.
    let of_flux2 = json!({"batch_norm_eps": 1e-4}).to_string();
    let read = parse_config(of_flux2.as_bytes()).unwrap();
    assert_eq!(read.class(), "AutoencoderKLFlux2");
    for field in ["z_dim", "dim_mult"] {
        let error = parse(&json!({ field: 16 })).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "has no `_class_name`, and `{field}`, which is no field of an AutoencoderKL; add the \
                 class, one of AutoencoderKLQwenImage21, AutoencoderKLWan, AutoencoderKLQwenImage"
            )
        );
    }
}

#[test]
fn text_that_is_no_config_is_refused() {
    let message = |text: &str| parse_bytes(text.as_bytes()).unwrap_err();
    assert!(message("").to_string().starts_with("is not JSON: "));
    assert!(message("{\"in_channels\": NaN}").to_string().starts_with("is not JSON: "));
    assert!(matches!(message("[1, 2]"), ConfigError::NotAnObject { .. }));
    assert!(matches!(message("\"AutoencoderKL\""), ConfigError::NotAnObject { .. }));
    let nested = "[".repeat(100_000);
    assert!(matches!(message(&nested), ConfigError::Json(_)));
    let long = format!("{{\"x\": \"{}\"}}", "x".repeat(1 << 20));
    assert!(matches!(message(&long), ConfigError::TooLarge { limit: 1_048_576 }));
    assert!(matches!(parse_bytes(b"{\"x\": \"\xff\"}"), Err(ConfigError::Json(_))));
}

#[test]
fn every_impossible_field_is_named() {
    let huge = 1u64 << 40;
    let cases = [
        ("in_channels", json!(0), "0, expected a whole number from 1 to 65536"),
        ("out_channels", json!(-3), "-3, expected a whole number below 4294967296"),
        ("out_channels", json!(0), "0, expected a whole number from 1"),
        ("latent_channels", json!(0), "0, expected a whole number from 1"),
        ("latent_channels", json!(1.5), "1.5, expected a whole number"),
        ("latent_channels", json!("sixteen"), "\"sixteen\", expected a whole number"),
        ("latent_channels", json!(huge), "1099511627776, expected a whole number below"),
        ("latent_channels", json!(65537), "65537, expected a whole number from 1 to 65536"),
        ("block_out_channels", json!([]), "a list of 0 levels, expected 1 to 16 levels"),
        ("block_out_channels", json!(vec![32; 17]), "a list of 17 levels"),
        ("block_out_channels", json!([32, 0]), "0, expected a whole number from 1"),
        ("block_out_channels", json!([32, null]), "null, expected a whole number"),
        ("block_out_channels", json!(128), "128, expected a list of whole numbers"),
        ("block_out_channels", json!([65568]), "65568, expected"),
        ("layers_per_block", json!(0), "0, expected a whole number from 1 to 64"),
        ("layers_per_block", json!(65), "65, expected a whole number from 1 to 64"),
        ("layers_per_block", json!([2, 2, 2, 2]), "a list of 4, expected a whole number"),
        ("norm_num_groups", json!(0), "0, expected a whole number from 1"),
        (
            "norm_num_groups",
            json!(48),
            "48, expected a divisor of every one of `block_out_channels` (128, 256, 512, 512)",
        ),
        ("norm_num_groups", Value::Null, "null, expected a whole number"),
        ("act_fn", json!("gelu"), "\"gelu\", expected \"silu\" or \"swish\""),
        ("act_fn", Value::Null, "null, expected \"silu\""),
        ("sample_size", json!(7), "7, expected 8 (the pixels of one latent cell) to 1048576"),
        ("sample_size", json!(1_048_577), "1048577, expected 8"),
        ("sample_size", json!([512, 0]), "0, expected 8"),
        ("sample_size", json!([512]), "a list of 1, expected one number, or height and width"),
        ("sample_size", json!([512, "x"]), "\"x\", expected a whole number"),
        ("scaling_factor", json!(0), "0, expected a number from 1e-6 to 1e6"),
        ("scaling_factor", json!(-0.18215), "-0.18215, expected a number from"),
        ("scaling_factor", json!(1e300), "expected a number from"),
        ("scaling_factor", json!("x"), "\"x\", expected a number or null"),
        ("shift_factor", json!(1e7), "10000000, expected a number from -1e6 to 1e6"),
        ("shift_factor", json!([0]), "a list of 1, expected a number or null"),
        (
            "latents_mean",
            json!([0, 0]),
            "a list of 2, expected 16 numbers, one for each latent channel (`latent_channels`)",
        ),
        ("latents_mean", json!(0), "0, expected a list of numbers or null"),
        ("latents_mean", json!(vec![Value::Null; 16]), "null, expected only numbers in it"),
        ("latents_std", json!(vec![0.0; 16]), "0, expected numbers above 0"),
        ("latents_std", json!(vec![1e9; 16]), "1000000000, expected a number from -1e6"),
        ("use_quant_conv", json!(1), "1, expected true or false"),
        ("use_post_quant_conv", Value::Null, "null, expected true or false"),
        ("mid_block_add_attention", json!("yes"), "\"yes\", expected true or false"),
        ("force_upcast", json!({}), "an object, expected true or false"),
        ("up_block_types", json!("UpDecoderBlock2D"), "expected a list of"),
        (
            "up_block_types",
            json!(["UpDecoderBlock2D"]),
            "a list of 1, expected a list of \"UpDecoderBlock2D\" for each of 4 levels",
        ),
        (
            "up_block_types",
            json!(["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]),
            "\"AttnUpDecoderBlock2D\", expected",
        ),
    ];
    for (field, value, expected) in cases {
        let error = parse(&with(field, value.clone())).unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(error, ConfigError::Field { field: named, .. } if named == field),
            "{message}"
        );
        assert!(
            message.starts_with(&format!("`{field}` is {expected}")) || message.contains(expected),
            "{field} = {value}: {message}"
        );
    }
}

#[test]
fn values_do_not_reach_a_terminal_as_they_are() {
    let error = parse(&with("act_fn", json!(format!("\u{1b}[2J\n{}", "x".repeat(500)))));
    let message = error.unwrap_err().to_string();
    assert!(message.contains("\\u{1b}[2J\\n"), "{message}");
    assert!(message.len() < 200, "{message}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u32..200).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 24, 6, |inner| prop::collection::vec(inner, 0..20).prop_map(Value::from))
}

const FIELDS: [&str; 18] = [
    "_class_name",
    "in_channels",
    "out_channels",
    "latent_channels",
    "block_out_channels",
    "layers_per_block",
    "norm_num_groups",
    "act_fn",
    "sample_size",
    "scaling_factor",
    "shift_factor",
    "latents_mean",
    "latents_std",
    "use_quant_conv",
    "use_post_quant_conv",
    "mid_block_add_attention",
    "force_upcast",
    "up_block_types",
];

/// Numbers of few digits: serde_json may read the last digit of a long one differently.
fn short(least: i32) -> impl Strategy<Value = f64> + Clone {
    (least..1_000_000).prop_map(|number| f64::from(number) / 1024.0)
}

fn valid_config() -> impl Strategy<Value = AutoencoderKlConfig> {
    (1u32..64, prop::collection::vec(1u32..16, 1..=16), 1u32..=8, 1u32..=64, any::<[bool; 4]>())
        .prop_flat_map(|(latent, blocks, groups, layers, flags)| {
            let lists = prop::collection::vec(short(1), latent as usize);
            let sizes = prop::array::uniform2(1u32 << (blocks.len() - 1)..=1 << 20);
            let numbers = (
                short(1),
                short(-100_000),
                prop::option::of(lists.clone()),
                prop::option::of(lists),
            );
            (sizes, numbers).prop_map(move |(sample_size, numbers)| AutoencoderKlConfig {
                in_channels: 1 + latent,
                out_channels: 2 * latent,
                latent_channels: latent,
                block_out_channels: blocks.iter().map(|channels| channels * groups).collect(),
                layers_per_block: layers,
                norm_num_groups: groups,
                sample_size,
                scaling_factor: numbers.0,
                shift_factor: numbers.1,
                latents_mean: numbers.2,
                latents_std: numbers.3,
                use_quant_conv: flags[0],
                use_post_quant_conv: flags[1],
                mid_block_add_attention: flags[2],
                force_upcast: flags[3],
            })
        })
}

proptest! {
    #[test]
    fn a_valid_config_survives_being_written_and_read(config in valid_config()) {
        config.validate().unwrap();
        prop_assert_eq!(parse(&config.to_json()).unwrap(), config.clone());
        prop_assert!(config.scale().is_power_of_two());
        let tiling = config.tiling();
        for (axis, pixels) in [tiling.height, tiling.width].into_iter().zip(config.sample_size) {
            let cells = pixels / (1 << (config.block_out_channels.len() - 1));
            prop_assert!(cells >= 1);
            prop_assert_eq!(axis, tile(pixels, cells));
        }
        let space = config.latent_space().unwrap();
        prop_assert!(space.scaling_factor.is_normal() && space.shift_factor.is_finite());
    }

    /// Whatever a field holds, the answer is a config that validates or an error on one line.
    #[test]
    fn any_value_of_any_field_is_answered(field in 0..FIELDS.len(), value in any_json()) {
        match parse(&with(FIELDS[field], value)) {
            Ok(config) => config.validate().unwrap(),
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }
}
