//! Checkpoints as people have them: folders, shards, single files, both namings.

mod checkpoint_common;

use std::path::Path;

use checkpoint_common::{
    LDM, Model, Tensor, Tensors, assert_holds, borrowed, demo_vae, kl_config, open_bytes, raw_file,
    read, serialize, write,
};
use halovae_engine::checkpoint::{
    AutoencoderKlConfig, Checkpoint, CheckpointError, ConfigError, ConfigSource, Dtype as Stored,
    Naming,
};
use safetensors::Dtype;
use tempfile::TempDir;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

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

#[test]
fn both_namings_give_the_same_weights() {
    for model in models() {
        let diffusers = open_bytes(&model.diffusers(Dtype::F32));
        assert_eq!(diffusers.naming(), Naming::Diffusers);
        assert_holds(&diffusers, &model);
        for prefix in ["", "first_stage_model.", "vae."] {
            for ones in [0, 1, 2] {
                let ldm = open_bytes(&model.ldm(Dtype::F32, prefix, ones));
                assert_eq!((ldm.naming(), ldm.prefix()), (LDM, prefix));
                assert_holds(&ldm, &model);
                assert_eq!(ldm.config(), diffusers.config());
            }
        }
        assert_holds(&open_bytes(&model.old_diffusers(Dtype::F32)), &model);
    }
}

#[test]
fn every_type_of_weights_is_read_exactly() {
    let model = Model::default();
    for (dtype, stored) in
        [(Dtype::F32, Stored::F32), (Dtype::F16, Stored::F16), (Dtype::BF16, Stored::Bf16)]
    {
        let checkpoint = open_bytes(&model.diffusers(dtype));
        assert_holds(&checkpoint, &model);
        let view = checkpoint.tensor("decoder.conv_in.weight").unwrap();
        assert_eq!(view.dtype, stored);
        assert_eq!(view.bytes.len(), view.elements() * stored.size());
    }
}

/// All 65536 halves, at odd addresses too, against `half`'s scalar conversion.
#[test]
fn halves_of_every_value_are_converted() {
    let bits: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    for pad in 0..4 {
        for (name, convert) in [
            ("F16", (|bits| half::f16::from_bits(bits).to_f32()) as fn(u16) -> f32),
            ("BF16", |bits| half::bf16::from_bits(bits).to_f32()),
        ] {
            let header = format!(
                r#"{{"decoder.x":{{"dtype":"{name}","shape":[65536],"data_offsets":[0,131072]}}}}{}"#,
                " ".repeat(pad)
            );
            let config = AutoencoderKlConfig::default().into();
            let checkpoint =
                Checkpoint::from_bytes(raw_file(&header, &bytes), Some(config)).unwrap();
            for (&bits, value) in bits.iter().zip(read(&checkpoint, "decoder.x")) {
                let expected = convert(bits);
                let same = value == expected || (value.is_nan() && expected.is_nan());
                assert!(same, "{name} {bits:#06x}: {value} instead of {expected}");
            }
        }
    }
}

#[test]
#[should_panic = "`decoder.conv_in.bias` has another number of elements"]
fn a_buffer_of_another_length_is_a_bug() {
    let checkpoint = open_bytes(&Model::default().diffusers(Dtype::F32));
    checkpoint.tensor("decoder.conv_in.bias").unwrap().to_f32_into(&mut [0.0; 3]);
}

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
fn a_diffusers_folder_is_opened() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let config = write(folder.path(), "config.json", model.config_json(4));
    write(folder.path(), WEIGHTS, serialize(&model.diffusers(Dtype::F32)));
    let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
    assert_holds(&checkpoint, &model);
    assert_eq!(checkpoint.path(), folder.path());
    assert_eq!(checkpoint.config_source(), &ConfigSource::File(config.clone()));
    assert_eq!(kl_config(&checkpoint).norm_num_groups, 4);
    assert!(checkpoint.guessed().is_empty());

    // The weights alone are part of the same folder.
    let file = Checkpoint::open(&folder.path().join(WEIGHTS), None).unwrap();
    assert_eq!(file.config(), checkpoint.config());
    assert_eq!(file.config_source(), &ConfigSource::File(config));

    // An override wins over the folder's own.
    let other = write(folder.path(), "other.json", model.config_json(2));
    for path in [folder.path(), &folder.path().join(WEIGHTS)] {
        let overridden = Checkpoint::open(path, Some(&other)).unwrap();
        assert_eq!(kl_config(&overridden).norm_num_groups, 2);
        assert_eq!(overridden.config_source(), &ConfigSource::File(other.clone()));
    }
}

#[test]
fn a_folder_without_config_is_inferred_and_a_file_beside_one_is_not_part_of_it() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    write(folder.path(), WEIGHTS, serialize(&model.diffusers(Dtype::F32)));
    let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
    assert_eq!(checkpoint.config_source(), &ConfigSource::Shapes);

    write(folder.path(), "config.json", "{\"_class_name\": \"FluxTransformer2DModel\"}");
    let ae = write(folder.path(), "ae.safetensors", serialize(&model.ldm(Dtype::F32, "", 2)));
    assert_holds(&Checkpoint::open(&ae, None).unwrap(), &model);
}

#[test]
fn a_pipeline_folder_and_variants_are_opened() {
    let model = Model::default();
    for name in [
        "vae/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.bf16.safetensors",
    ] {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "model_index.json", "{}");
        let weights = write(folder.path(), name, serialize(&model.diffusers(Dtype::F16)));
        write(weights.parent().unwrap(), "config.json", model.config_json(4));
        let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
        assert_holds(&checkpoint, &model);
        assert!(matches!(checkpoint.config_source(), ConfigSource::File(_)));
    }
}

#[test]
fn the_plain_weights_come_before_a_variant() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let half = serialize(&model.diffusers(Dtype::F16));
    write(folder.path(), "diffusion_pytorch_model.fp16.safetensors", half);
    write(folder.path(), WEIGHTS, serialize(&model.diffusers(Dtype::F32)));
    let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
    assert_eq!(checkpoint.tensor("decoder.conv_in.bias").unwrap().dtype, Stored::F32);
}

/// Splits tensors over shards, and gives the index.
fn write_shards(folder: &Path, tensors: &Tensors, names: &[&str]) -> serde_json::Value {
    let mut shards = vec![Tensors::new(); names.len()];
    let mut map = serde_json::Map::new();
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        shards[index % names.len()].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), names[index % names.len()].into());
    }
    for (name, shard) in names.iter().zip(&shards) {
        write(folder, name, serialize(shard));
    }
    serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map})
}

#[test]
fn shards_are_put_together() {
    let model = Model::default();
    for index_name in [INDEX, "diffusion_pytorch_model.safetensors.index.fp16.json"] {
        let folder = TempDir::new().unwrap();
        let names = ["m-00001-of-00003.safetensors", "m-00002-of-00003.safetensors", "sub/m-3.st"];
        let index = write_shards(folder.path(), &model.diffusers(Dtype::F16), &names);
        write(folder.path(), index_name, index.to_string());
        write(folder.path(), "config.json", model.config_json(4));
        assert_holds(&Checkpoint::open(folder.path(), None).unwrap(), &model);
    }
}

#[test]
fn the_index_decides_between_copies_in_two_shards() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let tensors = model.diffusers(Dtype::F16);
    let index = write_shards(folder.path(), &tensors, &["a.safetensors", "b.safetensors"]);
    write(folder.path(), INDEX, index.to_string());
    // Both shards now hold everything; the values of the wrong copies differ.
    let wrong: Tensors = tensors
        .iter()
        .map(|(name, tensor)| {
            (name.clone(), Tensor { bytes: vec![0; tensor.bytes.len()], ..tensor.clone() })
        })
        .collect();
    for (shard, name) in ["a.safetensors", "b.safetensors"].into_iter().enumerate() {
        let mixed: Tensors = tensors
            .iter()
            .zip(&wrong)
            .enumerate()
            .map(|(index, (right, wrong))| if index % 2 == shard { right } else { wrong })
            .map(|(name, tensor)| (name.clone(), tensor.clone()))
            .collect();
        write(folder.path(), name, serialize(&mixed));
    }
    assert_holds(&Checkpoint::open(folder.path(), None).unwrap(), &model);
}

#[test]
fn a_broken_index_is_explained() {
    let model = Model::default();
    let folder = TempDir::new().unwrap();
    let names = ["a.safetensors", "b.safetensors"];
    let index = write_shards(folder.path(), &model.diffusers(Dtype::F16), &names);
    let assert_refused = |index: &str, expected: &str| {
        write(folder.path(), INDEX, index);
        let error = Checkpoint::open(folder.path(), None).unwrap_err();
        assert!(matches!(error, CheckpointError::Index { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains(INDEX), "{message}");
        assert!(!message.contains('\n'), "{message}");
    };
    assert_refused("{", "it is not JSON");
    assert_refused("[]", "expected an object `weight_map`");
    assert_refused("{\"weight_map\": {}}", "`weight_map` is empty");
    assert_refused("{\"weight_map\": {\"decoder.x\": 3}}", "the shard of \"decoder.x\" is not");
    let swapped = index.to_string().replace("b.safetensors", "a.safetensors");
    assert_refused(&swapped, "lacks decoder.");
    for escape in ["/etc/passwd", "../a.safetensors", "sub/../../a.safetensors", "", "a\\u0000"] {
        let escaping = index.to_string().replace("b.safetensors", escape);
        assert_refused(&escaping, "lies outside the folder");
    }
    let missing = index.to_string().replace("b.safetensors", "c.safetensors");
    assert_refused(&missing, "shard \"c.safetensors\" is missing");
    let many: serde_json::Map<_, _> =
        (0..1025).map(|index| (index.to_string(), index.to_string().into())).collect();
    assert_refused(
        &serde_json::json!({ "weight_map": many }).to_string(),
        "it names 1025 shards, at most 1024",
    );
}

#[test]
fn of_a_larger_checkpoint_only_the_vae_counts() {
    let model = Model::default();
    let odd = || Tensor::new(Dtype::I64, &[1], &[3.0]);
    let mut tensors = model.ldm(Dtype::F16, "first_stage_model.", 2);
    for name in [
        "model.diffusion_model.input_blocks.0.weight",
        "cond_stage_model.x",
        "decoder.unrelated",
        "first_stage_model.encoder.conv_in.weight",
        "first_stage_model.quant_conv.bias",
        "first_stage_model.loss.logvar",
        "first_stage_model.model_ema.decay",
    ] {
        tensors.insert(name.into(), odd());
    }
    assert_holds(&open_bytes(&tensors), &model);

    // `vae.` wins, and the other copy is not looked at.
    let other = Model { layers_per_block: 1, ..model };
    tensors.extend(other.ldm(Dtype::F16, "vae.", 2));
    assert_holds(&open_bytes(&tensors), &other);
}

#[test]
fn weights_in_other_types_are_refused_unless_they_are_the_encoders() {
    let model = Model::default();
    let mut tensors = model.diffusers(Dtype::F16);
    let wide = Tensor::new(Dtype::F64, &[1], &[1.0]);
    tensors.insert("encoder.conv_in.bias".into(), wide.clone());
    assert_holds(&open_bytes(&tensors), &model);

    tensors.insert("decoder.conv_in.bias".into(), wide);
    let integer = Tensor::new(Dtype::I64, &[1], &[1.0]);
    tensors.insert("decoder.conv_out.bias".into(), integer);
    let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`<memory>` holds weights in unsupported types: decoder.conv_in.bias is F64, \
         decoder.conv_out.bias is I64; expected F32, F16, BF16, F8_E4M3 or F8_E5M2, \
         convert it first"
    );
}

#[test]
fn two_tensors_for_one_weight_are_refused() {
    let mut tensors = Model::default().diffusers(Dtype::F16);
    tensors.extend(Model::default().ldm(Dtype::F16, "", 2));
    let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
    assert!(matches!(error, CheckpointError::Duplicate { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("two tensors for decoder."), "{message}");
}

#[test]
fn verify_lists_everything_at_once() {
    let model = Model::default();
    let mut tensors = model.ldm(Dtype::F16, "vae.", 2);
    tensors.remove("vae.decoder.conv_in.bias").unwrap();
    tensors.remove("vae.decoder.up.0.block.1.norm1.weight").unwrap();
    let short = Tensor::new(Dtype::F16, &[3], &[0.0; 3]);
    tensors.insert("vae.post_quant_conv.bias".into(), short.clone());
    tensors.insert("vae.decoder.up.0.odd.weight".into(), short.clone());
    tensors.insert("vae.epoch".into(), short);
    let checkpoint = open_bytes(&tensors);
    let expected = model.expected();
    let error = checkpoint.verify(borrowed(&expected)).unwrap_err();
    assert_eq!(
        error.missing,
        ["decoder.conv_in.bias", "decoder.up_blocks.2.resnets.1.norm1.weight"]
    );
    assert_eq!(error.extra, ["vae.decoder.up.0.odd.weight"]);
    let [odd] = &*error.misshapen else { panic!("{error}") };
    assert_eq!(
        (odd.name.as_str(), &odd.expected, &odd.found),
        ("post_quant_conv.bias", &vec![4], &vec![3])
    );
    assert_eq!(
        error.to_string(),
        format!(
            "`<memory>` does not hold the decoder that the config inferred from some of its shapes \
             describes: 2 of {} weights missing (decoder.conv_in.bias, \
             decoder.up_blocks.2.resnets.1.norm1.weight), 1 unexpected \
             (vae.decoder.up.0.odd.weight), 1 misshapen (post_quant_conv.bias is [3], expected \
             [4]); such a decoder is not supported",
            expected.len()
        )
    );
}

#[test]
fn one_difference_of_any_kind_is_enough() {
    let model = Model::default();
    let checkpoint = open_bytes(&model.diffusers(Dtype::F16));
    let counts = |expected: &[(String, Vec<usize>)]| {
        let error = checkpoint.verify(borrowed(expected)).unwrap_err();
        [error.missing.len(), error.extra.len(), error.misshapen.len()]
    };
    let expected = model.expected();
    assert_eq!(counts(&expected[1..]), [0, 1, 0]);
    let mut longer = expected.clone();
    longer.push(("decoder.more".into(), vec![1]));
    assert_eq!(counts(&longer), [1, 0, 0]);
    let mut misshapen = expected.clone();
    misshapen[0].1.reverse();
    misshapen[0].1.push(1);
    assert_eq!(counts(&misshapen), [0, 0, 1]);
}

#[test]
fn long_lists_are_cut_in_the_message_only() {
    let model = Model::default();
    let checkpoint = open_bytes(&model.diffusers(Dtype::F16));
    let expected: Vec<_> = (0..20).map(|index| (format!("w{index:02}"), vec![1])).collect();
    let error = checkpoint.verify(borrowed(&expected)).unwrap_err();
    assert_eq!((error.missing.len(), error.extra.len()), (20, model.weights().len()));
    let message = error.to_string();
    assert!(message.contains("w11 and 8 more)"), "{message}");
    assert!(message.contains(&format!(" and {} more)", model.weights().len() - 12)), "{message}");
}

#[test]
fn paths_that_are_no_checkpoint_are_explained() {
    let folder = TempDir::new().unwrap();
    let message = |path: &Path| Checkpoint::open(path, None).unwrap_err().to_string();
    let absent = folder.path().join("absent");
    assert!(message(&absent).starts_with(&format!("cannot read `{}`: ", absent.display())));
    let empty = message(folder.path());
    assert!(empty.contains("has no weights; expected a folder with"), "{empty}");
    assert!(empty.ends_with(", but it is empty"), "{empty}");

    let model = Model::default();
    let weights = write(folder.path(), "x.safetensors", serialize(&model.diffusers(Dtype::F16)));
    let config = folder.path().join("absent.json");
    let error = Checkpoint::open(&weights, Some(&config)).unwrap_err();
    assert!(matches!(&error, CheckpointError::Io { path, .. } if *path == config), "{error}");
    let error = Checkpoint::open(&weights, Some(folder.path())).unwrap_err();
    assert!(error.to_string().ends_with("it is a folder, not a file"), "{error}");
}

#[test]
fn the_config_of_another_model_says_so_first() {
    for with_weights in [false, true] {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "vae/config.json", "{\"_class_name\": \"AutoencoderKLMochi\"}");
        if with_weights {
            write(folder.path(), &format!("vae/{WEIGHTS}"), "damaged as well");
        }
        let error = Checkpoint::open(folder.path(), None).unwrap_err();
        let is_class = matches!(
            &error,
            CheckpointError::Config { source: ConfigError::Class { found, .. }, .. }
                if found == "\"AutoencoderKLMochi\""
        );
        assert!(is_class, "{error}");
    }
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

#[test]
fn the_demo_vae_is_opened() {
    let checkpoint = Checkpoint::open(&demo_vae().join("vae"), None).unwrap();
    let config = kl_config(&checkpoint);
    assert_eq!(config.block_out_channels, [32, 64, 96, 96]);
    assert_eq!((config.norm_num_groups, config.latent_channels), (16, 16));
    assert_eq!((config.scale(), config.sample_size), (8, [256, 256]));
    assert_eq!(checkpoint.tensor("decoder.conv_in.weight").unwrap().dtype, Stored::Bf16);
    let model = Model {
        latent_channels: 16,
        block_out_channels: vec![32, 64, 96, 96],
        layers_per_block: 1,
        post_quant_conv: false,
        attention: true,
    };
    checkpoint.verify(borrowed(&model.expected())).unwrap();
    let names: Vec<_> = checkpoint.names().map(str::to_owned).collect();
    for name in &names {
        let finite = read(&checkpoint, name).iter().all(|value| value.is_finite());
        assert!(finite, "{name}");
    }
    // The pipeline's folder around it is one, too.
    let outer = Checkpoint::open(&demo_vae(), None).unwrap();
    assert_eq!(outer.config(), checkpoint.config());
}
