//! Programs over time: on all frames at once against the reference, and in chunks against that.

use std::convert::Infallible;
use std::ops::Range;

use halovae_core::{Axes, Window};

use super::case::{assert_close, random_tensor};
use super::{Make, Random, Reference, Rounding};
use crate::backend::Backend;
use crate::execute::{Execution, execute};
use crate::program::{
    ChannelOrder, Edge, FrameRepeat, Program, ProgramBuilder, ProgramError, ValueId,
    frames_at_once, fuse,
};
use crate::tensor::{HostTensor, Shape};

/// A step of a program: what it adds, and two numbers that it makes its choices by.
pub type Step = [u8; 3];

/// A program of latents of so many channels, a step after the other: convs over time that look back,
/// ahead, or both, or that leave out frames, with zeros, copies or reflections around them, repeats of frames, cells that lie in channels, first frames that stand alone, norms
/// over channels, attention, sums. A step that does not fit adds nothing.
pub fn program_over_time(channels: u32, steps: &[Step], first_alone: bool) -> Program {
    let builder = match first_alone {
        true => ProgramBuilder::first_frame_alone(channels),
        false => ProgramBuilder::new(channels),
    };
    let mut builder = builder.expect("a few channels");
    let mut past = vec![builder.latents()];
    for (index, &step) in steps.iter().enumerate() {
        let x = past[past.len() - 1];
        past.push(add(&mut builder, &format!("step{index}"), step, &past).unwrap_or(x));
    }
    builder.finish(past[past.len() - 1]).expect("a feature map of every frame")
}

/// Whether a step can hide that its input has changed, be it by a norm or by cutting off.
pub fn can_hide_changes([kind, ..]: Step) -> bool {
    matches!(kind % 14, 7 | 8 | 11)
}

fn add(
    builder: &mut ProgramBuilder,
    name: &str,
    [kind, a, b]: Step,
    past: &[ValueId],
) -> Result<ValueId, ProgramError> {
    let x = past[past.len() - 1];
    let channels = builder.channels(x);
    let of_frame = [Window::POINT, Window::centred(3)][usize::from(b % 2)];
    let time = [Edge::Zeros, Edge::Repeat][usize::from(a / 8 % 2)];
    let beside = [Edge::Zeros, Edge::Zeros, Edge::Repeat, Edge::Reflect];
    // A frame's edges are an op of its own only where there is padding.
    let padded = usize::from(b % 2);
    let [height, width] = [b / 64, b / 16 % 4].map(|edge| beside[padded * usize::from(edge)]);
    let edges = Axes { time, height, width };
    let other = if a % 3 == 0 { channels } else { channels / 2 + 1 };
    let conv = |builder: &mut ProgramBuilder, name: &str, channels, time| {
        let windows = Axes::new(time, of_frame, of_frame);
        builder.conv_over_time(name, x, channels, windows, edges)
    };
    match kind % 14 {
        0 | 1 => conv(builder, name, other, Window::causal(3)),
        2 => conv(builder, name, channels, Window::centred(3)),
        3 => conv(builder, name, channels, Window { before: 1, behind: 2, ..Window::centred(4) }),
        4 => {
            let before = u32::from(a % 2);
            let window = Window { before, behind: 1 - before, stride: 2, ..Window::centred(2) };
            conv(builder, name, channels, window)
        }
        5 => {
            let factor = 2 + u32::from(a % 2);
            let window = Window { skip: 1, ..Window::causal(3) };
            let rest = conv(builder, &format!("{name}.rest"), channels * factor, window)?;
            builder.join(name, x, rest, factor)
        }
        6 => {
            let frames = FrameRepeat { factor: 1 + u32::from(a % 3), first_alone: b % 2 == 0 };
            builder.upsample_over_time(name, x, 1 + u32::from(a / 4 % 2), frames)
        }
        7 => {
            let normed = match a / 2 % 3 {
                0 => builder.channel_norm(name, x, 1e-12, 3)?,
                1 => builder.rms_norm(name, x, 1e-8)?,
                _ => builder.layer_norm(name, x, 1e-6)?,
            };
            if a % 2 == 0 { builder.silu(&format!("{name}.silu"), normed) } else { Ok(normed) }
        }
        8 => builder.clamp(name, x, [-0.7, 1.5]),
        9 => {
            let up = builder.upsample(name, x, 2)?;
            let windows = Axes::new(Window::POINT, Window::centred(3), Window::centred(3));
            let edges = Axes { time: Edge::Zeros, ..edges };
            builder.conv_over_time(&format!("{name}.conv"), up, channels, windows, edges)
        }
        10 => {
            let [q, k, v] = builder.fused_projections(name, x, channels)?;
            let mixed = builder.attention(&format!("{name}.attention"), [q, k, v])?;
            builder.add(&format!("{name}.sum"), mixed, x)
        }
        11 => builder.silu(name, x),
        12 => {
            let space = 1 + u32::from(a % 2);
            let frames = FrameRepeat { factor: 1 + u32::from(a / 2 % 3), first_alone: b % 2 == 0 };
            let places = frames.factor * space * space;
            // Each channel of the input so often that there are enough of them.
            let channels = 1 + u32::from(b / 2 % 3);
            let copies = (channels * places).div_ceil(builder.channels(x));
            let nested = ChannelOrder::nested(frames.factor, space, copies);
            let order = match b / 8 % 4 {
                0 => nested,
                // All channels again, where there are not enough of them.
                3 => {
                    let period = (builder.channels(x) / places).max(1);
                    let copies = places.div_ceil(builder.channels(x));
                    ChannelOrder { copies, period, ..nested }
                }
                // Columns before rows, and channels innermost.
                1 => ChannelOrder { row: 1, column: space, ..nested },
                _ => ChannelOrder {
                    first: 0,
                    channel: 1,
                    column: channels,
                    row: channels * space,
                    frame: channels * space * space,
                    ..nested
                },
            };
            builder.shuffle(name, x, channels, (space, frames), order)
        }
        _ => builder.add(name, x, past[usize::from(a) % past.len()]),
    }
}

/// Frames of the latents, one behind the other.
fn frames(latents: &HostTensor, range: Range<u32>) -> HostTensor {
    let all = latents.shape().size().at_origin();
    latents.crop(0, all.over(range.start, range.end - range.start)).expect("a small tensor")
}

/// All frames of the output, from latents that come in chunks of these lengths.
pub fn run_in_chunks<B: Backend>(
    backend: &B,
    program: &Program,
    weights: &B::Weights,
    latents: &HostTensor,
    chunks: &[u32],
) -> Vec<Option<HostTensor>> {
    let count = latents.shape().frames as u32;
    let longest = chunks.iter().copied().max().unwrap_or(1);
    let mut execution =
        Execution::new(backend, program, weights, count).at_most(frames_at_once(count, longest));
    let mut start = 0;
    let mut push = |&len: &u32| {
        let chunk = backend.upload(&frames(latents, start..start + len)).expect("an upload");
        start += len;
        let finished = execution
            .push(chunk, |_| Ok::<(), Infallible>(()))
            .unwrap_or_else(|stop| panic!("{stop:?}"));
        finished.map(|frames| {
            let all = backend.shape(&frames).size().at_origin();
            backend.download(&frames, all).expect("a download")
        })
    };
    chunks.iter().map(&mut push).collect()
}

/// The output of all frames at once.
pub fn run_at_once<B: Backend>(
    backend: &B,
    program: &Program,
    weights: &B::Weights,
    latents: &HostTensor,
) -> HostTensor {
    let input = backend.upload(latents).expect("an upload");
    let output = execute(backend, program, weights, input, |_| Ok::<(), Infallible>(()))
        .unwrap_or_else(|stop| panic!("{stop:?}"));
    let all = backend.shape(&output).size().at_origin();
    backend.download(&output, all).expect("a download")
}

/// A random program, if the backend has all of its ops, and latents for it. One that holds frames has
/// all of them.
fn random_case<B: Backend>(
    backend: &B,
    rounding: &Rounding,
    random: &mut Random,
) -> Option<(Program, Program, HostTensor)> {
    let byte = |random: &mut Random| random.integer(0, 255) as u8;
    let steps: Vec<Step> =
        (0..random.integer(1, 6)).map(|_| [byte(random), byte(random), byte(random)]).collect();
    let channels = random.choice(&[2, 5, 17, 36]);
    let plain = program_over_time(channels, &steps, random.coin());
    let fused = fuse(&plain, |program, op| backend.supports(program, op));
    let most_frames = if backend.holds_frames() { 6 } else { 1 };
    let extents = [most_frames, 7, 9].map(|most| random.integer(1, most) as usize);
    let [frames, height, width] = extents;
    let shape = Shape::new(1, height, width, channels as usize).over(frames);
    let latents = rounding.tensor(random_tensor(random, shape));
    let has_all = [&plain, &fused]
        .iter()
        .all(|program| program.ops().iter().all(|op| backend.supports(program, op)));
    assert!(has_all || !backend.holds_frames(), "it holds frames, and lacks an op of {plain:?}");
    has_all.then_some((plain, fused, latents))
}

/// Programs over time, plain and fused, give what the reference gives.
pub fn programs_over_time<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..60 {
        let mut random = Random::new(5000 + seed);
        let case = random_case(&backend, &rounding, &mut random);
        let Some((plain, fused, latents)) = case else { continue };
        let source = rounding.weights(seed);
        let weights = Reference.prepare(&plain, &source).expect("random weights");
        let expected = run_at_once(&Reference, &plain, &weights, &latents);
        for program in [&plain, &fused] {
            let weights = backend.prepare(program, &source).expect("random weights");
            let got = run_at_once(&backend, program, &weights, &latents);
            let what = format!("seed {seed}, latents {}, {:#?}", latents.shape(), program.ops());
            assert_close(&what, &got, &expected, rounding.program);
        }
    }
}

/// Frames that come in chunks give what all of them at once give: the same bytes, where a backend
/// promises that, else what rounding allows.
pub fn chunks_of_frames<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..40 {
        let mut random = Random::new(6000 + seed);
        let case = random_case(&backend, &rounding, &mut random);
        let Some((_, program, latents)) = case else { continue };
        let weights = backend.prepare(&program, &rounding.weights(seed)).expect("random weights");
        let expected = run_at_once(&backend, &program, &weights, &latents);
        let mut chunks = Vec::new();
        let mut left = latents.shape().frames as u32;
        while left > 0 {
            let len = random.integer(1, left);
            chunks.push(len);
            left -= len;
        }
        let parts = run_in_chunks(&backend, &program, &weights, &latents, &chunks);
        let data: Vec<f32> = parts.into_iter().flatten().flat_map(HostTensor::into_data).collect();
        let what = format!("seed {seed}, chunks {chunks:?}, {:#?}", program.ops());
        if backend.name() == "cpu" {
            assert!(data == expected.data(), "{what}: other bytes");
        }
        let got = HostTensor::new(expected.shape(), data).unwrap_or_else(|| panic!("{what}"));
        assert_close(&what, &got, &expected, rounding.program);
    }
}
