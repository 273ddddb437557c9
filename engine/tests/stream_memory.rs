//! What a decode holds as frames come, against what is estimated.

mod stream_common;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use halovae_core::{Axes, Axis, Plan, Region, ShardGrid, Size};
use halovae_engine::backend::{
    Backend, BackendError, DeviceId, FrameReads, Memory, Operand, Operands, Surroundings,
    WeightSource,
};
use halovae_engine::conformance::{
    Array, RandomWeights, Reference, ReferenceAttention, Step, program_over_time, run_in_chunks,
};
use halovae_engine::decode::{Control, DecodeError, Decoder};
use halovae_engine::program::{MemoryModel, Op, Program, ValueId, fuse, peak_bytes};
use halovae_engine::shard::{self, Cut, ParkLimit};
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::{HostTensor, Shape};
use proptest::prelude::*;
use stream_common::cases;

/// The reference, with a count of the bytes of its tensors.
#[derive(Default)]
struct Counting(Arc<Mutex<Memory>>);

struct Counted {
    array: Array,
    _bytes: Bytes,
}

/// Bytes that are held as long as this is.
struct Bytes {
    bytes: u64,
    memory: Arc<Mutex<Memory>>,
}

impl Counting {
    fn count(&self, array: Array) -> Counted {
        let bytes = Reference.shape(&array).bytes();
        Counted { array, _bytes: self.hold(bytes) }
    }

    fn hold(&self, bytes: u64) -> Bytes {
        let mut memory = self.0.lock().unwrap();
        memory.current += bytes;
        memory.peak = memory.peak.max(memory.current);
        Bytes { bytes, memory: self.0.clone() }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.memory.lock().unwrap().current -= self.bytes;
    }
}

impl MemoryModel for Counting {
    fn in_place(&self, _: &Program, _: &Op) -> Option<ValueId> {
        None
    }

    fn workspace_bytes(&self, _: &Program, _: &Op, _: &dyn Fn(ValueId) -> Shape) -> u64 {
        0
    }

    fn prepared_weight_bytes(&self, _: &Program) -> u64 {
        0
    }
}

fn arrays<'a>(parts: &[(&'a Counted, Range<usize>)]) -> Vec<(&'a Array, Range<usize>)> {
    // Copies of nothing, or reads of it, would be tensors that stay for nothing.
    assert!(parts.iter().all(|(_, frames)| !frames.is_empty()));
    parts.iter().map(|(part, frames)| (&part.array, frames.clone())).collect()
}

impl Backend for Counting {
    type Tensor = Counted;
    type Weights = Vec<Vec<f64>>;
    type Attention = (ReferenceAttention, Bytes);

    fn name(&self) -> &'static str {
        "counting"
    }

    fn device(&self) -> DeviceId {
        Reference.device()
    }

    fn description(&self) -> String {
        Reference.description()
    }

    fn supports(&self, program: &Program, op: &Op) -> bool {
        Reference.supports(program, op)
    }

    fn prepare(
        &self,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<Self::Weights, BackendError> {
        Reference.prepare(program, source)
    }

    fn upload(&self, tensor: &HostTensor) -> Result<Counted, BackendError> {
        Ok(self.count(Reference.upload(tensor)?))
    }

    fn download(&self, tensor: &Counted, region: Region) -> Result<HostTensor, BackendError> {
        Reference.download(&tensor.array, region)
    }

    fn shape(&self, tensor: &Counted) -> Shape {
        Reference.shape(&tensor.array)
    }

    fn holds_frames(&self) -> bool {
        true
    }

    fn gather(&self, parts: &[(&Counted, Range<usize>)]) -> Result<Counted, BackendError> {
        Ok(self.count(Reference.gather(&arrays(parts))?))
    }

    fn run(
        &self,
        program: &Program,
        op: &Op,
        weights: &Self::Weights,
        mut operands: Operands<'_, Counted>,
    ) -> Result<Counted, BackendError> {
        let bytes_of_output = match *op {
            Op::Conv(conv) if conv.is_framewise() => {
                conv.output_shape(self.shape(operands.get(0))).bytes()
            }
            Op::Conv(conv) => {
                let frames = operands.frames();
                let part = self.shape(frames.parts()[0].0);
                conv.output_shape(part).over(frames.outputs()).bytes()
            }
            _ => 0,
        };
        let mut around = operands.take_surroundings();
        let margins = around.as_ref().map(|around| around.margins);
        let slots = [0, 1, 2].map(|at| operands.try_get(at).map(|it| Operand::Shared(&it.array)));
        let frames = op.by_tap().map(|_| {
            let frames = operands.frames();
            FrameReads::new(arrays(frames.parts()), frames.kernel(), frames.taps().to_vec())
        });
        let mut given = Operands::of_slots(slots).over_time(frames);
        // Strips are held while the op runs.
        let mut strips = None;
        let mut fetch = || {
            let halo = (around.as_mut().expect("there are margins").fetch)()?;
            let halo = strips.insert(halo).each_ref();
            Ok(halo.map(|strip| strip.as_ref().map(|strip| strip.array.clone())))
        };
        if let Some(margins) = margins {
            given = given.within(Surroundings { margins, fetch: &mut fetch });
        }
        // A device has the output's memory before the halo comes.
        let output = self.hold(bytes_of_output);
        let array = Reference.run(program, op, weights, given)?;
        drop(output);
        Ok(self.count(array))
    }

    fn attend(
        &self,
        program: &Program,
        op: &Op,
        operands: Operands<'_, Counted>,
        so_far: Option<Self::Attention>,
    ) -> Result<Self::Attention, BackendError> {
        let arrays = [0, 1, 2].map(|at| Operand::Shared(&operands.get(at).array));
        let (attention, bytes) = so_far.unzip();
        let bytes = bytes.unwrap_or_else(|| {
            // The sums, and of each query the largest score and the sum of weights.
            let (query, value) = (self.shape(operands.get(0)), self.shape(operands.get(2)));
            let places = Shape { channels: 1, ..query }.bytes();
            self.hold(Shape { channels: value.channels, ..query }.bytes() + 2 * places)
        });
        Ok((Reference.attend(program, op, Operands::new(arrays), attention)?, bytes))
    }

    fn attended(&self, (attention, bytes): Self::Attention) -> Result<Counted, BackendError> {
        drop(bytes);
        Ok(self.count(Reference.attended(attention)?))
    }

    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn memory(&self) -> Memory {
        *self.0.lock().unwrap()
    }

    fn reset_peak(&self) {
        let mut memory = self.0.lock().unwrap();
        memory.peak = memory.current;
    }
}

proptest! {
    #![proptest_config(cases(96))]

    /// Byte by byte, for a backend that reuses no memory.
    #[test]
    fn the_peak_of_a_decode_in_chunks_is_as_estimated(
        steps in prop::collection::vec(any::<Step>(), 1..9), first_alone: bool, frames in 1u32..7,
        chunk in 1u32..7, extent in [1u32..4, 1u32..4], decline in 0u64..64,
    ) {
        let plain = program_over_time(2, &steps, first_alone);
        let program = fuse(&plain, |_, op| decline >> (op.output().index() % 6) & 1 == 0);
        let backend = Counting::default();
        let size = Size::video(frames, extent[0], extent[1]);
        let latents = HostTensor::zeros(Shape::sample(size, 2)).expect("small");
        let weights = backend.prepare(&program, &RandomWeights { seed: 5 }).expect("weights");
        let lens = (0..frames).step_by(chunk as usize).map(|start| chunk.min(frames - start));
        run_in_chunks(&backend, &program, &weights, &latents, &lens.collect::<Vec<_>>());
        let Memory { current, peak } = backend.memory();
        prop_assert_eq!(current, 0);
        prop_assert_eq!(peak, peak_bytes(&program, size, chunk, &backend));
    }

    /// The same for shards, in turns and beside each other, with what waits in memory or in a file.
    #[test]
    fn the_peak_of_a_decode_in_shards_is_as_estimated(
        steps in prop::collection::vec(any::<Step>(), 1..9), first_alone: bool,
        extent in [1u32..6, 1u32..5, 1u32..5], shards in [1u32..3, 1u32..3, 1u32..4],
        ranks in 1u32..4, chunk in 1u32..4, limit in prop::option::of(0u64..2000),
    ) {
        let program = program_over_time(2, &steps, first_alone);
        let size = Size::video(extent[0], extent[1], extent[2]);
        let shards = Axes::new(shards[0], shards[1], shards[2]);
        let shards = Axes::from_fn(|axis: Axis| shards[axis].min(size.along(axis)));
        let grid = ShardGrid::of(size, shards, program.out_scale()).expect("bands of cells");
        let backends = (0..ranks).map(|_| Counting::default()).collect();
        let decoder = Decoder::new(&program, &RandomWeights { seed: 5 }, backends).expect("weights");
        let park = limit.map(|bytes| ParkLimit { bytes, scratch: std::env::temp_dir() });
        let control = Control { chunk, park, ..Control::default() };
        let latents = HostTensor::zeros(Shape::sample(size, 2)).expect("small");
        let mut sink = MemorySink::default();
        match decoder.decode(&latents, &Plan::sharded(grid), &mut sink, &control) {
            Ok(report) => prop_assert_eq!(report.measured_peak_bytes, report.estimated_peak_bytes),
            Err(DecodeError::Uncut(_) | DecodeError::Latents(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Where nothing may wait on the device, shards that are alike are not all followed. Where a byte may,
    /// which no value has, they are.
    #[test]
    fn shards_that_are_alike_take_the_same(
        steps in prop::collection::vec(any::<Step>(), 1..9), first_alone: bool, keeps: bool,
        extent in [1u32..6, 1u32..14, 1u32..14], shards in [1u32..3, 1u32..8, 1u32..8],
        ranks in 1u32..4, chunk in 1u32..4,
    ) {
        let program = program_over_time(2, &steps, first_alone);
        let size = Size::video(extent[0], extent[1], extent[2]);
        let shards = Axes::new(shards[0], shards[1], shards[2]);
        let shards = Axes::from_fn(|axis: Axis| shards[axis].min(size.along(axis)));
        let grid = ShardGrid::of(size, shards, program.out_scale()).expect("bands of cells");
        if let Ok(cut) = Cut::new(&program, grid, ranks) {
            for rank in 0..cut.ranks() {
                let model = Workspace { keeps };
                let peak = |limit| shard::peak_bytes(&program, &cut, rank, &model, Some(limit), chunk);
                prop_assert_eq!(peak(0), peak(1));
            }
        }
    }
}

/// Ops that need workspace, each its own.
struct Workspace {
    keeps: bool,
}

impl MemoryModel for Workspace {
    fn in_place(&self, _: &Program, _: &Op) -> Option<ValueId> {
        None
    }

    fn workspace_bytes(&self, _: &Program, op: &Op, shapes: &dyn Fn(ValueId) -> Shape) -> u64 {
        shapes(op.output()).bytes() * (1 + op.output().index() as u64 * 7 % 5)
    }

    fn prepared_weight_bytes(&self, _: &Program) -> u64 {
        0
    }

    fn keeps_workspace(&self) -> bool {
        self.keeps
    }
}
