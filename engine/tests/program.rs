//! Programs: what the builder makes of a config, and what analysis says of it.

use halovae_core::{Axes, Size, Window};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::{VaeConfig, parse_config};
use halovae_engine::conformance::{RandomWeights, Reference, rounding_bound};
use halovae_engine::execute::execute;
use halovae_engine::program::{
    Analysis, FrameRepeat, Geometry, MemoryModel, Op, Program, ProgramBuilder, ReceptiveField,
    ValueId, fuse, peak_bytes,
};
use halovae_engine::tensor::{HostTensor, Shape};
use proptest::prelude::*;

fn config(blocks: &[u32], layers: u32, channels: u32, attention: bool) -> Box<dyn VaeConfig> {
    let json = serde_json::json!({
        "_class_name": "AutoencoderKL",
        "latent_channels": channels,
        "block_out_channels": blocks,
        "layers_per_block": layers,
        "norm_num_groups": 32.min(blocks.iter().copied().min().unwrap_or(1)),
        "mid_block_add_attention": attention,
        "use_post_quant_conv": false,
        "up_block_types": vec!["UpDecoderBlock2D"; blocks.len()],
        "down_block_types": vec!["DownEncoderBlock2D"; blocks.len()],
    });
    parse_config(json.to_string().as_bytes()).expect("a sound config")
}

fn flux() -> Program {
    config(&[128, 256, 512, 512], 2, 16, true).decoder().expect("Flux exists")
}

/// Holds nothing but the values.
struct Plain;

impl MemoryModel for Plain {
    fn in_place(&self, _: &Program, _: &Op) -> Option<ValueId> {
        None
    }
    fn workspace_bytes(&self, _: &Program, _: &Op, _: &dyn Fn(ValueId) -> Shape) -> u64 {
        0
    }
    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        program.weight_bytes()
    }
}

#[test]
fn flux_has_the_published_size_and_work() {
    let program = flux();
    // 49.55M decoder parameters, 4.94T conv and 0.275T attention multiply-adds at 1024 x 1024,
    // as counted on diffusers' model.
    let parameters = program.weight_bytes() / 4;
    assert_eq!(parameters / 10_000, 4954, "{parameters} parameters");
    let analysis = Analysis::new(&program, Size::new(128, 128), 1, &Plain);
    let tera = |flops: u128| flops as f64 / 2.0 / 1e12;
    let convs = tera(analysis.flops - analysis.attention_flops);
    assert!((4.93..4.97).contains(&convs), "{convs}T multiply-adds in convs");
    let attention = tera(analysis.attention_flops);
    assert!((0.274..0.276).contains(&attention), "{attention}T multiply-adds in attention");
}

#[test]
fn flux_looks_eighteen_cells_far() {
    let field = ReceptiveField::new(&flux());
    assert!(field.has_global_ops);
    assert_eq!((field.radius, field.frames), (18, [0, 0]));
}

#[test]
fn fusing_leaves_only_convs_statistics_and_the_middle() {
    let fused = fuse(&flux(), |_, _| true);
    let count = |wanted: fn(&Op) -> bool| fused.ops().iter().filter(|op| wanted(op)).count();
    assert_eq!(count(|op| matches!(op, Op::Silu { .. } | Op::Upsample { .. })), 0);
    assert_eq!(count(|op| matches!(op, Op::Add { .. })), 0);
    // The attention's norm is read by three convs and stays.
    assert_eq!(count(|op| matches!(op, Op::NormApply { .. })), 1);
}

fn conv_stack(kernels: &[u32], ups: &[bool]) -> Program {
    let mut builder = ProgramBuilder::new(1).expect("one channel");
    let mut x = builder.latents();
    for (index, (&kernel, &up)) in kernels.iter().zip(ups).enumerate() {
        if up {
            x = builder.upsample(&format!("up{index}"), x, 2).expect("small");
        }
        x = builder.conv(&format!("conv{index}"), x, 1, kernel).expect("small");
    }
    builder.finish(x).expect("a feature map")
}

/// Convs of so many taps in time, so many of them behind a frame, each after so many repeats.
fn conv_stack_over_time(convs: &[(u32, u32, u32)], first_alone: bool) -> Program {
    let builder = if first_alone { ProgramBuilder::first_frame_alone } else { ProgramBuilder::new };
    let mut builder = builder(1).expect("one channel");
    let mut x = builder.latents();
    for (index, &(kernel, behind, factor)) in convs.iter().enumerate() {
        let frames = FrameRepeat { factor, first_alone };
        x = builder.upsample_over_time(&format!("up{index}"), x, 1, frames).expect("small");
        let behind = behind.min(kernel - 1);
        let time = Window { before: kernel - 1 - behind, behind, ..Window::causal(kernel) };
        let windows = Axes::new(time, Window::POINT, Window::POINT);
        let name = format!("conv{index}");
        x = builder.conv_over_time(&name, x, 1, windows, Axes::default()).expect("small");
    }
    builder.finish(x).expect("a feature map")
}

/// No device decodes that, but a caller may ask.
#[test]
fn work_of_any_latents_is_counted() {
    let latents = Size::video(u32::MAX, u32::MAX, u32::MAX);
    let analysis = Analysis::new(&conv_stack(&[3], &[true]), latents, u32::MAX, &Plain);
    let extent = u128::from(u32::MAX);
    assert_eq!(analysis.flops, 2 * 9 * extent * (2 * extent) * (2 * extent));
    let attention = config(&[32, 64], 1, 4, true).decoder().expect("a sound config");
    let analysis = Analysis::new(&attention, latents, u32::MAX, &Plain);
    assert_eq!((analysis.flops, analysis.attention_flops), (u128::MAX, u128::MAX));
}

fn run(program: &Program, latents: &HostTensor) -> HostTensor {
    let weights = Reference.prepare(program, &Ones).expect("ones");
    let input = Reference.upload(latents).expect("upload");
    let output =
        execute(&Reference, program, &weights, input, |_| Ok::<(), ()>(())).expect("it runs");
    let all = Reference.shape(&output).size().at_origin();
    Reference.download(&output, all).expect("download")
}

/// With all weights one, nothing cancels: a pixel differs exactly where it reads a changed cell.
struct Ones;

impl halovae_engine::backend::WeightSource for Ones {
    fn load(
        &self,
        _: &halovae_engine::program::WeightSpec,
        out: &mut [f32],
    ) -> Result<(), halovae_engine::backend::BackendError> {
        out.fill(1.0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn receptive_radius_is_how_far_a_changed_cell_is_seen(
        layers in prop::collection::vec((prop::sample::select(vec![1u32, 3, 5]), any::<bool>()), 1..5)
    ) {
        let (kernels, ups): (Vec<u32>, Vec<bool>) = layers.into_iter().unzip();
        let program = conv_stack(&kernels, &ups);
        let field = ReceptiveField::new(&program);
        prop_assert!(!field.has_global_ops);
        let width = 2 * field.radius as usize + 5;
        let shape = Shape::new(1, 1, width, 1);
        let zeros = HostTensor::zeros(shape).expect("small");
        let mut impulse = zeros.clone();
        let centre = width / 2;
        impulse.data_mut()[centre] = 1.0;
        let [quiet, seen] = [run(&program, &zeros), run(&program, &impulse)];
        let scale = program.scale() as usize;
        let farthest = (0..quiet.data().len())
            .filter(|&at| quiet.data()[at] != seen.data()[at])
            .map(|at| (at % (width * scale) / scale).abs_diff(centre))
            .max();
        prop_assert_eq!(farthest, Some(field.radius as usize));
    }

    #[test]
    fn frames_read_are_how_far_a_changed_frame_is_seen(
        convs in prop::collection::vec((1u32..4, 0u32..3, 1u32..3), 1..4), first_alone: bool,
    ) {
        let program = conv_stack_over_time(&convs, first_alone);
        let field = ReceptiveField::new(&program);
        let [before, behind] = field.frames.map(|frames| frames as usize);
        // So many frames at both ends that the frames which see the changed one have all that they read.
        let margin = before + behind + 2;
        let shape = Shape::new(1, 1, 1, 1).over(2 * margin + 1);
        let zeros = HostTensor::zeros(shape).expect("small");
        let mut impulse = zeros.clone();
        impulse.data_mut()[margin] = 1.0;
        let [quiet, seen] = [run(&program, &zeros), run(&program, &impulse)];
        let (_, scale) = program.features(program.output());
        let latent = |at: usize| scale.time.latent(at as u32).expect("a frame") as usize;
        let changed = || (0..quiet.data().len()).filter(|&at| quiet.data()[at] != seen.data()[at]);
        // What a frame reads before it sees it later.
        prop_assert_eq!(changed().map(latent).max(), Some(margin + before));
        prop_assert_eq!(changed().map(latent).min(), Some(margin - behind));
    }

    #[test]
    fn decoders_of_any_config_fuse_to_the_same_function(
        levels in 1usize..4, layers in 1u32..4, latent in 1u32..5, attention: bool,
        height in 1usize..4, width in 1usize..4, decline in 0u64..64,
    ) {
        let blocks: Vec<u32> = [4, 8, 8][..levels].to_vec();
        let plain = config(&blocks, layers, latent, attention).decoder().expect("a sound config");
        // A backend may decline any fusion; the function stays the same.
        let fused = fuse(&plain, |program, op| {
            (decline >> (program.op_name(op).len() % 6)) & 1 == 0
        });
        let shape = Shape::new(1, height, width, latent as usize);
        let data = (0..shape.elements().expect("small")).map(|i| (i as f32).sin()).collect();
        let latents = HostTensor::new(shape, data).expect("one element a place");
        let run = |program: &Program| {
            let weights = Reference.prepare(program, &RandomWeights { seed: 5 }).expect("random");
            let input = Reference.upload(&latents).expect("upload");
            execute(&Reference, program, &weights, input, |_| Ok::<(), ()>(()))
                .map(|output| {
                    let s = Reference.shape(&output);
                    let [height, width] = [s.height as u32, s.width as u32];
                    let region = halovae_core::Region::new(0, 0, height, width);
                    Reference.download(&output, region).expect("download")
                })
                .expect("it runs")
        };
        let [expected, got] = [run(&plain), run(&fused)];
        prop_assert_eq!(expected.shape().height, height << (levels - 1));
        let bound = rounding_bound(&plain, &RandomWeights { seed: 5 }, &latents);
        for (e, g) in expected.data().iter().zip(got.data()) {
            prop_assert!((e - g).abs() <= bound, "{} {}, at most {} apart", e, g, bound);
        }
    }

    #[test]
    fn peak_is_the_worst_moment_of_a_counted_run(
        levels in 1usize..4, layers in 1u32..4, attention: bool, fused: bool,
        height in 1u32..9, width in 1u32..9,
    ) {
        let blocks: Vec<u32> = [32, 64, 64][..levels].to_vec();
        let plain = config(&blocks, layers, 4, attention).decoder().expect("a sound config");
        let program = if fused { fuse(&plain, |_, _| true) } else { plain };
        let geometry = Geometry::new(&program, 1, Size::new(height, width));
        let got = peak_bytes(&program, Size::new(height, width), 1, &Plain);

        // The obvious way: at each op, everything written that is still to be read, and its output.
        let written_at = |id: ValueId| program.ops().iter().position(|op| op.output() == id);
        let read_after = |id: ValueId, at: usize| {
            id == program.output()
                || program.ops()[at..].iter().any(|op| op.inputs().any(|read| read == id))
        };
        let ids = |program: &Program| {
            let mut ids = vec![program.input()];
            ids.extend(program.ops().iter().map(Op::output));
            ids
        };
        let expected = (0..program.ops().len())
            .map(|at| {
                ids(&program)
                    .into_iter()
                    .filter(|&id| match written_at(id) {
                        Some(written) => written <= at,
                        None => true,
                    })
                    .filter(|&id| read_after(id, at) || id == program.ops()[at].output())
                    .map(|id| geometry.shape(id).bytes())
                    .sum::<u64>()
            })
            .max();
        prop_assert_eq!(Some(got), expected);
    }
}
