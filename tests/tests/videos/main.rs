//! Decoders of videos against diffusers: on the CPU, and a short one on the f64 reference backend.
//!
//! `golden/make_wan_goldens.py` says how the golden values were made, and of which pixels they are.

use halovae_core::Plan;
use halovae_cpu::CpuBackend;
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::{AutoencoderKlWanConfig, Checkpoint, Naming, VaeConfig, WanClass};
use halovae_engine::conformance::Reference;
use halovae_engine::decode::{Control, Decoder};
use halovae_engine::program::fold_single_frame;
use halovae_engine::sink::{Clamped, MemorySink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, cpu_ranks, plan, program, size_of};
use halovae_tests::disk::{CONFIG, RawFile, WEIGHTS};
use halovae_tests::golden::{self, Golden};
use halovae_tests::naming;

/// Of how many rows and columns one is kept.
const STEP: usize = 7;

struct Case<B: Backend> {
    golden: Golden,
    decoder: Decoder<B>,
}

impl Case<CpuBackend> {
    fn on_cpu(name: &str, ranks: u32) -> Self {
        Self::load(name, cpu_ranks(ranks, 1))
    }
}

impl<B: Backend> Case<B> {
    fn load(name: &str, backends: Vec<B>) -> Self {
        let golden = Golden::load(name);
        let program = program(&golden.checkpoint);
        let decoder = Decoder::new(&program, &golden.checkpoint, backends);
        Self { golden, decoder: decoder.expect("a decoder") }
    }

    /// The picture as `config` has it, with so many frames of latents going in at a time.
    fn decode(
        &self,
        config: &dyn VaeConfig,
        latents: &HostTensor,
        plan: &Plan,
        chunk: u32,
    ) -> HostTensor {
        let mut picture = MemorySink::default();
        let control = Control { chunk, ..Control::default() };
        let mut sink = Clamped::new(&mut picture, config.output_range(plan.strategy()));
        self.decoder.decode(latents, plan, &mut sink, &control).expect("a decode");
        picture.into_picture().expect("a picture")
    }

    /// Compares the kept pixels and the sums of all with diffusers'; of a decode of fewer frames, its
    /// frames.
    fn check(&self, what: &str, key: &str, got: &HostTensor) {
        let Shape { frames, height, width, channels, .. } = got.shape();
        let first = |expected: &HostTensor| {
            let shape = Shape { batch: frames, ..expected.shape() };
            let len = frames * shape.frame_len();
            HostTensor::new(shape, expected.data()[..len].to_vec()).expect("as many elements")
        };
        let images = Shape { batch: frames, frames: 1, ..got.shape() };
        let images = HostTensor::new(images, got.data().to_vec()).expect("as many elements");
        let kept = halovae_tests::tensors::sampled(&images, STEP);
        assert_f32_close(what, &kept, &first(self.golden.expected(key)));

        let mut sums = HostTensor::zeros(Shape::new(frames, 1, 1, channels)).expect("memory");
        for (frame, sums) in
            got.data().chunks(images.shape().frame_len()).zip(sums.data_mut().chunks_mut(channels))
        {
            for (channel, sum) in sums.iter_mut().enumerate() {
                let values = frame.iter().skip(channel).step_by(channels);
                let mean = values.map(|&value| f64::from(value)).sum::<f64>();
                *sum = (mean / (height * width) as f64) as f32;
            }
        }
        let mut expected = first(self.golden.expected(&format!("{key}.sums")));
        expected.data_mut().iter_mut().for_each(|sum| *sum /= (height * width) as f32);
        assert_f32_close(&format!("{what}: means of frames"), &sums, &expected);
    }

    fn first_frames(&self, frames: usize) -> HostTensor {
        let all = &self.golden.latents;
        let size = size_of(all).at_origin();
        all.crop(0, size.over(0, frames as u32)).expect("a crop")
    }
}

fn whole(config: &dyn VaeConfig, latents: &HostTensor) -> Plan {
    plan(config, size_of(latents), Cut::Whole)
}

/// All lengths of a model's latents, whole.
fn check_whole<B: Backend>(case: &Case<B>) {
    let config = case.golden.config();
    let time = config.tiling().scale.time;
    for frames in 1..=case.golden.latents.shape().frames {
        let latents = case.first_frames(frames);
        let picture = case.decode(config, &latents, &whole(config, &latents), 1);
        assert_eq!(Some(picture.shape().frames as u32), time.at(frames as u32));
        case.check(&format!("{frames} frames of latents"), "whole", &picture);
    }
}

#[test]
fn wan_whole() {
    check_whole(&Case::on_cpu("wan", 1));
}

#[test]
fn qwen_layered_whole() {
    let case = Case::on_cpu("qwen-layered", 1);
    assert_eq!(case.golden.config().class(), "AutoencoderKLQwenImage");
    check_whole(&case);
    check_whole(&Case::load("qwen-layered", vec![Reference]));
}

/// Of levels that keep, halve and double their channels, each with a shortcut around it, and of pixels
/// that lie in channels.
#[test]
fn wan_residual_whole() {
    let case = Case::on_cpu("wan-residual", 1);
    assert_eq!(case.golden.config().tiling().scale.space, 16);
    check_whole(&case);
    let reference = Case::load("wan-residual", vec![Reference]);
    let latents = reference.first_frames(2);
    let config = reference.golden.config();
    let picture = reference.decode(config, &latents, &whole(config, &latents), 1);
    reference.check("the reference", "whole", &picture);
}

/// An image is one frame, through the program that is folded for it.
#[test]
fn an_image_of_wan_residual() {
    let golden = Golden::load("wan-residual");
    let program = fold_single_frame(&program(&golden.checkpoint));
    let decoder = Decoder::new(&program, &golden.checkpoint, cpu_ranks(1, 1));
    let case = Case { golden, decoder: decoder.expect("a decoder") };
    let (config, latents) = (case.golden.config(), case.first_frames(1));
    let plan = whole(config, &latents);
    case.check("folded", "whole", &case.decode(config, &latents, &plan, 1));
}

#[test]
fn qwen_image_21_whole() {
    let case = Case::on_cpu("qwen-image-21", 1);
    let config = case.golden.config();
    assert_eq!((config.class(), config.is_video()), ("AutoencoderKLQwenImage21", false));
    check_whole(&case);
    check_whole(&Case::load("qwen-image-21", vec![Reference]));
}

/// Tiles are blended before pixels are taken out of channels: those of a cell with one weight.
#[test]
fn wan_residual_tiled() {
    let case = Case::on_cpu("wan-residual", 2);
    let (config, latents) = (case.golden.config(), &case.golden.latents);
    let plan = plan(config, size_of(latents), Cut::Strides(64, 48));
    let picture = case.decode(config, latents, &plan, 1);
    case.check("tiled", "tiled", &picture);
    assert_same_bytes("3 frames at a time", &case.decode(config, latents, &plan, 3), &picture);
}

#[test]
fn qwen_image_21_tiled() {
    let case = Case::on_cpu("qwen-image-21", 3);
    let (config, latents) = (case.golden.config(), &case.golden.latents);
    let plan = plan(config, size_of(latents), Cut::Strides(32, 24));
    case.check("tiled", "tiled", &case.decode(config, latents, &plan, 1));
}

#[test]
fn wan_tiled() {
    let case = Case::on_cpu("wan", 2);
    let config = case.golden.config();
    let latents = &case.golden.latents;
    let plan = plan(config, size_of(latents), Cut::Strides(64, 48));
    case.check("wan, tiled", "tiled", &case.decode(config, latents, &plan, 1));

    // The class of Qwen-Image leaves out the clamp behind the blend.
    let own = config.downcast_ref::<AutoencoderKlWanConfig>().expect("a Wan");
    let qwen = AutoencoderKlWanConfig { class: WanClass::QwenImage, ..own.clone() };
    case.check("qwen, tiled", "qwen_tiled", &case.decode(&qwen, latents, &plan, 1));
}

#[test]
fn qwen_layered_tiled() {
    let case = Case::on_cpu("qwen-layered", 1);
    let (config, latents) = (case.golden.config(), &case.golden.latents);
    let plan = plan(config, size_of(latents), Cut::Strides(32, 24));
    case.check("tiled", "tiled", &case.decode(config, latents, &plan, 1));
}

/// Files under the names of the original code, in which networks of images keep the axis of frames.
#[test]
fn original_names_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["wan-residual", "qwen-image-21"] {
        let case = Case::on_cpu(name, 1);
        let (config, latents) = (case.golden.config(), case.first_frames(1));
        let plan = whole(config, &latents);
        let expected = case.decode(config, &latents, &plan, 1);
        let weights = RawFile::read(&case.golden.folder.join(WEIGHTS));
        let renamed = weights.renamed(|name, mut tensor| {
            let of_image =
                [".to_qkv.", ".proj.", ".resample."].iter().any(|part| name.contains(part));
            if tensor.shape.len() == 4 && name.ends_with(".weight") && !of_image {
                tensor.shape.insert(2, 1);
            }
            (naming::to_wan_residual(1, name), tensor)
        });
        let file = folder.path().join(format!("{name}.safetensors"));
        renamed.write(&file);
        let given = case.golden.folder.join(CONFIG);
        let checkpoint = Checkpoint::open(&file, Some(&given)).expect("a checkpoint");
        assert_eq!(checkpoint.naming(), Naming::Original("Wan"));
        let decoder = Decoder::new(&program(&checkpoint), &checkpoint, cpu_ranks(1, 1));
        let renamed = Case { golden: Golden::load(name), decoder: decoder.expect("a decoder") };
        assert_same_bytes(name, &renamed.decode(config, &latents, &plan, 1), &expected);
        // Without a config the network is the same, whatever its latents are.
        let told = Checkpoint::open(&file, None).expect("a checkpoint");
        assert_eq!(told.config().class(), config.class());
        assert_eq!(told.config().decoder(), config.decoder(), "{name}");
    }
}

#[test]
fn shards_give_the_whole() {
    for (name, cut, ranks) in [
        ("wan", Cut::Sharded(2, 2), 4),
        ("wan", Cut::Sliced(2, 1, 1), 2),
        ("wan", Cut::Sliced(2, 2, 2), 3),
        ("qwen-layered", Cut::Sharded(1, 3), 3),
        ("wan-residual", Cut::Sharded(2, 2), 4),
        ("wan-residual", Cut::Sliced(2, 1, 1), 2),
        ("wan-residual", Cut::Sliced(2, 1, 2), 3),
        ("qwen-image-21", Cut::Sharded(2, 3), 4),
    ] {
        let case = Case::on_cpu(name, ranks);
        let (config, latents) = (case.golden.config(), &case.golden.latents);
        let plan = plan(config, size_of(latents), cut);
        let picture = case.decode(config, latents, &plan, 1);
        case.check(&format!("{name}, {cut:?}, {ranks} ranks"), "whole", &picture);
    }
}

#[test]
fn chunks_change_no_value() {
    for name in golden::VIDEOS {
        let case = Case::on_cpu(name, 1);
        let (config, latents) = (case.golden.config(), &case.golden.latents);
        let plan = whole(config, latents);
        let one = case.decode(config, latents, &plan, 1);
        for chunk in 2..=latents.shape().frames as u32 {
            let got = case.decode(config, latents, &plan, chunk);
            assert_same_bytes(&format!("{name}, {chunk} frames at a time"), &got, &one);
        }
    }
}
