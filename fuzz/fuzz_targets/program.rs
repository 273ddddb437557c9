//! From any config to a decoder, its fusion and its analysis at any size; and any program over time,
//! whose frames come in any chunks.

#![no_main]

use std::collections::HashSet;

use halovae_core::{Axes, ShardGrid, Size};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::{AutoencoderKlConfig, VaeConfig as _};
use halovae_engine::conformance::{
    RandomWeights, Reference, Step, program_over_time, rounding_bound, run_at_once, run_in_chunks,
};
use halovae_engine::flow::Flow;
use halovae_engine::model::Model as _;
use halovae_engine::program::{
    Analysis, Geometry, MemoryModel, Op, Program, ReceptiveField, Timeline, ValueId, fuse,
};
use halovae_engine::shard::{self, Cut, Traffic};
use halovae_engine::tensor::{HostTensor, Shape};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// Fusion looks at every op for every op; beyond that many resnets it takes long, not other paths.
const MAX_RESNETS: u32 = 32;

/// Most steps of a program over time: more frames, rows and channels, not other paths.
const MAX_STEPS: usize = 12;

/// Most chunks that frames come in.
const MAX_CHUNKS: u32 = 24;

/// Frames of latents of a program that is cut into shards.
const MAX_ROUNDS: u32 = 16;

/// Most operations of a decode that is run.
const MAX_FLOPS: u128 = 1 << 19;

/// Most bytes of all values of such a decode.
const MAX_BYTES: u64 = 1 << 18;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u8),
    Any(u32),
}

impl Number {
    fn get(self) -> u32 {
        match self {
            Self::Small(number) => number.into(),
            Self::Any(number) => number,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    channels: Vec<Number>,
    groups: Number,
    /// Most channels divide by no number of groups; these do.
    channels_per_group: bool,
    latent_channels: Number,
    out_channels: Number,
    layers: Number,
    sample_size: [Number; 2],
    post_quant_conv: bool,
    attention: bool,
    height: Number,
    width: Number,
    batch: u8,
    /// Which fusions the backend takes.
    accepted: u64,
    /// Which operand an output takes the memory of.
    reused: u64,
    workspace: u64,
    /// Behind all others, so that inputs that end before it are of images alone.
    time: Time,
}

/// A program over time and its latents; of a config's decoder, how many frames it is given.
#[derive(Arbitrary, Debug)]
struct Time {
    frames: Number,
    /// Frames at a time.
    chunk: Number,
    /// Where short latents are cut into chunks.
    cuts: u16,
    extent: [u8; 2],
    channels: u8,
    first_alone: bool,
    keeps_workspace: bool,
    steps: Vec<Step>,
}

impl Time {
    /// Frames of latents of any length.
    fn frames(&self) -> u32 {
        self.frames.get().max(1)
    }

    /// A length of chunks, of which there are not too many.
    fn chunk(&self) -> u32 {
        self.chunk.get().max(self.frames().div_ceil(MAX_CHUNKS))
    }

    /// Frames of latents that are decoded, in chunks.
    fn chunks(&self) -> Vec<u32> {
        let mut chunks = vec![1];
        for at in 1..self.frames() % 7 {
            match self.cuts >> at & 1 {
                1 => chunks.push(1),
                _ => *chunks.last_mut().expect("there is one") += 1,
            }
        }
        chunks
    }
}

impl Input {
    fn config(&self) -> AutoencoderKlConfig {
        let groups = self.groups.get();
        let factor = if self.channels_per_group { groups } else { 1 };
        AutoencoderKlConfig {
            block_out_channels: self
                .channels
                .iter()
                .map(|c| c.get().wrapping_mul(factor))
                .collect(),
            norm_num_groups: groups,
            latent_channels: self.latent_channels.get(),
            out_channels: self.out_channels.get(),
            layers_per_block: self.layers.get(),
            sample_size: self.sample_size.map(Number::get),
            use_post_quant_conv: self.post_quant_conv,
            mid_block_add_attention: self.attention,
            ..AutoencoderKlConfig::default()
        }
    }
}

/// A memory model that takes the memory of any operand that is as large, and any workspace.
struct Model<'a>(&'a Input);

impl MemoryModel for Model<'_> {
    fn in_place(&self, program: &Program, op: &Op) -> Option<ValueId> {
        let pick = (self.0.reused >> (op.output().index() % 61)) as usize % 4;
        let kind = |id| program.value(id).kind;
        op.inputs().nth(pick).filter(|&id| kind(id) == kind(op.output()))
    }

    fn workspace_bytes(&self, _: &Program, _: &Op, _: &dyn Fn(ValueId) -> Shape) -> u64 {
        self.0.workspace
    }

    fn keeps_workspace(&self) -> bool {
        self.0.time.keeps_workspace
    }

    fn prepared_weight_bytes(&self, program: &Program) -> u64 {
        program.weight_bytes()
    }
}

fuzz_target!(|input: Input| {
    over_time(&input);
    let config = input.config();
    if config.validate().is_err() {
        return;
    }
    let levels = config.block_out_channels.len() as u32;
    if (config.layers_per_block + 1) * levels > MAX_RESNETS {
        return;
    }
    let plain = match config.decoder() {
        Ok(program) => program,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            return;
        }
    };
    well_formed(&plain);
    assert_eq!(plain.latent_channels(), config.latent_channels);
    assert_eq!(plain.out_channels(), config.out_channels);
    assert_eq!(plain.scale(), config.scale());
    let names: HashSet<_> = plain.weights().iter().map(|spec| &spec.name).collect();
    assert_eq!(names.len(), plain.weights().len(), "a weight that is read twice");

    let fused = fuse(&plain, |_, op| is_accepted(&input, op));
    well_formed(&fused);
    assert!(fused.ops().len() <= plain.ops().len());
    assert_eq!(fused.output(), plain.output());
    if levels <= 6 {
        assert_eq!(ReceptiveField::new(&fused), ReceptiveField::new(&plain));
    }
    at_a_size(&input, &plain, &fused);
    if is_small(&config) {
        same_picture(&input, &plain, &fused);
    }
});

fn is_accepted(input: &Input, op: &Op) -> bool {
    input.accepted >> (op.output().index() % 64) & 1 == 1
}

/// Every value is written once, before it is read.
fn well_formed(program: &Program) {
    let mut written = HashSet::from([program.input()]);
    for op in program.ops() {
        assert!(op.inputs().all(|value| written.contains(&value)), "{op:?} reads too early");
        assert!(written.insert(op.output()), "{op:?} writes again");
    }
    assert!(written.contains(&program.output()));
}

fn at_a_size(input: &Input, plain: &Program, fused: &Program) {
    let frames = input.time.frames();
    let latents = Size::video(frames, input.height.get(), input.width.get());
    let batch = usize::from(input.batch);
    let geometry = Geometry::new(plain, batch, latents);
    let picture = geometry.shape(plain.output());
    assert_eq!(picture, Geometry::new(fused, batch, latents).shape(fused.output()));
    let scale = plain.scale() as usize;
    assert_eq!(picture.height, latents.height as usize * scale);
    assert_eq!(picture.width, latents.width as usize * scale);
    assert_eq!((picture.batch, picture.frames), (batch, frames as usize));
    costs(input, plain, fused, latents);
    let model = Model(input);
    for program in [plain, fused] {
        // Cut into shards: each op is in one segment, and what a rank holds can be told.
        let chunk = input.time.chunk();
        // Rounds are walked one by one.
        let latents = Size { frames: latents.frames.min(MAX_ROUNDS), ..latents };
        let slices = if chunk.is_multiple_of(2) { latents.frames.min(3) } else { 1 };
        let bands = Axes::new(slices, latents.height.min(2), latents.width.min(2));
        let Ok(grid) = ShardGrid::of(latents, bands, program.out_scale()) else { continue };
        let cut = match Cut::new(program, grid, u32::from(input.batch)) {
            Ok(cut) => cut,
            Err(error) => {
                assert!(slices > 1, "same-size convs: {error}");
                continue;
            }
        };
        let mut next = 0;
        for segment in cut.segments() {
            assert!(segment.ops.start == next && segment.ops.end > next, "{segment:?}");
            next = segment.ops.end;
        }
        assert_eq!(next, program.ops().len());
        let some = shard::peak_bytes(program, &cut, 0, &model, Some(input.workspace), chunk);
        assert!(some >= input.workspace);
        let traffic = Traffic::new(program, grid, chunk).expect("same-size convs");
        assert!(grid.len() > 1 || traffic.bytes() == 0);
    }
}

/// Fused or not, a program does the same work, and holds what it finishes at a time.
fn costs(input: &Input, plain: &Program, fused: &Program, latents: Size) {
    let model = Model(input);
    for chunk in [input.time.chunk(), u32::MAX] {
        let [of_plain, of_fused] =
            [plain, fused].map(|program| Analysis::new(program, latents, chunk, &model));
        assert_eq!(of_plain.flops, of_fused.flops);
        assert!(of_plain.attention_flops <= of_plain.flops);
        for (program, analysis) in [(plain, of_plain), (fused, of_fused)] {
            let most = match program.out_scale().time.at(latents.frames) {
                Some(_) => Flow::new(program, latents.frames, chunk).most_finished() as usize,
                // A flow is of a plan's output, which is checked.
                None => 1,
            };
            let output = Geometry::new(program, 1, latents).shape(program.output());
            let peak = analysis.peak_live_bytes;
            assert!(peak >= output.over(most).bytes());
            assert!(peak >= input.workspace || program.ops().is_empty());
        }
    }
}

fn is_small(config: &AutoencoderKlConfig) -> bool {
    config.block_out_channels.len() <= 3
        && config.block_out_channels.iter().all(|&channels| channels <= 8)
        && config.layers_per_block <= 2
        && config.latent_channels <= 8
        && config.out_channels <= 8
}

/// Fused or not, a program means the same.
fn same_picture(input: &Input, plain: &Program, fused: &Program) {
    let [height, width] = [input.height, input.width].map(|extent| extent.get() as usize % 4 + 1);
    let latents = latents(Shape::new(1, height, width, plain.latent_channels() as usize));
    let weights = RandomWeights { seed: input.accepted };
    let bound = rounding_bound(plain, &weights, &latents);
    let [plain, fused] = [plain, fused].map(|program| decoded(program, &weights, &latents));
    same(&plain, &fused, bound);
}

fn latents(shape: Shape) -> HostTensor {
    let mut latents = HostTensor::zeros(shape).expect("memory for a few values");
    let values = latents.data_mut().iter_mut().enumerate();
    values.for_each(|(index, value)| *value = (index as f32 * 0.7).sin());
    latents
}

fn decoded(program: &Program, weights: &RandomWeights, latents: &HostTensor) -> HostTensor {
    let weights = Reference.prepare(program, weights).expect("random weights");
    run_at_once(&Reference, program, &weights, latents)
}

fn same(plain: &HostTensor, fused: &HostTensor, bound: f32) {
    assert_eq!(plain.shape(), fused.shape());
    for (plain, fused) in plain.data().iter().zip(fused.data()) {
        assert!((plain - fused).abs() <= bound, "{plain} and {fused}, at most {bound} apart");
    }
}

/// A program over time, of latents of any size, whose frames come in chunks of any length.
fn over_time(input: &Input) {
    let time = &input.time;
    let steps = &time.steps[..time.steps.len().min(MAX_STEPS)];
    if steps.is_empty() {
        return;
    }
    let plain = program_over_time(u32::from(time.channels) % 8 + 1, steps, time.first_alone);
    let fused = fuse(&plain, |_, op| is_accepted(input, op));
    assert_eq!(plain.out_scale(), fused.out_scale());
    let frames = time.frames();
    for program in [&plain, &fused] {
        well_formed(program);
        flows(program, frames, time.chunk());
        let chunks = time.chunks();
        timeline(program, &chunks);
        flows(program, chunks.iter().sum(), 1);
    }
    costs(input, &plain, &fused, Size::video(frames, input.height.get(), input.width.get()));
    if plain.out_scale().space <= 8 {
        same_in_chunks(input, &plain, &fused);
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
    let frames = chunks.iter().sum::<u32>() as usize;
    let [height, width] = input.time.extent.map(|extent| usize::from(extent) % 3 + 1);
    let shape = Shape::new(1, height, width, plain.latent_channels() as usize).over(frames);
    let size = Size::video(frames as u32, height as u32, width as u32);
    let geometry = Geometry::new(plain, 1, size);
    let of_values: u64 = plain.ops().iter().map(|op| geometry.shape(op.output()).bytes()).sum();
    let flops: u128 = plain.ops().iter().map(|op| geometry.flops(op)).sum();
    if of_values > MAX_BYTES || flops > MAX_FLOPS {
        return;
    }
    let latents = latents(shape);
    let source = RandomWeights { seed: input.accepted };
    let expected = decoded(fused, &source, &latents);
    same(&decoded(plain, &source, &latents), &expected, rounding_bound(plain, &source, &latents));
    let weights = Reference.prepare(fused, &source).expect("random weights");
    let parts = run_in_chunks(&Reference, fused, &weights, &latents, &chunks);
    assert_eq!(parts.len(), chunks.len());
    let data = parts.iter().flatten().flat_map(|part| part.data().iter().map(|x| x.to_bits()));
    assert!(data.eq(expected.data().iter().map(|x| x.to_bits())), "other bytes in chunks");
    if chunks.iter().all(|len| *len == chunks[0]) {
        let flow = Flow::new(fused, size.frames, chunks[0]);
        let came = parts.iter().map(|part| part.as_ref().map_or(0, |part| part.shape().frames));
        let finished = flow.steps().iter().map(|step| step.finished.len());
        assert!(came.eq(finished), "{flow:?}");
    }
}
