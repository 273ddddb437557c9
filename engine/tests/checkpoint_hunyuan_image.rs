//! Checkpoints of HunyuanImage 2.1: configs, both namings, whatever levels and resnets, and what a file
//! without a config tells.

mod checkpoint_common;

use checkpoint_common::{Model as Kl, Tensor, Tensors, read, serialize, values};
use halovae_core::{AxisTiling, Tiling};
use halovae_engine::checkpoint::{
    AutoencoderKlConfig, AutoencoderKlHunyuanImageConfig, Checkpoint, CheckpointError,
    ConfigSource, Naming, VaeConfig, parse_config,
};
use halovae_engine::latents::LatentSpace;
use halovae_engine::model::Model as _;
use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::{Value, json};

/// Levels of a small model.
#[derive(Clone, Debug)]
struct Model {
    latent_channels: usize,
    /// Shallowest first.
    channels: Vec<usize>,
    layers: usize,
    /// How many of the decoder's first levels have one.
    upsamplers: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self { latent_channels: 64, channels: vec![32, 32, 64], layers: 2, upsamplers: 2 }
    }
}

/// A weight under the names that it has in diffusers and in the original code.
struct Weight {
    diffusers: String,
    original: String,
    shape: Vec<usize>,
}

#[derive(Default)]
struct List(Vec<Weight>);

impl List {
    fn push(&mut self, [diffusers, original]: [&str; 2], leaf: &str, shape: &[usize]) {
        let [diffusers, original] = [diffusers, original].map(|name| format!("{name}.{leaf}"));
        self.0.push(Weight { diffusers, original, shape: shape.to_vec() });
    }

    fn norm(&mut self, names: [&str; 2], channels: usize) {
        self.push(names, "weight", &[channels]);
        self.push(names, "bias", &[channels]);
    }

    fn conv(&mut self, names: [&str; 2], out: usize, input: usize, kernel: usize) {
        self.push(names, "weight", &[out, input, kernel, kernel]);
        self.push(names, "bias", &[out]);
    }

    fn resnet(&mut self, [diffusers, original]: [&str; 2], channels: usize) {
        for half in 1..=2 {
            let part = |part| [diffusers, original].map(|module| format!("{module}.{part}{half}"));
            self.norm(part("norm").each_ref().map(String::as_str), channels);
            self.conv(part("conv").each_ref().map(String::as_str), channels, channels, 3);
        }
    }
}

impl Model {
    /// Every weight of the decoder, written down module by module from the two code bases.
    fn weights(&self) -> Vec<Weight> {
        let mut list = List::default();
        let deepest = *self.channels.last().unwrap();
        list.conv(["decoder.conv_in"; 2], deepest, self.latent_channels, 3);
        list.resnet(["decoder.mid_block.resnets.0", "decoder.mid.block_1"], deepest);
        let names = ["decoder.mid_block.attentions.0", "decoder.mid.attn_1"];
        for [new, original] in
            [["norm", "norm"], ["to_q", "q"], ["to_k", "k"], ["to_v", "v"], ["proj", "proj_out"]]
        {
            let names = [format!("{}.{new}", names[0]), format!("{}.{original}", names[1])];
            let names = names.each_ref().map(String::as_str);
            match new {
                "norm" => list.norm(names, deepest),
                _ => list.conv(names, deepest, deepest, 1),
            }
        }
        list.resnet(["decoder.mid_block.resnets.1", "decoder.mid.block_2"], deepest);
        let mut place = 0;
        let mut levels = self.channels.iter().rev().enumerate().peekable();
        while let Some((level, &channels)) = levels.next() {
            for resnet in 0..=self.layers {
                let names = [
                    format!("decoder.up_blocks.{place}"),
                    format!("decoder.up.{level}.block.{resnet}"),
                ];
                list.resnet(names.each_ref().map(String::as_str), channels);
                place += 1;
            }
            if level < self.upsamplers {
                let (_, below) = levels.peek().expect("a level behind an upsampler");
                let names = [
                    format!("decoder.up_blocks.{place}.conv"),
                    format!("decoder.up.{level}.upsample.conv"),
                ];
                list.conv(names.each_ref().map(String::as_str), 4 * **below, channels, 3);
                place += 1;
            }
        }
        list.norm(["decoder.norm_out"; 2], self.channels[0]);
        list.conv(["decoder.conv_out"; 2], 3, self.channels[0], 3);
        list.0
    }

    fn config(&self) -> AutoencoderKlHunyuanImageConfig {
        AutoencoderKlHunyuanImageConfig {
            latent_channels: self.latent_channels as u32,
            block_out_channels: self.channels.iter().map(|&channels| channels as u32).collect(),
            layers_per_block: self.layers as u32,
            spatial_compression_ratio: 1 << self.upsamplers,
            ..AutoencoderKlHunyuanImageConfig::default()
        }
    }

    fn diffusers(&self, prefix: &str) -> Tensors {
        self.tensors(|weight| (format!("{prefix}{}", weight.diffusers), weight.shape.clone()))
    }

    /// In the names of Tencent's code, whose kernels may have an axis of one frame.
    fn original(&self, prefix: &str, has_frames: bool) -> Tensors {
        self.tensors(|weight| {
            let mut shape = weight.shape.clone();
            if has_frames && shape.len() == 4 {
                shape.insert(2, 1);
            }
            (format!("{prefix}{}", weight.original), shape)
        })
    }

    fn tensors(&self, entry: impl Fn(&Weight) -> (String, Vec<usize>)) -> Tensors {
        let weights = self.weights();
        let tensors = weights.iter().enumerate().map(|(index, weight)| {
            let (name, shape) = entry(weight);
            let values = values(index, shape.iter().product());
            (name, Tensor::new(Dtype::F16, &shape, &values))
        });
        tensors.collect()
    }
}

fn open(tensors: &Tensors) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(serialize(tensors), None)
}

fn config(checkpoint: &Checkpoint) -> &AutoencoderKlHunyuanImageConfig {
    checkpoint.config().downcast_ref().expect("the config of a HunyuanImage 2.1")
}

/// Every weight is there under its name in diffusers, in the shape that the decoder reads.
#[track_caller]
fn assert_holds(checkpoint: &Checkpoint, model: &Model) {
    let program = checkpoint.config().decoder().unwrap();
    checkpoint.verify(program.weights().iter().map(|spec| (&*spec.name, &*spec.shape))).unwrap();
    let weights = model.weights();
    assert_eq!(checkpoint.names().len(), weights.len());
    for (index, Weight { diffusers, shape, .. }) in weights.iter().enumerate() {
        assert_eq!(checkpoint.tensor(diffusers).unwrap().shape, *shape, "{diffusers}");
        assert_eq!(read(checkpoint, diffusers), values(index, shape.iter().product()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_levels_are_read_in_both_namings(
        channels in prop::collection::vec(prop::sample::select(vec![32, 64]), 1..4),
        behind in 0usize..3,
        latent_channels in prop::sample::select(vec![1, 4, 16, 32]),
        layers in 1usize..4,
        prefix in prop::sample::select(vec!["", "vae.", "first_stage_model."]),
        has_frames in any::<bool>(),
    ) {
        // The shallowest level as often again, without upsamplers.
        let first = channels[0];
        let upsamplers = channels.len();
        let channels = [vec![first; behind + 1], channels].concat();
        let model = Model { latent_channels, channels, layers, upsamplers };
        for (tensors, naming) in [
            (model.diffusers(prefix), Naming::Diffusers),
            (model.original(prefix, has_frames), Naming::Original("Tencent")),
        ] {
            let checkpoint = open(&tensors).unwrap();
            prop_assert_eq!((checkpoint.naming(), checkpoint.prefix()), (naming, prefix));
            prop_assert_eq!(checkpoint.config_source(), &ConfigSource::Shapes);
            prop_assert_eq!(config(&checkpoint), &model.config());
            prop_assert!(checkpoint.ignored().is_empty());
            assert_holds(&checkpoint, &model);
            prop_assert_eq!(checkpoint.guessed(), ["sample_size", "scaling_factor"]);
        }
    }
}

/// Latents of as many channels as HunyuanImage 2.1's are taken for its own.
#[test]
fn the_scale_is_that_of_the_released_model() {
    let model = Model::default();
    let mut tensors = model.original("", false);
    let encoder = Tensor::new(Dtype::F16, &[32, 4, 1, 1], &[0.0; 128]);
    tensors.insert("encoder.conv_in.weight".into(), encoder);
    let known = open(&tensors).unwrap();
    assert!(known.guessed().is_empty());
    assert_eq!(known.latent_space().unwrap().scaling_factor, 0.75289);
    assert_eq!((config(&known).in_channels, config(&known).out_channels), (4, 3));
    let other = open(&Model { latent_channels: 32, ..model }.diffusers("")).unwrap();
    assert_eq!(other.guessed_of_space(), ["scaling_factor"]);
    let error = other.latent_space().unwrap_err();
    assert!(matches!(error, CheckpointError::UntoldSpace { .. }), "{error}");
    assert!(error.to_string().contains("64 channels"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let without = |name: &str| {
        let mut tensors = Model::default().original("vae.", false);
        tensors.remove(&format!("vae.{name}")).unwrap();
        open(&tensors).map(drop).unwrap_err().to_string()
    };
    for (name, words) in [
        ("decoder.conv_out.weight", "`decoder.conv_out.weight` is missing"),
        ("decoder.up.0.block.0.conv1.weight", "`decoder.up_blocks.0.conv1.weight` is missing"),
    ] {
        let error = without(name);
        assert!(error.contains(words), "{error}");
    }
    // A level that lacks a part is found when the weights are verified.
    let mut tensors = Model::default().original("", false);
    tensors.remove("decoder.up.1.block.1.norm2.bias").unwrap();
    let checkpoint = open(&tensors).unwrap();
    let program = checkpoint.config().decoder().unwrap();
    let wanted = program.weights().iter().map(|spec| (&*spec.name, &*spec.shape));
    let error = checkpoint.verify(wanted).unwrap_err().to_string();
    assert!(error.contains("decoder.up_blocks.5.norm2.bias"), "{error}");
}

#[test]
fn weights_and_configs_of_other_families_are_told_apart() {
    let own = serialize(&Model::default().original("", true));
    let kl = serialize(&Kl::default().ldm(Dtype::F16, "", 2));
    let of_kl = AutoencoderKlConfig::default().into();
    for (bytes, config, words) in [
        (own, of_kl, "decoder.up.0.upsample.conv.weight"),
        (kl, Model::default().config().into(), "decoder.conv_in.weight"),
    ] {
        let error = Checkpoint::from_bytes(bytes, Some(config)).map(drop).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherFamily { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// A config without a class beside the weights is of the class that these tell.
#[test]
fn a_config_without_a_class_is_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mut fields = Model::default().config().to_json();
    for own in ["_class_name", "upsample_match_channel", "downsample_match_channel"] {
        fields.as_object_mut().unwrap().remove(own).unwrap();
    }
    std::fs::write(file("config.json"), fields.to_string()).unwrap();
    let weights = serialize(&Model::default().original("", false));
    std::fs::write(file("diffusion_pytorch_model.safetensors"), weights).unwrap();
    let checkpoint = Checkpoint::open(folder.path(), None).unwrap();
    assert_eq!(config(&checkpoint), &Model::default().config());
    // Without weights, a field tells.
    let alone = parse_config(br#"{"upsample_match_channel": true}"#).unwrap();
    assert_eq!(alone.class(), "AutoencoderKLHunyuanImage");
}

fn parse(change: &Value) -> Result<AutoencoderKlHunyuanImageConfig, String> {
    let mut fields = json!({ "_class_name": "AutoencoderKLHunyuanImage" });
    for (name, value) in change.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let parsed = parse_config(fields.to_string().as_bytes()).map_err(|error| error.to_string())?;
    Ok(parsed.downcast_ref::<AutoencoderKlHunyuanImageConfig>().expect("its class").clone())
}

/// As diffusers' conversion script has it.
#[test]
fn the_config_of_the_released_model() {
    let released = json!({
        "_diffusers_version": "0.36.0.dev0",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 64,
        "block_out_channels": [128, 256, 512, 512, 1024, 1024],
        "layers_per_block": 2,
        "spatial_compression_ratio": 32,
        "sample_size": 384,
        "scaling_factor": 0.75289,
        "downsample_match_channel": true,
        "upsample_match_channel": true,
    });
    let config = parse(&released).unwrap();
    assert_eq!(config, AutoencoderKlHunyuanImageConfig::default());
    assert_eq!(config, parse(&json!({})).unwrap());
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: 384,
        tile_latent_min_size: 12,
        tile_overlap_factor: 0.25,
    };
    assert_eq!(config.tiling(), Tiling::new(axis, axis, 32));
    let space = LatentSpace { scaling_factor: 0.75289, ..LatentSpace::VAE };
    assert_eq!((config.latent_space(), config.comfy_space()), (Some(space), None));
    assert_eq!((config.packing(), config.is_video()), (None, false));
    let program = config.decoder().unwrap();
    // As diffusers counts them.
    let parameters = program.weights().iter().map(|spec| spec.shape.iter().product::<usize>());
    assert_eq!(parameters.sum::<usize>(), 260_567_939);
    assert_eq!(program.out_scale().space, 32);

    // The last level has no upsampler.
    let config = parse(&json!({
        "block_out_channels": [32, 32, 64], "spatial_compression_ratio": 2, "latent_channels": 8,
        "sample_size": 40, "scaling_factor": 2,
    }));
    let config = config.unwrap();
    assert_eq!(config.decoder().unwrap().out_scale().space, 2);
    let read = parse_config(config.to_json().to_string().as_bytes()).unwrap();
    assert_eq!(read.downcast_ref(), Some(&config));
}

#[test]
fn impossible_fields_are_named() {
    let channels = |list: &[u32]| json!({ "block_out_channels": list });
    for (change, words) in [
        (json!({ "latent_channels": 0 }), "`latent_channels` is 0"),
        (json!({ "latent_channels": 48 }), "`latent_channels` is 48, expected a divisor of 1024"),
        (json!({ "out_channels": 0 }), "`out_channels` is 0"),
        (json!({ "layers_per_block": 65 }), "`layers_per_block` is 65"),
        (channels(&[]), "`block_out_channels` is a list of 0 levels"),
        (channels(&[32; 17]), "`block_out_channels` is a list of 17 levels"),
        (
            channels(&[128, 256, 512, 512, 1024, 1040]),
            "`block_out_channels` is 1040, expected multiples of 32",
        ),
        (
            channels(&[96, 256, 512, 512, 1024, 1024]),
            "`block_out_channels` is a list with 96 channels before 256, expected levels whose",
        ),
        (
            channels(&[128, 256]),
            "`spatial_compression_ratio` is 32, expected a power of two from 1 to 2",
        ),
        (json!({ "spatial_compression_ratio": 0 }), "`spatial_compression_ratio` is 0"),
        (json!({ "spatial_compression_ratio": 24 }), "`spatial_compression_ratio` is 24"),
        (
            json!({ "spatial_compression_ratio": 16 }),
            "`spatial_compression_ratio` is 16, expected 32: only upsamplers change channels, as from 256 \
             to 128",
        ),
        (
            json!({ "upsample_match_channel": false }),
            "`upsample_match_channel` is false, expected true, where channels change",
        ),
        (json!({ "upsample_match_channel": 1 }), "`upsample_match_channel` is 1, expected true or"),
        (
            json!({ "sample_size": 31 }),
            "`sample_size` is 31, expected 32 (the pixels of one latent",
        ),
        (json!({ "sample_size": [384, 384] }), "`sample_size` is a list of 2"),
        (json!({ "scaling_factor": 0 }), "`scaling_factor` is 0"),
        (
            json!({ "scaling_factor": null }),
            "`scaling_factor` is null, expected a number, by which",
        ),
    ] {
        let error = parse(&change).unwrap_err();
        assert!(error.contains(words), "{change}: {error}");
    }
    // Where no channels change there is nothing to match.
    let same = json!({
        "block_out_channels": [64, 64], "spatial_compression_ratio": 2, "upsample_match_channel": false,
    });
    parse(&same).unwrap();
}

/// The refiner's class is another network.
#[test]
fn the_refiner_is_refused_by_name() {
    let error = parse(&json!({ "_class_name": "AutoencoderKLHunyuanImageRefiner" })).unwrap_err();
    assert!(error.contains("the VAE of HunyuanImage 2.1's refiner"), "{error}");
}
