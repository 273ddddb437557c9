//! What a checkpoint of a whole model tells of how its latents are scaled, and what it does not.

mod checkpoint_common;

use checkpoint_common::{Model, Tensor, Tensors, kl_config, serialize};
use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, CheckpointError};
use safetensors::Dtype;

/// A decoder in LDM naming with these tensors beside it.
fn tensors(latent_channels: usize, names: &[&str]) -> Tensors {
    let model = Model {
        latent_channels,
        post_quant_conv: latent_channels == 4,
        block_out_channels: vec![32, 64],
        layers_per_block: 1,
        attention: false,
    };
    let mut tensors = model.ldm(Dtype::F16, "first_stage_model.", 2);
    for name in names {
        tensors.insert((*name).into(), Tensor::new(Dtype::F16, &[1], &[0.0]));
    }
    tensors
}

fn open(tensors: &Tensors) -> Checkpoint {
    Checkpoint::from_bytes(serialize(tensors), None).unwrap()
}

/// That nothing is told: no model, and no way for a pipeline's latents.
#[track_caller]
fn assert_untold(latent_channels: usize, names: &[&str]) {
    let error = untold(latent_channels, names, &[]);
    assert!(error.starts_with("nothing in "), "{names:?}: {error}");
}

/// The same, because parts of these models are there that do not go together.
#[track_caller]
fn assert_contradicting(latent_channels: usize, names: &[&str], expected: &[&str]) {
    let error = untold(latent_channels, names, expected);
    let is_told = expected.iter().all(|model| error.contains(model));
    assert!(error.contains("contradict each other") && is_told, "{names:?}: {error}");
}

/// What the error says, which names these models.
#[track_caller]
fn untold(latent_channels: usize, names: &[&str], expected: &[&str]) -> String {
    let checkpoint = open(&tensors(latent_channels, names));
    assert_eq!(checkpoint.model(), None, "{names:?}");
    assert!(checkpoint.guessed().contains(&"scaling_factor"), "{names:?}");
    let error = checkpoint.latent_space().unwrap_err();
    let message = error.to_string();
    assert!(message.contains("give the config.json"), "{message}");
    match error {
        CheckpointError::UntoldSpace { models, .. } => assert_eq!(models, expected, "{names:?}"),
        other => panic!("{names:?}: {other}"),
    }
    message
}

/// Scaling and shift.
type Factors = (f32, f32);
/// The model, channels of its latents, names beside the VAE, and what is told.
type Case<'a> = (&'a str, usize, &'a [&'a str], Factors);

const SD: Factors = (0.18215, 0.0);
const SDXL: Factors = (0.13025, 0.0);
const FLUX: Factors = (0.3611, 0.1159);

#[test]
fn names_beside_the_vae_tell_the_model() {
    let cases: [Case; 19] = [
        (
            "SD 1.x or 2.x",
            4,
            &["cond_stage_model.transformer.text_model.final_layer_norm.bias"],
            SD,
        ),
        ("SD 1.x or 2.x", 4, &["cond_stage_model.model.ln_final.bias"], SD),
        // SD 2 as newer tools write it: the names of SDXL's refiner, so the UNet tells.
        (
            "SD 1.x or 2.x",
            4,
            &[
                "conditioner.embedders.0.model.ln_final.bias",
                "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.norm1.bias",
            ],
            SD,
        ),
        (
            "the x4 upscaler of SD 2",
            4,
            &["cond_stage_model.model.ln_final.bias", "low_scale_model.betas"],
            (0.08333, 0.0),
        ),
        (
            "the x4 upscaler of SD 2",
            4,
            &[
                "cond_stage_model.model.ln_final.bias",
                "model.diffusion_model.input_blocks.10.0.skip_connection.bias",
            ],
            (0.08333, 0.0),
        ),
        (
            "SDXL",
            4,
            &[
                "conditioner.embedders.0.transformer.x",
                "conditioner.embedders.1.model.ln_final.bias",
            ],
            SDXL,
        ),
        // Without text encoders, and its refiner.
        (
            "SDXL",
            4,
            &[
                "model.diffusion_model.input_blocks.7.1.transformer_blocks.0.norm1.bias",
                "model.diffusion_model.input_blocks.7.1.transformer_blocks.1.norm1.bias",
            ],
            SDXL,
        ),
        ("AuraFlow", 4, &["model.double_layers.0.attn.w1q.weight"], SDXL),
        (
            "SD 3",
            16,
            &["model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight"],
            (1.5305, 0.0609),
        ),
        ("SD 3", 16, &["joint_blocks.0.x_block.attn.qkv.weight"], (1.5305, 0.0609)),
        ("FLUX.1", 16, &["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], FLUX),
        ("FLUX.1", 16, &["double_blocks.0.img_attn.qkv.weight", "guidance_in.in_layer.bias"], FLUX),
        (
            "Chroma",
            16,
            &[
                "model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
                "model.diffusion_model.distilled_guidance_layer.in_proj.bias",
            ],
            FLUX,
        ),
        (
            "HiDream",
            16,
            &["model.diffusion_model.double_stream_blocks.0.block.attn1.to_q.weight"],
            FLUX,
        ),
        (
            "Lumina 2 or Z-Image",
            16,
            &["model.diffusion_model.noise_refiner.0.attention.qkv.weight"],
            FLUX,
        ),
        ("SDXL", 4, &["conditioner.embedders.1.model.logit_scale", "v_pred", "ztsnr"], SDXL),
        ("SD 3", 16, &["joint_blocks.9.x", "text_encoders.clip_g.x", "vae.odd"], (1.5305, 0.0609)),
        ("FLUX.1", 16, &["double_blocks.0.x", "text_encoders.t5xxl.x"], FLUX),
        ("SD 1.x or 2.x", 4, &["cond_stage_model.transformer.x", "model_ema.decay"], SD),
    ];
    for (model, channels, names, (scaling, shift)) in cases {
        let checkpoint = open(&tensors(channels, names));
        assert_eq!(checkpoint.model(), Some(model), "{names:?}");
        let space = checkpoint.latent_space().unwrap();
        assert_eq!((space.scaling_factor, space.shift_factor), (scaling, shift), "{names:?}");
        assert_eq!(space.mean_and_std, None, "{names:?}");
        let is_sd = scaling == 0.18215 || scaling == 0.08333;
        let left: &[&str] = if is_sd { &["sample_size"] } else { &[] };
        assert_eq!(checkpoint.guessed(), left, "{names:?}");
        let sample_size = if is_sd { 512 } else { 1024 };
        assert_eq!(kl_config(&checkpoint).sample_size, [sample_size; 2], "{names:?}");
    }
}

#[test]
fn playgrounds_mean_and_deviation_are_read_from_the_file() {
    const MEAN: [f32; 4] = [-1.6574, 1.886, -1.383, 2.5155];
    const STD: [f32; 4] = [8.4927, 5.9022, 6.5498, 5.2299];
    let mut file = tensors(4, &["conditioner.embedders.1.model.ln_final.bias"]);
    for shape in [&[4][..], &[1, 4, 1, 1]] {
        file.insert("edm_mean".into(), Tensor::new(Dtype::F32, shape, &MEAN));
        file.insert("edm_std".into(), Tensor::new(Dtype::F32, shape, &STD));
        let checkpoint = open(&file);
        assert_eq!(checkpoint.model(), Some("Playground 2.5"));
        let space = checkpoint.latent_space().unwrap();
        assert_eq!(space.scaling_factor, 0.5);
        assert_eq!(space.mean_and_std, Some((MEAN.to_vec(), STD.to_vec())));
        // As the model's config.json has them.
        let config = kl_config(&checkpoint);
        assert_eq!(config.latents_mean, Some(vec![-1.6574, 1.886, -1.383, 2.5155]));
        assert!(checkpoint.guessed().is_empty());
    }
    // One alone, or for other channels: neither Playground nor SDXL.
    for change in [
        |file: &mut Tensors| drop(file.remove("edm_std")),
        |file: &mut Tensors| {
            file.insert("edm_std".into(), Tensor::new(Dtype::F32, &[3], &[1.0; 3]));
        },
        |file: &mut Tensors| {
            file.insert("edm_mean".into(), Tensor::new(Dtype::I64, &[4], &[1.0; 4]));
        },
    ] {
        let mut file = file.clone();
        change(&mut file);
        let checkpoint = open(&file);
        assert_eq!(checkpoint.model(), None);
        assert!(checkpoint.latent_space().is_err());
    }
}

#[test]
fn what_does_not_tell_is_not_taken_for_something() {
    for channels in [4, 16] {
        assert_untold(channels, &[]);
        assert_untold(channels, &["model.diffusion_model.out.2.weight", "model_ema.decay"]);
    }
    let double = "model.diffusion_model.double_blocks.0.img_attn.qkv.weight";
    // FLUX.2, HunyuanVideo, Chroma's variant without a VAE.
    assert_untold(16, &[double, "model.diffusion_model.double_stream_modulation_img.lin.weight"]);
    assert_untold(
        16,
        &[double, "model.diffusion_model.txt_in.individual_token_refiner.blocks.0.norm1.weight"],
    );
    assert_untold(
        16,
        &[
            double,
            "model.diffusion_model.distilled_guidance_layer.in_proj.bias",
            "model.diffusion_model.nerf_image_embedder.embedder.0.weight",
        ],
    );
    // SV3D, whose conditioner holds a VAE.
    assert_untold(4, &["conditioner.embedders.1.encoder.encoder.conv_in.weight"]);
}

#[test]
fn parts_that_do_not_go_together_are_told_with_their_models() {
    let double = "model.diffusion_model.double_blocks.0.img_attn.qkv.weight";
    let joint = "model.diffusion_model.joint_blocks.0.x";
    let sdxl = "conditioner.embedders.1.model.ln_final.bias";
    // The latents of another model than the names tell.
    assert_contradicting(16, &[sdxl], &["SDXL"]);
    assert_contradicting(4, &[double], &["FLUX.1"]);
    // Several models at once.
    assert_contradicting(16, &[double, joint], &["SD 3", "FLUX.1"]);
    let sd = "cond_stage_model.transformer.x";
    assert_contradicting(4, &[sd, sdxl], &["SD 1.x or 2.x", "SDXL"]);
    assert_contradicting(4, &[sd, sdxl, joint], &["SD 1.x or 2.x", "SDXL", "SD 3"]);
}

#[test]
fn a_config_tells_instead() {
    let bytes = serialize(&tensors(4, &["conditioner.embedders.1.model.ln_final.bias"]));
    let config = AutoencoderKlConfig {
        block_out_channels: vec![32, 64],
        scaling_factor: 0.5,
        mid_block_add_attention: false,
        ..AutoencoderKlConfig::default()
    };
    let checkpoint = Checkpoint::from_bytes(bytes, Some(config.into())).unwrap();
    assert_eq!(checkpoint.latent_space().unwrap().scaling_factor, 0.5);
    assert!(checkpoint.guessed().is_empty() && checkpoint.model().is_none());
}
