//! Checkpoints of Wan and Qwen-Image: both namings, whatever levels and resnets, and what a file without
//! a config tells.

#[path = "../checkpoint_common/mod.rs"]
mod checkpoint_common;

mod told;

use checkpoint_common::{Tensor, Tensors, serialize, values};
use halovae_engine::checkpoint::{
    AutoencoderKlWanConfig, Checkpoint, CheckpointError, ConfigSource, Naming, VaeConfig, WanClass,
    parse_config,
};
use proptest::prelude::*;
use safetensors::Dtype;

/// Levels of a small model.
#[derive(Clone, Debug)]
struct Model {
    z_dim: usize,
    out_channels: usize,
    /// Shallowest first.
    channels: Vec<usize>,
    res_blocks: usize,
    /// Whether the decoder doubles frames behind each level but the last.
    temporal: Vec<bool>,
    /// Whether levels have shortcuts around them.
    residual: bool,
    /// Of images alone, whose original files keep an axis of one frame.
    images: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            z_dim: 16,
            out_channels: 3,
            channels: vec![2, 4, 8, 8],
            res_blocks: 2,
            temporal: vec![true, true, false],
            residual: false,
            images: false,
        }
    }
}

/// A weight under the names that it has in diffusers and in the original code.
struct Weight {
    diffusers: String,
    original: String,
    shape: Vec<usize>,
}

#[derive(Default)]
struct List {
    weights: Vec<Weight>,
    images: bool,
}

impl List {
    fn push(&mut self, [diffusers, original]: [&str; 2], leaf: &str, shape: &[usize]) {
        let [diffusers, original] = [diffusers, original].map(|name| format!("{name}.{leaf}"));
        self.weights.push(Weight { diffusers, original, shape: shape.to_vec() });
    }

    fn conv(&mut self, names: [&str; 2], out: usize, input: usize, kernel: &[usize]) {
        // Without frames there is no axis of them.
        let kernel = if self.images && kernel.len() == 3 { &kernel[1..] } else { kernel };
        self.push(names, "weight", &[&[out, input], kernel].concat());
        self.push(names, "bias", &[out]);
    }

    fn resnet(&mut self, [diffusers, original]: [&str; 2], out: usize, input: usize) {
        let both =
            |new: &str, old: &str| [format!("{diffusers}.{new}"), format!("{original}.{old}")];
        for (norm, [conv, place], [inputs, place_of_norm]) in [
            ("norm1", ["conv1", "residual.2"], [input, 0]),
            ("norm2", ["conv2", "residual.6"], [out, 3]),
        ] {
            let norm = both(norm, &format!("residual.{place_of_norm}"));
            self.push(norm.each_ref().map(String::as_str), "gamma", &[inputs, 1, 1, 1]);
            let conv = both(conv, place);
            self.conv(conv.each_ref().map(String::as_str), out, inputs, &[3, 3, 3]);
        }
        if out != input {
            let shortcut = both("conv_shortcut", "shortcut");
            self.conv(shortcut.each_ref().map(String::as_str), out, input, &[1, 1, 1]);
        }
    }
}

impl Model {
    /// Every weight of the decoder, written down module by module from the two code bases.
    fn weights(&self) -> Vec<Weight> {
        let mut list = List { images: self.images, ..List::default() };
        let deepest = *self.channels.last().unwrap();
        list.conv(["post_quant_conv", "conv2"], self.z_dim, self.z_dim, &[1, 1, 1]);
        list.conv(["decoder.conv_in", "decoder.conv1"], deepest, self.z_dim, &[3, 3, 3]);
        for (index, place) in [(0, 0), (1, 2)] {
            let names =
                [format!("decoder.mid_block.resnets.{index}"), format!("decoder.middle.{place}")];
            list.resnet(names.each_ref().map(String::as_str), deepest, deepest);
        }
        let names = ["decoder.mid_block.attentions.0", "decoder.middle.1"];
        let part = |part: &str| names.map(|name| format!("{name}.{part}"));
        list.push(part("norm").each_ref().map(String::as_str), "gamma", &[deepest, 1, 1]);
        let qkv = part("to_qkv");
        list.conv(qkv.each_ref().map(String::as_str), 3 * deepest, deepest, &[1, 1]);
        list.conv(part("proj").each_ref().map(String::as_str), deepest, deepest, &[1, 1]);
        let mut place = 0;
        let mut input = deepest;
        for (level, &channels) in self.channels.iter().rev().enumerate() {
            for resnet in 0..=self.res_blocks {
                let original = match self.residual {
                    true => format!("decoder.upsamples.{level}.upsamples.{resnet}"),
                    false => format!("decoder.upsamples.{place}"),
                };
                let names = [format!("decoder.up_blocks.{level}.resnets.{resnet}"), original];
                list.resnet(names.each_ref().map(String::as_str), channels, input);
                place += 1;
                input = channels;
            }
            let Some(&temporal) = self.temporal.get(level) else { continue };
            let names = match self.residual {
                true => [
                    format!("decoder.up_blocks.{level}.upsampler"),
                    format!("decoder.upsamples.{level}.upsamples.{}", self.res_blocks + 1),
                ],
                false => [
                    format!("decoder.up_blocks.{level}.upsamplers.0"),
                    format!("decoder.upsamples.{place}"),
                ],
            };
            let part = |part: &str| names.each_ref().map(|name| format!("{name}.{part}"));
            let resample = part("resample.1");
            let handed = if self.residual { channels } else { channels / 2 };
            list.conv(resample.each_ref().map(String::as_str), handed, channels, &[3, 3]);
            if temporal && !self.images {
                let conv = part("time_conv");
                let names = conv.each_ref().map(String::as_str);
                list.conv(names, 2 * channels, channels, &[3, 1, 1]);
            }
            place += 1;
            input = handed;
        }
        list.push(["decoder.norm_out", "decoder.head.0"], "gamma", &[self.channels[0], 1, 1, 1]);
        let names = ["decoder.conv_out", "decoder.head.2"];
        list.conv(names, self.out_channels, self.channels[0], &[3, 3, 3]);
        list.weights
    }

    /// The tensors of a file, named by `name`, which gets each weight's place among them.
    fn tensors(&self, name: impl Fn(usize, &Weight) -> String) -> Tensors {
        let weights = self.weights();
        let tensors = weights.iter().enumerate().map(|(index, weight)| {
            let elements = values(index, weight.shape.iter().product());
            (name(index, weight), Tensor::new(Dtype::F16, &weight.shape, &elements))
        });
        tensors.collect()
    }

    fn diffusers(&self, prefix: &str) -> Tensors {
        self.tensors(|_, weight| format!("{prefix}{}", weight.diffusers))
    }

    fn original(&self, prefix: &str) -> Tensors {
        self.tensors(|_, weight| format!("{prefix}{}", weight.original))
    }

    /// Opens the file, whose config has to be inferred, and checks all that is in it.
    #[track_caller]
    fn check(&self, tensors: &Tensors) -> Checkpoint {
        let checkpoint = Checkpoint::from_bytes(serialize(tensors), None).unwrap();
        let program = checkpoint.config().decoder().unwrap();
        let wanted = program.weights().iter().map(|spec| (&*spec.name, &*spec.shape));
        checkpoint.verify(wanted).unwrap();
        let weights = self.weights();
        assert_eq!(checkpoint.names().len(), weights.len());
        for (index, weight) in weights.iter().enumerate() {
            let view = checkpoint.tensor(&weight.diffusers).unwrap();
            let expected = Tensor::new(Dtype::F16, &weight.shape, &values(index, view.elements()));
            assert_eq!((view.shape, view.bytes), (&*weight.shape, &*expected.bytes));
        }
        checkpoint
    }
}

fn config(checkpoint: &Checkpoint) -> &AutoencoderKlWanConfig {
    checkpoint.config().downcast_ref().expect("the config of a Wan")
}

fn models() -> impl Strategy<Value = Model> {
    let levels = prop::collection::vec((1usize..4, any::<bool>()), 1..5);
    (1usize..5, 1usize..6, levels, 1usize..4).prop_map(
        |(z_dim, out_channels, levels, res_blocks)| {
            Model {
                residual: false,
                images: false,
                z_dim,
                out_channels,
                // Levels but the shallowest hand on halves.
                channels: levels
                    .iter()
                    .enumerate()
                    .map(|(level, &(channels, _))| channels.max(usize::from(level > 0) * 2))
                    .collect(),
                res_blocks,
                temporal: levels[1..].iter().map(|&(_, temporal)| temporal).collect(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Levels, resnets and frames are told by names and shapes alone, in either naming, in one file of
    /// both, and under any prefix.
    #[test]
    fn any_network_is_found_in_either_naming(model in models(), mixed: u64) {
        let plain = model.check(&model.diffusers(""));
        prop_assert_eq!(plain.naming(), Naming::Diffusers);
        let found = config(&plain).clone();
        let channels: Vec<_> = found.decoder_channels().map(|channels| channels as usize).collect();
        prop_assert!(channels.iter().rev().eq(&model.channels));
        prop_assert!(found.temporal_upsample().eq(model.temporal.iter().copied()));
        prop_assert_eq!(found.num_res_blocks as usize, model.res_blocks);
        prop_assert_eq!(found.z_dim as usize, model.z_dim);
        prop_assert_eq!(found.out_channels as usize, model.out_channels);
        let layered = model.out_channels == 4;
        prop_assert_eq!(found.class == WanClass::QwenImage, layered);
        for prefix in ["", "vae.", "first_stage_model.", "model.", "model.vae."] {
            for tensors in [model.original(prefix), model.diffusers(prefix)] {
                let checkpoint = model.check(&tensors);
                prop_assert_eq!(checkpoint.prefix(), prefix);
                prop_assert_eq!(checkpoint.config(), plain.config());
            }
        }
        let original = model.check(&model.original(""));
        prop_assert_eq!(original.naming(), Naming::Original("Wan"));
        // Some converters renamed a part of the file only, but upsamplers tell the list's levels.
        let tensors = model.tensors(|index, weight| {
            let keeps = weight.original.contains("resample") || weight.original.contains("time_conv");
            match keeps || mixed >> (index % 64) & 1 == 1 {
                true => weight.original.clone(),
                false => weight.diffusers.clone(),
            }
        });
        let mixed = model.check(&tensors);
        prop_assert_eq!(mixed.config(), plain.config());
    }

    #[test]
    fn a_config_survives_being_written_and_read(model in models(), qwen: bool) {
        let checkpoint = model.check(&model.diffusers(""));
        let class = if qwen { WanClass::QwenImage } else { WanClass::Wan };
        let config = AutoencoderKlWanConfig { class, ..config(&checkpoint).clone() };
        config.validate().unwrap();
        let read = parse_config(config.to_json().to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.downcast_ref(), Some(&config));
        let given = Checkpoint::from_bytes(serialize(&model.original("")), Some(config.into())).unwrap();
        prop_assert_eq!(given.config(), &*read);
        prop_assert_eq!(given.config_source(), &ConfigSource::Given);
    }
}

/// Levels with shortcuts around them, which keep or halve their channels.
#[test]
fn networks_with_shortcuts_are_found_in_either_naming() {
    let wan = Model {
        z_dim: 48,
        out_channels: 12,
        channels: vec![4, 8, 16, 16],
        res_blocks: 1,
        temporal: vec![true, false, true],
        residual: true,
        images: false,
    };
    for (tensors, naming) in
        [(wan.diffusers("vae."), Naming::Diffusers), (wan.original(""), Naming::Original("Wan"))]
    {
        let checkpoint = wan.check(&tensors);
        assert_eq!(checkpoint.naming(), naming);
        let found = config(&checkpoint);
        assert_eq!((found.class, found.is_residual), (WanClass::Wan, true));
        assert_eq!(found.patch_size, Some(2));
        assert!(found.temporal_upsample().eq(wan.temporal.iter().copied()));
        assert!(checkpoint.guessed().is_empty());
        let (mean, std) = checkpoint.latent_space().unwrap().mean_and_std.unwrap();
        assert_eq!((mean[0], std[47]), (-0.2289, 0.7744));
        let read = parse_config(found.to_json().to_string().as_bytes()).unwrap();
        assert_eq!(read.downcast_ref(), Some(found));
    }
    // Of other latents neither their space nor the patch is known.
    let other = Model { z_dim: 6, ..wan };
    let checkpoint = other.check(&other.original(""));
    assert_eq!(checkpoint.guessed(), ["patch_size", "latents_mean", "latents_std"]);
}

/// The files that ComfyUI has keep the axis of frames, and the convs over time that never run.
#[test]
fn networks_of_images_are_found_in_either_naming() {
    let temporal = [true, false, true];
    let qwen = Model {
        z_dim: 64,
        out_channels: 4,
        channels: vec![4, 8, 16, 16],
        res_blocks: 1,
        temporal: temporal.into(),
        residual: true,
        images: true,
    };
    let with_convs_over_time = |mut tensors: Tensors, name: &dyn Fn(usize) -> String| {
        for level in (0..3).filter(|&level| temporal[level]) {
            let conv = Tensor::new(Dtype::F16, &[2, 1, 1, 1], &[0.0; 2]);
            tensors.insert(format!("{}.time_conv.weight", name(level)), conv);
        }
        tensors
    };
    let diffusers = with_convs_over_time(qwen.diffusers(""), &|level| {
        format!("decoder.up_blocks.{level}.upsampler")
    });
    let mut original = with_convs_over_time(qwen.original("vae."), &|level| {
        format!("vae.decoder.upsamples.{level}.upsamples.2")
    });
    for (name, tensor) in &mut original {
        let is_of_image =
            name.contains("to_qkv") || name.contains("proj") || name.contains("resample");
        if tensor.shape.len() == 4 && name.ends_with("weight") && !is_of_image {
            tensor.shape.insert(2, 1);
        }
    }
    for tensors in [diffusers, original] {
        let checkpoint = qwen.check(&tensors);
        assert_eq!(checkpoint.config().class(), "AutoencoderKLQwenImage21");
        let found = config(&checkpoint);
        assert!(found.temporal_upsample().eq(temporal));
        assert!(checkpoint.ignored().is_empty() && checkpoint.guessed().is_empty());
        assert_eq!(checkpoint.latent_space().unwrap().mean_and_std.unwrap().0.len(), 64);
        let program = checkpoint.config().decoder().unwrap();
        assert_eq!(program.out_scale(), halovae_core::Scale::image(8));
        // The same weights are no Wan's.
        let wan = parse_config(b"{\"_class_name\": \"AutoencoderKLWan\"}").unwrap();
        let error = Checkpoint::from_bytes(serialize(&tensors), Some(wan)).map(drop).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherFamily { .. }), "{error}");
    }
    let checkpoint = qwen.check(&qwen.diffusers(""));
    assert_eq!(checkpoint.guessed(), ["temperal_downsample"]);
    // Of one level there is neither an upsampler nor a shortcut.
    let qwen = Model { channels: vec![4], temporal: Vec::new(), ..qwen };
    for tensors in [qwen.diffusers(""), qwen.original("vae.")] {
        let checkpoint = qwen.check(&tensors);
        assert_eq!(checkpoint.config().class(), "AutoencoderKLQwenImage21");
        assert!(checkpoint.guessed().is_empty());
    }
}
