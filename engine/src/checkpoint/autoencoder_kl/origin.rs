//! Which model a VAE is part of, from the names of the tensors beside it.
//!
//! VAEs of one shape differ in how their pipelines scale latents, and nothing in the VAE's own
//! weights says how. A checkpoint of a whole model does: its diffusion model and its text encoders
//! have names that no other model has.

use super::space::SD3_SHIFT_FACTOR;
use crate::checkpoint::tensors::RawTensor;
use crate::files::storage::Storage;

/// Where a diffusion model's names begin: in checkpoints of LDM and ComfyUI, of AuraFlow, bare.
const PREFIXES: [&str; 3] = ["model.diffusion_model.", "model.", ""];

/// The model that a VAE is part of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Origin {
    /// The model, for messages.
    pub(crate) model: &'static str,
    /// Channels of its latents. A VAE with others is not that model's.
    pub(crate) latent_channels: u32,
    /// Its `sample_size`, unless models of those names differ in it.
    pub(crate) sample_size: Option<u32>,
    pub(crate) scaling_factor: f64,
    pub(crate) shift_factor: f64,
    /// Mean and standard deviation per channel, where the checkpoint holds them.
    pub(crate) mean_and_std: Option<(Vec<f64>, Vec<f64>)>,
}

/// What the tensors beside a VAE tell of the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Evidence {
    Nothing,
    Model(Origin),
    /// There are parts of these models, which do not go together; of one, if the VAE is not its.
    Contradiction(Vec<&'static str>),
}

impl Evidence {
    /// What is told of a VAE whose latents have so many channels.
    pub(crate) fn of_vae(self, latent_channels: u32) -> Self {
        match self {
            Self::Model(origin) if origin.latent_channels != latent_channels => {
                Self::Contradiction(vec![origin.model])
            }
            evidence => evidence,
        }
    }
}

/// What tells a model.
struct Signs {
    model: &'static str,
    latent_channels: u32,
    sample_size: Option<u32>,
    scaling_factor: f64,
    shift_factor: f64,
    /// Beginnings of names; one tensor of such a name tells the model...
    any: &'static [&'static str],
    /// ...unless there is one of these.
    never: &'static [&'static str],
}

/// Tensors of mean and standard deviation.
const MEAN_AND_STD: [&str; 2] = ["edm_mean", "edm_std"];

const MODELS: [Signs; 10] = [
    Signs {
        model: "SD 1.x or 2.x",
        latent_channels: 4,
        // 512 or 768.
        sample_size: None,
        scaling_factor: 0.18215,
        shift_factor: 0.0,
        any: &[
            "cond_stage_model.transformer.",
            "cond_stage_model.model.",
            // Without text encoders: no other UNet attends at the picture's own level.
            "input_blocks.1.1.transformer_blocks.",
        ],
        never: UPSCALER,
    },
    Signs {
        model: "the x4 upscaler of SD 2",
        latent_channels: 4,
        sample_size: None,
        scaling_factor: 0.08333,
        shift_factor: 0.0,
        any: UPSCALER,
        never: &[],
    },
    Signs {
        model: "SDXL",
        latent_channels: 4,
        sample_size: Some(1024),
        scaling_factor: 0.13025,
        shift_factor: 0.0,
        // `conditioner.embedders.0.model.` is the refiner's, but also that of SD 2 in newer files.
        any: &["conditioner.embedders.1.", "input_blocks.7.1.transformer_blocks.1."],
        // Playground 2.5 is an SDXL but for its latents; SV3D keeps a VAE among its conditioners.
        never: &[MEAN_AND_STD[0], MEAN_AND_STD[1], "conditioner.embedders.1.encoder."],
    },
    Signs {
        model: "Playground 2.5",
        latent_channels: 4,
        sample_size: Some(1024),
        scaling_factor: 0.5,
        shift_factor: 0.0,
        any: &MEAN_AND_STD,
        never: &[],
    },
    Signs {
        model: "AuraFlow",
        latent_channels: 4,
        sample_size: Some(1024),
        scaling_factor: 0.13025,
        shift_factor: 0.0,
        any: &["double_layers."],
        never: &[],
    },
    Signs {
        model: "SD 3",
        latent_channels: 16,
        sample_size: Some(1024),
        scaling_factor: 1.5305,
        shift_factor: SD3_SHIFT_FACTOR,
        any: &["joint_blocks."],
        never: &[],
    },
    // All that follow have the VAE of FLUX.1.
    Signs {
        model: "FLUX.1",
        any: &["double_blocks."],
        never: &[CHROMA, HIDREAM, FLUX_2, HUNYUAN],
        ..WITH_VAE_OF_FLUX_1
    },
    Signs {
        model: "Chroma",
        any: &[CHROMA],
        // Its variant without a VAE.
        never: &["nerf_", FLUX_2, HUNYUAN],
        ..WITH_VAE_OF_FLUX_1
    },
    Signs { model: "HiDream", any: &[HIDREAM], ..WITH_VAE_OF_FLUX_1 },
    Signs { model: "Lumina 2 or Z-Image", any: &["noise_refiner."], ..WITH_VAE_OF_FLUX_1 },
];

const WITH_VAE_OF_FLUX_1: Signs = Signs {
    model: "FLUX.1",
    latent_channels: 16,
    sample_size: Some(1024),
    scaling_factor: 0.3611,
    shift_factor: 0.1159,
    any: &[],
    never: &[],
};

const UPSCALER: &[&str] = &["low_scale_model.", "input_blocks.10.0.skip_connection."];
const CHROMA: &str = "distilled_guidance_layer.";
const HIDREAM: &str = "double_stream_blocks.";
/// FLUX.2 has `double_blocks`, too, but another VAE.
const FLUX_2: &str = "double_stream_modulation_";
/// So have HunyuanVideo and HunyuanImage.
const HUNYUAN: &str = "txt_in.individual_token_refiner.";

/// What `tensors` tell.
pub(crate) fn find(tensors: &[RawTensor], files: &[Storage]) -> Evidence {
    let has = |sign: &&str| tensors.iter().any(|tensor| begins(&tensor.name, sign));
    let told = |signs: &&Signs| signs.any.iter().any(has) && !signs.never.iter().any(has);
    let models: Vec<_> = MODELS.iter().filter(told).collect();
    match models[..] {
        [] => Evidence::Nothing,
        [signs] => origin(signs, tensors, files).map_or(Evidence::Nothing, Evidence::Model),
        _ => Evidence::Contradiction(models.iter().map(|signs| signs.model).collect()),
    }
}

/// `None` if there should be a mean and a deviation and they cannot be read.
fn origin(signs: &Signs, tensors: &[RawTensor], files: &[Storage]) -> Option<Origin> {
    let mean_and_std = if signs.any == MEAN_AND_STD {
        let numbers = |name: &str| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name)?;
            let values = tensor.values(files, signs.latent_channels as usize)?;
            Some(values.into_iter().map(shortest).collect())
        };
        Some((numbers(MEAN_AND_STD[0])?, numbers(MEAN_AND_STD[1])?))
    } else {
        None
    };
    let &Signs { model, latent_channels, sample_size, scaling_factor, shift_factor, .. } = signs;
    Some(Origin { model, latent_channels, sample_size, scaling_factor, shift_factor, mean_and_std })
}

/// Whether `name` begins so, as it stands or within a diffusion model.
fn begins(name: &str, sign: &str) -> bool {
    PREFIXES
        .iter()
        .filter_map(|prefix| name.strip_prefix(prefix))
        .any(|name| name.starts_with(sign))
}

/// The number as a config would have it: -1.6574, and not all digits of the nearest f32.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_within_the_diffusion_model_too() {
        for name in
            ["model.diffusion_model.joint_blocks.0.x", "model.joint_blocks.0", "joint_blocks.1"]
        {
            assert!(begins(name, "joint_blocks."), "{name}");
        }
        for name in
            ["vae.joint_blocks.0", "my_joint_blocks.0", "joint_blocks", "model.x.joint_blocks."]
        {
            assert!(!begins(name, "joint_blocks."), "{name}");
        }
    }

    #[test]
    fn numbers_are_as_short_as_they_were_written() {
        assert_eq!(shortest(-1.6574), -1.6574);
        assert_eq!(shortest(0.1), 0.1);
    }
}
