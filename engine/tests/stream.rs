//! Decodes to which frames come chunk by chunk, against decodes of all frames at once.

mod stream_common;

use halovae_core::{Axes, Window};
use halovae_engine::backend::{Backend, BackendError, WeightSource};
use halovae_engine::conformance::{
    RandomWeights, Reference, Step, can_hide_changes, program_over_time, rounding_bound,
    run_at_once, run_in_chunks,
};
use halovae_engine::flow::Flow;
use halovae_engine::program::{
    Edge, FrameRepeat, Op, Program, ProgramBuilder, ProgramError, Reads, Timeline, ValueId,
    WeightSpec, fold_single_frame, fuse,
};
use halovae_engine::tensor::{HostTensor, Shape};
use proptest::prelude::*;
use stream_common::cases;

fn latents(frames: usize, [height, width]: [usize; 2]) -> HostTensor {
    let shape = Shape::new(1, height, width, 2).over(frames);
    let len = shape.elements().expect("small");
    let data = (0..len).map(|at| (at as f32 * 0.7).sin()).collect();
    HostTensor::new(shape, data).expect("one element for each place")
}

fn whole(program: &Program, source: &dyn WeightSource, latents: &HostTensor) -> HostTensor {
    let weights = Reference.prepare(program, source).expect("weights");
    run_at_once(&Reference, program, &weights, latents)
}

fn streamed(
    program: &Program,
    source: &dyn WeightSource,
    latents: &HostTensor,
    chunks: &[u32],
) -> Vec<Option<HostTensor>> {
    let weights = Reference.prepare(program, source).expect("weights");
    run_in_chunks(&Reference, program, &weights, latents, chunks)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<Step>(), 1..9)
}

/// Chunk lengths that add up to `frames`.
fn chunks(frames: usize, cuts: u16) -> Vec<u32> {
    let mut lens = vec![1];
    for at in 1..frames {
        match cuts >> at & 1 {
            1 => lens.push(1),
            _ => *lens.last_mut().expect("there is one") += 1,
        }
    }
    lens
}

/// With all weights one, nothing cancels: a frame differs exactly where it reads a changed one.
struct Ones;

impl WeightSource for Ones {
    fn load(&self, _: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        out.fill(1.0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_chunks_give_the_bytes_of_all_frames_at_once(
        steps in steps(), first_alone: bool, count in 1usize..7, cuts: u16, extent in [1usize..4, 1usize..4],
        decline in 0u64..64,
    ) {
        let plain = program_over_time(2, &steps, first_alone);
        // A backend may decline any fusion.
        let program = fuse(&plain, |_, op| decline >> (op.output().index() % 6) & 1 == 0);
        let latents = latents(count, extent);
        let source = RandomWeights { seed: 5 };
        let expected = whole(&program, &source, &latents);
        let got = streamed(&program, &source, &latents, &chunks(count, cuts));
        let joined: Vec<f32> = got.into_iter().flatten().flat_map(HostTensor::into_data).collect();
        prop_assert_eq!(expected.data(), &joined);
        let unfused = whole(&plain, &source, &latents);
        prop_assert_eq!(expected.shape(), unfused.shape());
        let bound = rounding_bound(&plain, &source, &latents);
        for (e, u) in expected.data().iter().zip(unfused.data()) {
            prop_assert!((e - u).abs() <= bound, "{} {}, at most {} apart", e, u, bound);
        }
    }

    /// A frame comes with the last chunk that it depends on, no later.
    #[test]
    fn frames_come_as_soon_as_they_can_be_known(
        steps in steps(), first_alone: bool, count in 1usize..6,
    ) {
        // Without what bounds values, so that any change is seen.
        let steps: Vec<Step> = steps.into_iter().filter(|step| !can_hide_changes(*step)).collect();
        let program = program_over_time(2, &steps, first_alone);
        let latents = HostTensor::zeros(Shape::new(1, 1, 1, 2).over(count)).expect("small");
        let quiet = whole(&program, &Ones, &latents);
        let len = quiet.shape().frame_len();
        let mut known = vec![0; quiet.shape().frames];
        for frame in 0..count {
            let mut changed = latents.clone();
            changed.data_mut()[2 * frame..2 * frame + 2].fill(1.0);
            let seen = whole(&program, &Ones, &changed);
            let pairs = quiet.data().chunks(len).zip(seen.data().chunks(len));
            for (last, (quiet, seen)) in known.iter_mut().zip(pairs) {
                if quiet != seen {
                    *last = frame;
                }
            }
        }
        let out = streamed(&program, &Ones, &latents, &vec![1; count]);
        let came: Vec<usize> = out
            .iter()
            .enumerate()
            .flat_map(|(chunk, out)| vec![chunk; out.as_ref().map_or(0, |out| out.shape().frames)])
            .collect();
        // Frames come in their order.
        let mut in_order = known.clone();
        for at in 1..in_order.len() {
            in_order[at] = in_order[at].max(in_order[at - 1]);
        }
        prop_assert_eq!(came, in_order);
    }

    /// On a single frame, what is folded for it gives the same, and reads frame by frame.
    #[test]
    fn a_folded_program_gives_the_same_frame(
        steps in steps(), first_alone: bool, extent in [1usize..4, 1usize..4],
    ) {
        let plain = program_over_time(2, &steps, first_alone);
        let folded = fold_single_frame(&plain);
        prop_assert!(folded.is_of_one_frame() && folded.ops().len() <= plain.ops().len());
        let latents = latents(1, extent);
        let source = RandomWeights { seed: 9 };
        let expected = whole(&plain, &source, &latents);
        let got = whole(&folded, &source, &latents);
        prop_assert_eq!(expected.shape(), got.shape());
        let bound = rounding_bound(&plain, &source, &latents);
        for (e, g) in expected.data().iter().zip(got.data()) {
            prop_assert!((e - g).abs() <= bound, "{} {}, at most {} apart", e, g, bound);
        }
        let timeline = Timeline::new(&plain, 1);
        if plain.ops().iter().all(|op| timeline.total(op.output()) <= 1) {
            let over_time = |op: &Op| matches!(op, Op::Conv(conv) if !conv.is_framewise());
            prop_assert!(!folded.ops().iter().any(over_time), "{:?}", folded.ops());
        }
    }

    /// A value's frames are kept as long as some output that is still to come reads them, and no
    /// longer.
    #[test]
    fn frames_are_needed_as_long_as_they_are_read(
        steps in steps(), first_alone: bool, count in 1usize..7, cuts: u16,
    ) {
        let program = program_over_time(2, &steps, first_alone);
        let mut timeline = Timeline::new(&program, count as u32);
        let mut came = 0;
        for len in chunks(count, cuts) {
            came += u64::from(len);
            timeline.advance(program.input(), came);
            for op in program.ops() {
                let outputs = timeline.ready(op);
                for operand in op.reads() {
                    let read = outputs.clone().flat_map(|at| frames_of(&timeline, operand, at));
                    let read: Vec<u64> = read.collect();
                    let stated = timeline.read(operand, &outputs);
                    let bounds = read.iter().min().zip(read.iter().max());
                    match bounds {
                        Some((&first, &last)) => prop_assert_eq!(stated, first..last + 1),
                        None => prop_assert!(stated.is_empty()),
                    }
                }
                timeline.advance(op.output(), outputs.end);
                for id in op.inputs() {
                    prop_assert_eq!(timeline.needed(&program, id), first_read(&program, &timeline, id));
                }
            }
        }
    }
}

/// The frames of an operand that one output reads, tap by tap.
fn frames_of(timeline: &Timeline, (id, reads): (ValueId, Reads), output: u64) -> Vec<u64> {
    let total = timeline.total(id);
    let window = match reads {
        Reads::All | Reads::Statistics => return (0..total).collect(),
        Reads::FirstFrame if output == 0 => return vec![0],
        Reads::FirstFrame => return vec![],
        Reads::Frame => Window::POINT,
        Reads::Cells(windows) => windows.time,
    };
    let first = window.first(output as i64);
    let taps = (first..first + i64::from(window.kernel)).filter(|&tap| tap >= 0);
    taps.map(|tap| window.cell(tap) as u64).filter(|&cell| cell < total).collect()
}

/// The first frame of a value, of those that are there, that an output still to come reads.
fn first_read(program: &Program, timeline: &Timeline, id: ValueId) -> u64 {
    let to_come = |op: &Op| {
        let outputs = timeline.end(op.output())..timeline.total(op.output());
        let operands: Vec<_> = op.reads().filter(|&(read, _)| read == id).collect();
        outputs.flat_map(move |output| {
            operands.clone().into_iter().map(move |operand| (operand, output))
        })
    };
    let read = program.ops().iter().flat_map(to_come);
    let read = read.flat_map(|(operand, output)| frames_of(timeline, operand, output));
    read.min().unwrap_or(u64::MAX).min(timeline.end(id))
}

/// In chunks of any length and all at once, the same bytes.
fn is_the_same_in_chunks(program: &Program) {
    let (latents, source) = (latents(6, [2, 3]), RandomWeights { seed: 9 });
    let expected = whole(program, &source, &latents);
    for cuts in 0..64 {
        let got = streamed(program, &source, &latents, &chunks(6, cuts));
        let joined: Vec<f32> = got.into_iter().flatten().flat_map(HostTensor::into_data).collect();
        assert!(expected.data() == joined, "cut at {cuts:b}");
    }
}

fn in_time(window: Window) -> Axes<Window> {
    Axes::new(window, Window::POINT, Window::POINT)
}

/// What is read of the frames behind the first by two ops, one of them a join, whose first frame
/// reads none of them.
#[test]
fn a_joined_value_that_others_read_stays() -> Result<(), ProgramError> {
    let mut builder = ProgramBuilder::first_frame_alone(2)?;
    let window = Window { skip: 1, ..Window::causal(3) };
    let latents = builder.latents();
    let rest = builder.conv_over_time("rest", latents, 4, in_time(window), Axes::default())?;
    // It is read before anything is joined.
    builder.silu("beside", rest)?;
    let joined = builder.join("joined", latents, rest, 2)?;
    is_the_same_in_chunks(&builder.finish(joined)?);
    Ok(())
}

/// The output may be read by ops, frame by frame or looking back; it stays as long as they need it.
#[test]
fn an_output_that_is_read_is_given_all_the_same() -> Result<(), ProgramError> {
    for before in [true, false] {
        let mut builder = ProgramBuilder::new(2)?;
        let (windows, edges) = (in_time(Window::causal(3)), Axes::default());
        let latents = builder.latents();
        let output = builder.conv_over_time("output", latents, 2, windows, edges)?;
        match before {
            true => builder.silu("frame by frame", output)?,
            false => builder.conv_over_time("back", output, 2, windows, edges)?,
        };
        is_the_same_in_chunks(&builder.finish(output)?);
    }
    Ok(())
}

/// Beyond an edge that is repeated lies the outermost frame that is read, so that frames that are
/// all alike stay so; zeros darken the first ones.
#[test]
fn edges_are_repeats_of_what_is_read() -> Result<(), ProgramError> {
    let one = HostTensor::new(Shape::new(1, 1, 1, 1).over(4), vec![5.0, 1.0, 1.0, 1.0]);
    let latents = one.expect("one element for each frame");
    for (time, expected) in
        [(Edge::Repeat, [5.0, 4.0, 4.0, 4.0]), (Edge::Zeros, [5.0, 2.0, 3.0, 4.0])]
    {
        let mut builder = ProgramBuilder::first_frame_alone(1)?;
        let edges = Axes { time, ..Axes::default() };
        let window = Window { skip: 1, ..Window::causal(3) };
        let input = builder.latents();
        let rest = builder.conv_over_time("rest", input, 1, in_time(window), edges)?;
        let joined = builder.join("joined", input, rest, 1)?;
        // All weights are one, and so is the bias.
        let output = whole(&builder.finish(joined)?, &Ones, &latents);
        assert_eq!(output.data(), expected);
    }
    Ok(())
}

/// Frames are padded with zeros or repeats alone: reflections are refused, and not taken for zeros.
#[test]
fn frames_have_no_reflections() -> Result<(), ProgramError> {
    let mut builder = ProgramBuilder::new(2)?;
    let (input, window) = (builder.latents(), in_time(Window::centred(3)));
    let edges = Axes { time: Edge::Reflect, ..Axes::default() };
    let error = builder.conv_over_time("conv", input, 2, window, edges).expect_err("a reflection");
    assert!(error.to_string().contains("reflections"), "{error}");
    Ok(())
}

/// More frames than `u32` has are in no plan, and a flow of them ends there without overflow.
#[test]
fn a_flow_ends_where_frames_leave_u32() -> Result<(), ProgramError> {
    let mut builder = ProgramBuilder::new(1)?;
    let frames = FrameRepeat { factor: 4, first_alone: false };
    let latents = builder.latents();
    let up = builder.upsample_over_time("up", latents, 1, frames)?;
    let flow = Flow::new(&builder.finish(up)?, u32::MAX, 1 << 31);
    assert_eq!(flow.most_finished(), u32::MAX);
    assert!(flow.steps().is_sorted_by_key(|step| step.finished.end));
    Ok(())
}
