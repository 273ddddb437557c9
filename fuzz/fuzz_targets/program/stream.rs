//! Programs over time: frames that come in chunks.

use halovae_core::Size;
use halovae_engine::backend::Backend as _;
use halovae_engine::conformance::{
    RandomWeights, Reference, program_over_time, rounding_bound, run_in_chunks,
};
use halovae_engine::flow::Flow;
use halovae_engine::program::{Geometry, Program, Timeline, fold_single_frame, fuse};
use halovae_engine::tensor::HostTensor;

use crate::decoded::{decoded, latents, same};
use crate::form::well_formed;
use crate::input::Input;
use crate::sizes::costs;

/// Most steps of a program over time: more frames, rows and channels, not other paths.
const MAX_STEPS: usize = 12;

/// Most operations of a decode that is run.
const MAX_FLOPS: u128 = 1 << 19;

/// Most bytes of all values of such a decode.
const MAX_BYTES: u64 = 1 << 18;

/// A program over time, of latents of any size, whose frames come in chunks of any length.
pub(crate) fn over_time(input: &Input) {
    let time = &input.time;
    let steps = &time.steps[..time.steps.len().min(MAX_STEPS)];
    if steps.is_empty() {
        return;
    }
    let plain = program_over_time(u32::from(time.channels) % 8 + 1, steps, time.first_alone);
    let fused = fuse(&plain, |_, op| input.accepts(op));
    assert_eq!(plain.out_scale(), fused.out_scale());
    well_formed(&plain);
    well_formed(&fused);
    let size = Size::video(time.frames(), input.height.get(), input.width.get());
    costs(input, &plain, &fused, size);
    streamed(input, &plain, &fused);
}

/// Frames that come in chunks of any length, and small decodes of them.
pub(crate) fn streamed(input: &Input, plain: &Program, fused: &Program) {
    let time = &input.time;
    let frames = time.frames();
    for program in [plain, fused] {
        flows(program, frames, time.chunk());
        let chunks = time.chunks();
        timeline(program, &chunks);
        flows(program, chunks.iter().sum(), 1);
    }
    if plain.out_scale().space <= 8 {
        same_in_chunks(input, plain, fused);
        same_folded(input, plain, fused);
    }
}

/// Frames are finished in order, each once, and at the same frame of the latents however these come.
fn flows(program: &Program, frames: u32, chunk: u32) {
    let Some(total) = program.out_scale().time.at(frames) else { return };
    let longest = chunk.saturating_mul(3);
    let [flow, in_threes] = [chunk, longest].map(|chunk| Flow::new(program, frames, chunk));
    let whole = Flow::new(program, frames, u32::MAX);
    assert_eq!((whole.steps().len(), whole.most_finished()), (1, total));
    for flow in [&flow, &in_threes, &whole] {
        let (mut came, mut finished) = (0, 0);
        for step in flow.steps() {
            assert!(step.latents.start == came && step.latents.end > came, "{flow:?}");
            assert!(step.finished.start == finished && step.finished.end >= finished, "{flow:?}");
            (came, finished) = (step.latents.end, step.finished.end);
        }
        assert_eq!((came, finished), (frames, total));
        let keep = total / 3..total - total / 4;
        let parts: Vec<_> = flow.parts(keep.clone()).collect();
        let gaps = parts.windows(2).any(|pair| pair[0].end != pair[1].start);
        assert!(!gaps && parts.iter().all(|part| !part.is_empty()), "{parts:?} of {keep:?}");
        assert!(parts.first().is_none_or(|part| part.start == keep.start), "{parts:?} of {keep:?}");
        assert!(parts.last().is_none_or(|part| part.end == keep.end), "{parts:?} of {keep:?}");
        assert_eq!(parts.is_empty(), keep.is_empty());
    }
    for step in in_threes.steps() {
        let mut steps = flow.steps().iter();
        let same = steps.find(|short| short.latents.end == step.latents.end);
        assert_eq!(same.map(|short| short.finished.end), Some(step.finished.end));
    }
}

/// No op reads a frame that is not there yet, or that no op was to read any more.
fn timeline(program: &Program, chunks: &[u32]) {
    let mut timeline = Timeline::new(program, chunks.iter().sum());
    let mut dropped = vec![0; program.values().len()];
    for &len in chunks {
        timeline.advance(program.input(), timeline.end(program.input()) + u64::from(len));
        for op in program.ops() {
            let outputs = timeline.ready(op);
            assert_eq!(outputs.start, timeline.end(op.output()), "{op:?}");
            assert!(outputs.end <= timeline.total(op.output()), "{op:?}");
            for operand in op.reads() {
                let (id, _) = operand;
                let read = timeline.read(operand, &outputs);
                assert!(read.end <= timeline.end(id), "{op:?} reads {read:?}");
                assert!(read.is_empty() || read.start >= dropped[id.index()], "{op:?}");
            }
            timeline.advance(op.output(), outputs.end);
            for id in op.inputs() {
                let needed = timeline.needed(program, id);
                assert!(needed >= dropped[id.index()] && needed <= timeline.end(id), "{op:?}");
                dropped[id.index()] = needed;
            }
        }
    }
    for op in program.ops() {
        assert_eq!(timeline.end(op.output()), timeline.total(op.output()), "{op:?}");
        assert!(op.inputs().all(|id| dropped[id.index()] == timeline.total(id)), "{op:?}");
    }
}

/// Frames that come in chunks give the bytes of all at once, and so many as the flow says; fused or
/// not, a program means the same.
fn same_in_chunks(input: &Input, plain: &Program, fused: &Program) {
    let chunks = input.time.chunks();
    let Some(latents) = small_latents(input, plain, chunks.iter().sum()) else { return };
    let source = RandomWeights { seed: input.accepted };
    let expected = decoded(fused, &source, &latents);
    same(&decoded(plain, &source, &latents), &expected, rounding_bound(plain, &source, &latents));
    let weights = Reference.prepare(fused, &source).expect("random weights");
    let parts = run_in_chunks(&Reference, fused, &weights, &latents, &chunks);
    assert_eq!(parts.len(), chunks.len());
    let data = parts.iter().flatten().flat_map(|part| part.data().iter().map(|x| x.to_bits()));
    assert!(data.eq(expected.data().iter().map(|x| x.to_bits())), "other bytes in chunks");
    if chunks.iter().all(|len| *len == chunks[0]) {
        let flow = Flow::new(fused, latents.shape().frames as u32, chunks[0]);
        let came = parts.iter().map(|part| part.as_ref().map_or(0, |part| part.shape().frames));
        let finished = flow.steps().iter().map(|step| step.finished.len());
        assert!(came.eq(finished), "{flow:?}");
    }
}

/// Folded for a single frame, a program means the same, fused before or after that.
fn same_folded(input: &Input, plain: &Program, fused: &Program) {
    let Some(latents) = small_latents(input, plain, 1) else { return };
    let source = RandomWeights { seed: input.accepted };
    let bound = rounding_bound(plain, &source, &latents);
    let expected = decoded(plain, &source, &latents);
    let folded = fold_single_frame(plain);
    let fused_behind = fuse(&folded, |_, op| input.accepts(op));
    for program in [folded, fused_behind, fold_single_frame(fused)] {
        well_formed(&program);
        same(&expected, &decoded(&program, &source, &latents), bound);
    }
}

/// A few cells in so many frames, unless a decode of them takes long.
fn small_latents(input: &Input, program: &Program, frames: u32) -> Option<HostTensor> {
    let [height, width] = input.time.extent.map(|extent| u32::from(extent) % 3 + 1);
    let geometry = Geometry::new(program, 1, Size::video(frames, height, width));
    let of_values: u64 = program.ops().iter().map(|op| geometry.shape(op.output()).bytes()).sum();
    let flops: u128 = program.ops().iter().map(|op| geometry.flops(op)).sum();
    let is_small = of_values <= MAX_BYTES && flops <= MAX_FLOPS;
    is_small.then(|| latents(geometry.shape(program.input())))
}
