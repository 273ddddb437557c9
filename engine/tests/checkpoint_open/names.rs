//! Names of weights: both namings, and the VAE among the tensors of a larger checkpoint.

use halovae_engine::checkpoint::{Checkpoint, CheckpointError, Naming};
use safetensors::Dtype;

use crate::checkpoint_common::{LDM, Model, Tensor, assert_holds, open_bytes, serialize};
use crate::models;

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
fn two_tensors_for_one_weight_are_refused() {
    let mut tensors = Model::default().diffusers(Dtype::F16);
    tensors.extend(Model::default().ldm(Dtype::F16, "", 2));
    let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
    assert!(matches!(error, CheckpointError::Duplicate { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("two tensors for decoder."), "{message}");
}
