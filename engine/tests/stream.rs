//! Decodes to which frames come chunk by chunk, against decodes of all frames at once.

use std::convert::Infallible;
use std::ops::Range;

use halovae_core::{Axes, Window};
use halovae_engine::backend::{Backend, BackendError, WeightSource};
use halovae_engine::conformance::{Array, RandomWeights, Reference};
use halovae_engine::execute::{Execution, execute};
use halovae_engine::program::{
    Edge, FrameRepeat, Program, ProgramBuilder, ValueId, WeightSpec, fuse,
};
use halovae_engine::tensor::{HostTensor, Shape};
use proptest::prelude::*;

/// A step of a random program, with choices that each step makes its own of.
type Step = (u8, u8, u8);

/// Adds a step behind `x`; steps that do not fit there add nothing.
fn step(
    builder: &mut ProgramBuilder,
    name: &str,
    x: ValueId,
    step: Step,
    past: &[ValueId],
) -> ValueId {
    let (kind, a, b) = step;
    let channels = builder.channels(x);
    let spatial = [Window::POINT, Window::centred(3)][usize::from(b % 2)];
    let edges =
        Axes { time: [Edge::Zeros, Edge::Repeat][usize::from(a / 8 % 2)], ..Axes::default() };
    let over_time = |builder: &mut ProgramBuilder, name: &str, out, time| {
        let windows = Axes::new(time, spatial, spatial);
        builder.conv_over_time(name, x, out, windows, edges)
    };
    let added = match kind % 10 {
        0 | 1 => over_time(builder, name, 1 + u32::from(a % 3), Window::causal(3)),
        2 => over_time(builder, name, channels, Window::centred(3)),
        3 => over_time(
            builder,
            name,
            channels,
            Window { behind: 2, before: 1, ..Window::centred(4) },
        ),
        4 => {
            let halved =
                Window { stride: 2, before: u32::from(a % 2), behind: 0, ..Window::centred(2) };
            over_time(builder, name, channels, Window { behind: 1 - halved.before, ..halved })
        }
        5 => {
            let factor = 2 + u32::from(a % 2);
            let time = Window { skip: 1, ..Window::causal(3) };
            over_time(builder, &format!("{name}.rest"), channels * factor, time)
                .and_then(|rest| builder.join(name, x, rest, factor))
        }
        6 => {
            let frames = FrameRepeat { factor: 1 + u32::from(a % 3), first_alone: b % 2 == 0 };
            builder.upsample_over_time(name, x, 1 + u32::from(a / 4 % 2), frames)
        }
        7 => builder.channel_norm(name, x, 1e-12, 3),
        8 => builder
            .silu(name, x)
            .and_then(|x| builder.clamp(&format!("{name}.clamp"), x, [-0.2, 3.0])),
        _ => builder.add(name, x, past[usize::from(a) % past.len()]),
    };
    added.unwrap_or(x)
}

/// Whether a step can hide that its input has changed.
fn bounds((kind, ..): Step) -> bool {
    matches!(kind % 10, 7 | 8)
}

fn program(steps: &[Step], first_alone: bool) -> Program {
    let mut builder = match first_alone {
        true => ProgramBuilder::first_frame_alone(2),
        false => ProgramBuilder::new(2),
    }
    .expect("two channels");
    let mut x = builder.latents();
    let mut past = vec![x];
    for (index, &kind) in steps.iter().enumerate() {
        x = step(&mut builder, &format!("step{index}"), x, kind, &past);
        past.push(x);
    }
    builder.finish(x).expect("a feature map")
}

fn latents(frames: usize, [height, width]: [usize; 2]) -> HostTensor {
    let shape = Shape::new(1, height, width, 2).over(frames);
    let len = shape.elements().expect("small");
    let data = (0..len).map(|at| (at as f32 * 0.7).sin()).collect();
    HostTensor::new(shape, data).expect("one element for each place")
}

fn frames(tensor: &HostTensor, frames: Range<usize>) -> HostTensor {
    let all = tensor.shape().size().at_origin();
    let len = frames.end - frames.start;
    tensor.crop(0, all.over(frames.start as u32, len as u32)).expect("crop")
}

fn download(array: &Array) -> HostTensor {
    Reference.download(array, Reference.shape(array).size().at_origin()).expect("download")
}

/// The frames that come out after each chunk.
fn streamed(
    program: &Program,
    source: &dyn WeightSource,
    latents: &HostTensor,
    chunks: &[usize],
) -> Vec<Option<HostTensor>> {
    let weights = Reference.prepare(program, source).expect("weights");
    let mut execution =
        Execution::new(&Reference, program, &weights, latents.shape().frames as u32);
    let mut start = 0;
    let mut out = Vec::new();
    for &len in chunks {
        let chunk = Reference.upload(&frames(latents, start..start + len)).expect("upload");
        let finished = execution.push(chunk, |_| Ok::<(), Infallible>(())).expect("it runs");
        out.push(finished.as_ref().map(download));
        start += len;
    }
    out
}

fn whole(program: &Program, source: &dyn WeightSource, latents: &HostTensor) -> HostTensor {
    let weights = Reference.prepare(program, source).expect("weights");
    let input = Reference.upload(latents).expect("upload");
    let output = execute(&Reference, program, &weights, input, |_| Ok::<(), Infallible>(()));
    download(&output.expect("it runs"))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<Step>(), 1..9)
}

/// Chunk lengths that add up to `frames`.
fn chunks(frames: usize, cuts: u16) -> Vec<usize> {
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

/// So many cases, or as many as `PROPTEST_CASES` asks for.
fn cases(few: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(few),
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_chunks_give_the_bytes_of_all_frames_at_once(
        steps in steps(), first_alone: bool, count in 1usize..7, cuts: u16, extent in [1usize..4, 1usize..4],
        decline in 0u64..64,
    ) {
        let plain = program(&steps, first_alone);
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
        for (e, u) in expected.data().iter().zip(unfused.data()) {
            prop_assert!((e - u).abs() <= 1e-5 * unfused.max_abs().max(1.0), "{} {}", e, u);
        }
    }

    /// A frame comes with the last chunk that it depends on, no later.
    #[test]
    fn frames_come_as_soon_as_they_can_be_known(
        steps in steps(), first_alone: bool, count in 1usize..6,
    ) {
        // Without what bounds values, so that any change is seen.
        let steps: Vec<Step> = steps.into_iter().filter(|step| !bounds(*step)).collect();
        let program = program(&steps, first_alone);
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
}
