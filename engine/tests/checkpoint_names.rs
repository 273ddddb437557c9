//! What converters called the weights of attention, and where they put the VAE.

mod checkpoint_common;

use checkpoint_common::{
    LDM, Model, Tensor, Tensors, assert_holds, borrowed, kl_config, open_bytes, serialize,
};
use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, CheckpointError, Naming};
use safetensors::Dtype;

const PREFIXES: [&str; 5] =
    ["", "first_stage_model.", "vae.", "model.", "model.first_stage_model."];
/// Norm, query, key, value and output, as LDM, diffusers, and older diffusers call them.
const PARTS: [[&str; 5]; 3] = [
    ["norm", "q", "k", "v", "proj_out"],
    ["group_norm", "to_q", "to_k", "to_v", "to_out.0"],
    ["group_norm", "query", "key", "value", "proj_attn"],
];

/// The attention's parts under other names.
fn with_parts(tensors: &Tensors, from: [&str; 5], to: [&str; 5]) -> Tensors {
    let renamed = tensors.iter().map(|(name, tensor)| {
        let mut renamed = name.clone();
        for module in ["attn_1", "attentions.0"] {
            for (from, to) in from.iter().zip(to) {
                renamed =
                    renamed.replace(&format!(".{module}.{from}."), &format!(".{module}.<{to}>."));
            }
        }
        (renamed.replace(['<', '>'], ""), tensor.clone())
    });
    renamed.collect()
}

#[test]
fn a_stray_tensor_under_a_usual_prefix_hides_no_vae() {
    let model = Model::default();
    for stray in ["vae.decoder.x", "first_stage_model.decoder.x"] {
        for prefix in PREFIXES {
            let mut tensors = model.ldm(Dtype::F32, prefix, 0);
            // What is under the VAE's own prefix is of the decoder, and nothing reads it.
            if stray.strip_suffix("decoder.x") == Some(prefix) {
                continue;
            }
            tensors.insert(stray.into(), Tensor::new(Dtype::F32, &[1], &[0.0]));
            let checkpoint = open_bytes(&tensors);
            assert_eq!(checkpoint.prefix(), prefix, "{stray}");
            assert_holds(&checkpoint, &model);
        }
    }
}

#[test]
fn attention_is_read_whatever_its_parts_are_called() {
    let model = Model::default();
    let plain = open_bytes(&model.diffusers(Dtype::F32));
    for prefix in PREFIXES {
        for ones in [0, 1, 2] {
            let ldm = model.ldm(Dtype::F32, prefix, ones);
            for to in PARTS {
                let checkpoint = open_bytes(&with_parts(&ldm, PARTS[0], to));
                assert_eq!((checkpoint.naming(), checkpoint.prefix()), (LDM, prefix));
                assert_holds(&checkpoint, &model);
                assert_eq!(checkpoint.config(), plain.config());
                assert!(checkpoint.ignored().is_empty());
            }
        }
    }
    let diffusers = model.diffusers(Dtype::F32);
    for to in PARTS {
        let checkpoint = open_bytes(&with_parts(&diffusers, PARTS[1], to));
        assert_eq!(checkpoint.naming(), Naming::Diffusers);
        assert_holds(&checkpoint, &model);
        assert_eq!(checkpoint.config(), plain.config());
    }
}

/// Some converters renamed a part of the file only.
#[test]
fn names_of_several_kinds_in_one_file_are_read() {
    let model = Model::default();
    let [diffusers, ldm] = [model.diffusers(Dtype::F32), model.ldm(Dtype::F32, "", 2)];
    let weights = model.weights();
    for period in 2..5 {
        let mixed = weights.iter().enumerate().map(|(index, weight)| {
            let (names, name) = match index % period {
                0 => (&ldm, &weight.ldm),
                _ => (&diffusers, &weight.diffusers),
            };
            (name.clone(), names[name].clone())
        });
        assert_holds(&open_bytes(&mixed.collect()), &model);
    }
}

#[test]
fn one_part_under_two_names_is_refused() {
    let mut tensors = Model::default().ldm(Dtype::F32, "", 2);
    let query = tensors["decoder.mid.attn_1.q.weight"].clone();
    tensors.insert("decoder.mid.attn_1.to_q.weight".into(), query);
    let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
    assert!(matches!(error, CheckpointError::Duplicate { .. }), "{error}");
}

/// Where something of attention is there, its absence is never inferred.
#[test]
fn attention_under_an_unknown_name_is_not_left_out() {
    let model = Model::default();
    let ldm = model.ldm(Dtype::F32, "", 2);
    let diffusers = model.diffusers(Dtype::F32);
    for (tensors, module, other) in [
        (&ldm, "mid.attn_1.", "mid.attn_1.f_"),
        (&ldm, "mid.attn_1.", "mid.attention."),
        (&diffusers, "mid_block.attentions.0.", "mid_block.attentions.1."),
        (&diffusers, "mid_block.attentions.0.", "mid_block.attn."),
    ] {
        let renamed =
            tensors.iter().map(|(name, tensor)| (name.replace(module, other), tensor.clone()));
        let checkpoint = open_bytes(&renamed.collect());
        assert!(kl_config(&checkpoint).mid_block_add_attention, "{other}");
        let expected = model.expected();
        let error = checkpoint.verify(borrowed(&expected)).unwrap_err();
        assert_eq!((error.missing.len(), error.extra.len()), (10, 10), "{error}");
        assert!(error.to_string().ends_with("such a decoder is not supported"), "{error}");
    }
}

/// Encoder and decoder of a model have attention both or not at all.
#[test]
fn attention_of_the_encoder_alone_is_a_file_with_a_hole() {
    let model = Model { attention: false, ..Model::default() };
    let one = || Tensor::new(Dtype::F32, &[1], &[0.0]);
    for (name, attention) in [
        ("encoder.mid.attn_1.q.weight", true),
        ("encoder.mid_block.attentions.0.query.weight", true),
        ("encoder.mid.block_1.conv1.weight", false),
        ("encoder.down.3.attn.0.q.weight", false),
    ] {
        let mut tensors = model.ldm(Dtype::F32, "vae.", 2);
        tensors.insert(format!("vae.{name}"), one());
        let checkpoint = open_bytes(&tensors);
        assert_eq!(kl_config(&checkpoint).mid_block_add_attention, attention, "{name}");
        if attention {
            let whole = Model::default().expected();
            let error = checkpoint.verify(borrowed(&whole)).unwrap_err();
            assert_eq!((error.missing.len(), error.extra.len()), (10, 0));
            assert!(error.to_string().ends_with("the file is incomplete, fetch it again"));
        }
    }
}

#[test]
fn several_vaes_are_listed() {
    let model = Model::default();
    let mut tensors = model.ldm(Dtype::F16, "model.", 2);
    tensors.extend(model.ldm(Dtype::F16, "ema.", 2));
    let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`<memory>` holds several VAEs, under `ema.`, `model.`; expected one: save it to a file of \
         its own"
    );
    // Beside a VAE that is the file's own, copies are other models.
    tensors.extend(model.ldm(Dtype::F16, "", 2));
    assert_holds(&open_bytes(&tensors), &model);
}

/// What a training leaves behind does not matter; what is inside the decoder does.
#[test]
fn what_is_unknown_outside_the_decoder_is_ignored() {
    let model = Model::default();
    let known = [
        "encoder.conv_in.bias",
        "quant_conv.bias",
        "loss.logvar",
        "loss.discriminator.main.0.weight",
        "model_ema.decay",
        "scaled_fp8",
    ];
    let unknown =
        ["discriminator.main.0.weight", "epoch", "global_step", "logvar", "scale\u{1b}[m"];
    for prefix in ["", "first_stage_model.", "vae."] {
        let mut tensors = model.ldm(Dtype::F16, prefix, 2);
        for name in known.into_iter().chain(unknown) {
            tensors.insert(format!("{prefix}{name}"), Tensor::new(Dtype::I64, &[1], &[3.0]));
        }
        let checkpoint = open_bytes(&tensors);
        assert_holds(&checkpoint, &model);
        assert_eq!(checkpoint.ignored(), unknown.map(|name| format!("{prefix}{name}")));

        let inside = format!("{prefix}decoder.epoch");
        tensors.insert(inside.clone(), Tensor::new(Dtype::F16, &[1], &[3.0]));
        let checkpoint = open_bytes(&tensors);
        let expected = model.expected();
        let error = checkpoint.verify(borrowed(&expected)).unwrap_err();
        assert_eq!(error.extra, [inside]);
    }
}

#[test]
fn advice_depends_on_where_the_config_is_from() {
    let tensors = Model::default().diffusers(Dtype::F32);
    let checkpoint = |config| Checkpoint::from_bytes(serialize(&tensors), config).unwrap();
    let given = checkpoint(Some(AutoencoderKlConfig::default().into()));
    let inferred = checkpoint(None);
    let advice = |checkpoint: &Checkpoint, expected: &[(String, Vec<usize>)]| {
        checkpoint.verify(borrowed(expected)).unwrap_err().to_string()
    };
    let expected = Model::default().expected();
    let more = [&expected[..], &[("decoder.more".into(), vec![1])]].concat();
    for (checkpoint, incomplete, other) in [
        (
            &given,
            "fetch the weights again, or give the config that belongs to them",
            "give the config that belongs to these weights, if they are an AutoencoderKL's",
        ),
        (&inferred, "the file is incomplete, fetch it again", "such a decoder is not supported"),
    ] {
        let error = advice(checkpoint, &more);
        assert!(error.contains("1 of ") && error.ends_with(incomplete), "{error}");
        let error = advice(checkpoint, &expected[1..]);
        assert!(error.contains("1 unexpected") && error.ends_with(other), "{error}");
    }
}
