//! LTX's decoders, whose frames depend on those behind them.

use halovae_core::{AxisTiling, Direction, DroppedFrame, Plan, TileGrid, Tiling, TimeTiling};
use halovae_cpu::CpuBackend;
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::{AutoencoderKlLtxConfig, Checkpoint, Naming};
use halovae_engine::conformance::Reference;
use halovae_engine::decode::Decoder;
use halovae_engine::program::{ReceptiveField, fold_single_frame};
use halovae_engine::tensor::HostTensor;
use halovae_tests::compare::assert_same_bytes;
use halovae_tests::decode::{Cut, cpu_ranks, plan, program, size_of};
use halovae_tests::disk::{CONFIG, RawFile, WEIGHTS};
use halovae_tests::golden::Golden;
use halovae_tests::naming;

use crate::case::{Case, whole};

/// A golden model.
struct Model {
    name: &'static str,
    /// What its levels begin with.
    begins: &'static [&'static [&'static str]],
    /// Pixels of a tile, and the stride.
    tile: [u32; 2],
    /// The same in time.
    frames: [u32; 2],
}

const UPSAMPLER: &[&str] = &["upsamplers"];

const MODELS: [Model; 4] = [
    Model {
        name: "ltx",
        begins: &[&[], UPSAMPLER, &["conv_in", "upsamplers"]],
        tile: [32, 24],
        frames: [8, 4],
    },
    Model { name: "ltx2", begins: &[UPSAMPLER; 2], tile: [64, 48], frames: [8, 4] },
    Model { name: "ltx2-3", begins: &[UPSAMPLER; 3], tile: [32, 24], frames: [12, 8] },
    Model {
        name: "ltx2-causal",
        begins: &[UPSAMPLER, &["conv_in", "upsamplers"], &[]],
        tile: [32, 24],
        frames: [8, 4],
    },
];

/// Decodes of all frames of latents, and of fewer.
fn check_whole<B: Backend>(case: &Case<B>) {
    let (config, all) = (case.golden.config(), case.golden.latents.shape().frames);
    for frames in 1..=all {
        let latents = case.first_frames(frames);
        let picture = case.decode(config, &latents, &whole(config, &latents), 1);
        let key = if frames == all { "whole".into() } else { format!("frames{frames}") };
        case.check(&format!("{frames} frames of latents"), &key, &picture);
    }
}

#[test]
fn decodes_of_any_length() {
    for Model { name, .. } in MODELS {
        check_whole(&Case::on_cpu(name, 1));
    }
    check_whole(&Case::load("ltx", vec![Reference]));
    check_whole(&Case::load("ltx2-causal", vec![Reference]));
    let case = Case::load("ltx2", vec![Reference]);
    let (config, latents) = (case.golden.config(), case.first_frames(2));
    let picture = case.decode(config, &latents, &whole(config, &latents), 1);
    case.check("the reference", "frames2", &picture);
}

/// An image is one frame, through the program that is folded for it: convs sum their taps.
#[test]
fn images() {
    for Model { name, .. } in MODELS {
        let golden = Golden::load(name);
        let program = fold_single_frame(&program(&golden.checkpoint));
        assert!(program.ops().iter().all(|op| op.by_tap().is_none()), "{name}");
        let decoder = Decoder::new(&program, &golden.checkpoint, cpu_ranks(1, 1));
        let case = Case { golden, decoder: decoder.expect("a decoder") };
        let (config, latents) = (case.golden.config(), case.first_frames(1));
        let plan = whole(config, &latents);
        case.check(name, "frames1", &case.decode(config, &latents, &plan, 1));
    }
}

/// How far a frame looks back and ahead, in frames of latents, follows from the convs.
#[test]
fn frames_look_ahead_unless_they_are_causal() {
    for (name, ahead) in [("ltx", true), ("ltx2", true), ("ltx2-3", true), ("ltx2-causal", false)] {
        let program = program(&Golden::load(name).checkpoint);
        let field = ReceptiveField::new(&program);
        assert_eq!(field.frames[1] > 0, ahead, "{name}: {field:?}");
        assert!(field.frames[0] > 0 && !field.has_global_ops, "{name}: {field:?}");
    }
}

/// Tiles of rows and columns, and of frames as well, of which the later ones drop their last.
#[test]
fn tiles() {
    for Model { name, tile: [tile, stride], frames: [frames, frames_apart], .. } in MODELS {
        for ranks in [1, 3] {
            let case = Case::on_cpu(name, ranks);
            let (config, latents) = (case.golden.config(), &case.golden.latents);
            let in_space = plan(config, size_of(latents), Cut::Strides(tile, stride));
            let axis =
                AxisTiling::Stride { tile_sample_min_size: tile, tile_sample_stride: stride };
            let own = config.time_tiling().expect("a class with tiles of frames");
            assert_eq!(own.dropped, DroppedFrame::Last);
            let time = TimeTiling {
                tile_sample_min_num_frames: frames,
                tile_sample_stride_num_frames: frames_apart,
                ..own
            };
            let tiling = Tiling::new(axis, axis, config.tiling().scale).with_time(time);
            let grid = TileGrid::new(Direction::Decode, size_of(latents), &tiling);
            let in_time = Plan::tiled(grid.expect("a grid"));
            for (key, plan) in [("tiled", in_space), ("tiled_in_time", in_time)] {
                for chunk in [1, 3] {
                    let picture = case.decode(config, latents, &plan, chunk);
                    case.check(&format!("{name}, {ranks} ranks, {chunk}"), key, &picture);
                }
            }
        }
    }
}

#[test]
fn patches() {
    let case = Case::on_cpu("ltx2", 4);
    let (config, latents) = (case.golden.config(), &case.golden.latents);
    let plan = plan(config, size_of(latents), Cut::Patch(4));
    case.check("patches", "patch4", &case.decode(config, latents, &plan, 1));
}

#[test]
fn shards_give_the_whole() {
    for (name, cut, ranks) in [
        ("ltx", Cut::Sharded(2, 3), 4),
        ("ltx", Cut::Sliced(2, 1, 2), 3),
        ("ltx2", Cut::Sharded(2, 2), 4),
        ("ltx2", Cut::Sharded(5, 1), 2),
        ("ltx2", Cut::Sliced(2, 1, 1), 2),
        ("ltx2", Cut::Sliced(4, 2, 2), 5),
        ("ltx2-3", Cut::Sharded(1, 3), 3),
        ("ltx2-3", Cut::Sliced(2, 2, 2), 3),
        ("ltx2-3", Cut::Sliced(3, 1, 1), 3),
        ("ltx2-causal", Cut::Sharded(3, 2), 4),
        ("ltx2-causal", Cut::Sliced(2, 1, 2), 2),
    ] {
        let case = Case::on_cpu(name, ranks);
        let (config, latents) = (case.golden.config(), &case.golden.latents);
        let plan = plan(config, size_of(latents), cut);
        for chunk in [1, 2] {
            let picture = case.decode(config, latents, &plan, chunk);
            case.check(&format!("{name}, {cut:?}, {ranks} ranks, {chunk}"), "whole", &picture);
        }
    }
}

fn decode_whole(case: &Case<CpuBackend>, latents: &HostTensor) -> HostTensor {
    let config = case.golden.config();
    case.decode(config, latents, &whole(config, latents), 1)
}

/// Files under the names of the original code, alone and among other models, with a config and without.
#[test]
fn original_names_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for Model { name, begins, .. } in MODELS {
        let case = Case::on_cpu(name, 1);
        let latents = case.first_frames(2);
        let expected = decode_whole(&case, &latents);
        let weights = RawFile::read(&case.golden.folder.join(WEIGHTS));
        for prefix in ["", "vae."] {
            let mut renamed = weights.renamed(|name, tensor| {
                (format!("{prefix}{}", naming::to_ltx(begins, name)), tensor)
            });
            if prefix == "vae." {
                // Of LTX-2's other VAE, whose decoder begins with the same names.
                for of_sound in
                    ["decoder.conv_in.conv.weight", "per_channel_statistics.mean-of-means"]
                {
                    let tensor = weights.tensors["decoder.conv_in.conv.bias"].clone();
                    renamed.tensors.insert(format!("audio_vae.{of_sound}"), tensor);
                }
            }
            let file = folder.path().join(format!("{name}.safetensors"));
            renamed.write(&file);
            let given = case.golden.folder.join(CONFIG);
            let checkpoint = Checkpoint::open(&file, Some(&given)).expect("a checkpoint");
            assert_eq!(checkpoint.naming(), Naming::Original("LTX"), "{name}");
            assert_eq!(checkpoint.prefix(), prefix, "{name}");
            assert!(checkpoint.ignored().is_empty(), "{name}: {:?}", checkpoint.ignored());
            let of = |checkpoint: &Checkpoint| {
                let own = checkpoint.config().downcast_ref::<AutoencoderKlLtxConfig>();
                own.expect("an LTX").statistics.clone()
            };
            assert!(of(&checkpoint).is_some(), "{name}");
            assert_eq!(of(&checkpoint), of(&case.golden.checkpoint), "{name}");
            let decoder = Decoder::new(&program(&checkpoint), &checkpoint, cpu_ranks(1, 1));
            let renamed = Case { golden: Golden::load(name), decoder: decoder.expect("a decoder") };
            assert_same_bytes(name, &decode_whole(&renamed, &latents), &expected);
        }
    }
}
