//! Decoders of videos against diffusers: on the CPU, and a short one on the f64 reference backend.
//!
//! `golden/make_wan_goldens.py` and `golden/make_ltx_goldens.py` say how the golden values were made, and of
//! which pixels they are.

mod case;
mod ltx;

use case::{Case, check_whole, whole};
use halovae_core::{AxisTiling, PatchGrid, Plan, Tiling};
use halovae_engine::checkpoint::{AutoencoderKlWanConfig, Checkpoint, Naming, WanClass};
use halovae_engine::conformance::Reference;
use halovae_engine::decode::Decoder;
use halovae_engine::program::fold_single_frame;
use halovae_tests::compare::assert_same_bytes;
use halovae_tests::decode::{Cut, cpu_ranks, plan, program, size_of};
use halovae_tests::disk::{CONFIG, RawFile, WEIGHTS};
use halovae_tests::golden::{self, Golden};
use halovae_tests::naming;

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
fn qwens_tiled() {
    for (name, ranks) in [("qwen-image-21", 3), ("qwen-layered", 1)] {
        let case = Case::on_cpu(name, ranks);
        let (config, latents) = (case.golden.config(), &case.golden.latents);
        let plan = plan(config, size_of(latents), Cut::Strides(32, 24));
        case.check(name, "tiled", &case.decode(config, latents, &plan, 1));
    }
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

/// Patches of the first two frames of latents, whose least halo is half of what the class's own tiles share,
/// or such tiles of so many pixels, so many apart.
#[test]
fn patches_of_every_class() {
    for (name, tiles) in [
        ("qwen-image-21", None),
        ("qwen-layered", Some((32, 4))),
        ("wan", None),
        ("wan-residual", None),
    ] {
        for ranks in [2, 6] {
            let case = Case::on_cpu(name, ranks);
            let config = case.golden.config();
            let latents = case.first_frames(case.golden.latents.shape().frames.min(2));
            let plan = match tiles {
                None => plan(config, size_of(&latents), Cut::Patch(ranks)),
                Some((tile_sample_min_size, tile_sample_stride)) => {
                    let axis = AxisTiling::Stride { tile_sample_min_size, tile_sample_stride };
                    let tiling = Tiling::new(axis, axis, config.tiling().scale);
                    let grid = PatchGrid::like(size_of(&latents), ranks, &tiling);
                    Plan::patch(grid.expect("a grid"))
                }
            };
            let key = format!("patch{ranks}");
            let picture = case.decode(config, &latents, &plan, 1);
            case.check(&format!("{name}, {key}"), &key, &picture);
            let one = Case::on_cpu(name, 1).decode(config, &latents, &plan, 2);
            assert_same_bytes(&format!("{name}, {key}, one rank"), &one, &picture);
        }
    }
}

/// Networks that files in the original names, without a config, tell entirely.
const OF_WANS_KIND: [&str; 4] = ["qwen-image-21", "qwen-layered", "wan", "wan-residual"];

/// A golden model's weights under the names of its original code, which ComfyUI's files have as well. Networks
/// of images keep the axis of frames there.
fn original(golden: &Golden, prefix: &str) -> RawFile {
    let config = golden.config().downcast_ref::<AutoencoderKlWanConfig>().expect("a Wan");
    let res_blocks = config.num_res_blocks as usize;
    RawFile::read(&golden.folder.join(WEIGHTS)).renamed(|name, mut tensor| {
        let of_image = [".to_qkv.", ".proj.", ".resample."].iter().any(|part| name.contains(part));
        if tensor.shape.len() == 4 && name.ends_with(".weight") && !of_image {
            tensor.shape.insert(2, 1);
        }
        let name = match config.is_residual {
            true => naming::to_wan_residual(res_blocks, name),
            false => naming::to_wan(res_blocks, name),
        };
        (format!("{prefix}{name}"), tensor)
    })
}

/// Under the original names, alone or in a file of a whole model, with a config and without.
#[test]
fn original_names_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in OF_WANS_KIND {
        let case = Case::on_cpu(name, 1);
        let (config, latents) = (case.golden.config(), case.first_frames(1));
        let plan = whole(config, &latents);
        let expected = case.decode(config, &latents, &plan, 1);
        for prefix in ["", "vae.", "first_stage_model."] {
            let file = folder.path().join(format!("{name}.safetensors"));
            original(&case.golden, prefix).write(&file);
            let given = case.golden.folder.join(CONFIG);
            for given in [Some(given.as_path()), None] {
                let checkpoint = Checkpoint::open(&file, given).expect("a checkpoint");
                assert_eq!(checkpoint.naming(), Naming::Original("Wan"));
                assert_eq!(checkpoint.prefix(), prefix);
                let [found, network] = [checkpoint.config(), config].map(|config| config.class());
                assert_eq!(found, network, "{name}");
                let decoder = Decoder::new(&program(&checkpoint), &checkpoint, cpu_ranks(1, 1));
                let renamed = Case { golden: Golden::load(name), decoder: decoder.expect("one") };
                let got = renamed.decode(config, &latents, &plan, 1);
                let what = format!("{name} under `{prefix}`, config: {}", given.is_some());
                assert_same_bytes(&what, &got, &expected);
            }
        }
    }
}

/// Under diffusers' names in a file of a whole model, without a config.
#[test]
fn a_prefix_changes_no_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in OF_WANS_KIND {
        let case = Case::on_cpu(name, 1);
        let (config, latents) = (case.golden.config(), case.first_frames(1));
        let plan = whole(config, &latents);
        let expected = case.decode(config, &latents, &plan, 1);
        let weights = RawFile::read(&case.golden.folder.join(WEIGHTS));
        let file = folder.path().join(format!("{name}.safetensors"));
        weights.renamed(|name, tensor| (format!("vae.{name}"), tensor)).write(&file);
        let checkpoint = Checkpoint::open(&file, None).expect("a checkpoint");
        assert_eq!((checkpoint.naming(), checkpoint.prefix()), (Naming::Diffusers, "vae."));
        let decoder = Decoder::new(&program(&checkpoint), &checkpoint, cpu_ranks(1, 1));
        let renamed = Case { golden: Golden::load(name), decoder: decoder.expect("a decoder") };
        assert_same_bytes(name, &renamed.decode(config, &latents, &plan, 1), &expected);
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
