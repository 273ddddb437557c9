//! Models that are not supported are named, by what is in their files.

mod checkpoint_common;

use checkpoint_common::{Model, Tensor, Tensors, assert_holds, open_bytes, serialize};
use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, CheckpointError};
use safetensors::Dtype;

fn tensor(shape: &[usize]) -> Tensor {
    Tensor::new(Dtype::F16, shape, &vec![0.0; shape.iter().product()])
}

/// The model that is named for a file, with a config and without, and the tensor that tells it.
#[track_caller]
fn named(tensors: &Tensors) -> (&'static str, String) {
    let mut found = [None, Some(AutoencoderKlConfig::default().into())].map(|config| {
        match Checkpoint::from_bytes(serialize(tensors), config) {
            Err(error @ CheckpointError::Unsupported { .. }) => {
                let message = error.to_string();
                assert!(message.contains("that is not supported, only AutoencoderKL"));
                assert!(!message.contains("give the config"), "{message}");
                let CheckpointError::Unsupported { models, evidence, .. } = error else {
                    unreachable!()
                };
                assert!(message.contains(models) && message.contains(&evidence), "{message}");
                (models, evidence)
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(found[0], found[1]);
    std::mem::take(&mut found[0])
}

/// What a model has beside the weights of an AutoencoderKL, by names as they are in its files.
const BESIDE: [(&str, &str, &[usize]); 8] = [
    ("vector-quantized", "quantize.embedding.weight", &[8, 4]),
    ("asymmetric", "decoder.condition_encoder.layers.0.weight", &[8, 3, 3, 3]),
    ("Stable Video Diffusion", "decoder.time_conv_out.weight", &[3, 3, 3, 1, 1]),
    ("Stable Video Diffusion", "decoder.mid.block_1.time_stack.in_layers.0.bias", &[8]),
    ("attention in its levels", "decoder.up.4.attn.0.q.weight", &[8, 8, 1, 1]),
    ("attention in its levels", "decoder.up_blocks.0.attentions.2.to_q.weight", &[8, 8]),
    ("Allegro", "decoder.temp_conv_in.weight", &[8, 8, 3, 1, 1]),
    ("CogVideoX", "decoder.mid_block.resnets.0.norm1.conv_y.conv.weight", &[8, 4, 1, 1, 1]),
];

#[test]
fn a_model_with_more_than_ours_is_named_by_it() {
    for (models, name, shape) in BESIDE {
        for prefix in ["", "first_stage_model.", "vae.", "model."] {
            let mut tensors = Model::default().ldm(Dtype::F16, prefix, 2);
            let name = format!("{prefix}{name}");
            tensors.insert(name.clone(), tensor(shape));
            let (found, evidence) = named(&tensors);
            assert!(found.contains(models), "{name}: {found}");
            assert_eq!(evidence, name);
        }
    }
}

/// A VAE under a prefix is not judged by the other models of its file.
#[test]
fn names_of_other_models_are_no_evidence() {
    let model = Model::default();
    let mut tensors = model.ldm(Dtype::F16, "first_stage_model.", 2);
    for (_, name, shape) in BESIDE {
        tensors.insert(name.into(), tensor(shape));
        tensors.insert(format!("model.diffusion_model.{name}"), tensor(shape));
    }
    assert_holds(&open_bytes(&tensors), &model);
}

/// Tensors of decoders that have nothing of ours.
#[test]
fn other_decoders_are_named() {
    let flat = |names: &[(&str, &[usize])]| -> Tensors {
        names.iter().map(|&(name, shape)| (name.to_owned(), tensor(shape))).collect()
    };
    for (models, names) in [
        ("vector-quantized", &[("vquantizer.codebook.weight", &[8, 4][..])][..]),
        ("consistency decoder", &[("decoder_unet.conv_in.weight", &[8, 7, 3, 3])]),
        ("tiny", &[("decoder.layers.0.weight", &[8, 4, 3, 3])]),
        ("tiny", &[("decoder.1.weight", &[8, 4, 3, 3]), ("encoder.0.weight", &[8, 3, 3, 3])]),
        ("tiny", &[("taesd_decoder.1.weight", &[8, 4, 3, 3])]),
        ("sound", &[("decoder.layers.1.layers.0.beta", &[8])]),
        (
            "HunyuanVideo 1.5",
            &[
                ("decoder.conv_in.conv.weight", &[8, 4, 3, 3, 3]),
                ("decoder.mid_block.resnets.0.norm1.gamma", &[8, 1, 1, 1]),
            ],
        ),
        (
            "HunyuanVideo",
            &[
                ("decoder.conv_in.conv.weight", &[8, 4, 3, 3, 3]),
                ("decoder.mid.attn_1.q.weight", &[8, 8, 1, 1, 1]),
            ],
        ),
        (
            "HunyuanImage 3",
            &[
                ("decoder.conv_in.weight", &[8, 4, 3, 3, 3]),
                ("decoder.up.0.upsample.conv.weight", &[32, 8, 3, 3, 3]),
            ],
        ),
        ("Mochi", &[("decoder.blocks.2.blocks.3.stack.5.weight", &[8, 8, 3, 3, 3])]),
        ("Cosmos", &[("decoder.unpatcher3d.wavelets", &[2])]),
        ("deep compression", &[("decoder.stages.0.op_list.0.main.conv.conv.weight", &[8])]),
        ("deep compression", &[("decoder.up_blocks.0.0.conv1.weight", &[8, 8, 3, 3])]),
        ("video", &[("decoder.conv_in.weight", &[8, 4, 3, 3, 3])]),
        ("video", &[("decoder.conv_in.conv.weight", &[8, 4, 3, 3, 3])]),
    ] {
        let (found, _) = named(&flat(names));
        assert!(found.contains(models), "{names:?}: {found}");
    }
}
