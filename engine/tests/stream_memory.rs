//! What a decode holds as frames come, against what is estimated.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use halovae_core::{Region, Size};
use halovae_engine::backend::{
    Backend, BackendError, DeviceId, FrameReads, Memory, Operand, Operands, WeightSource,
};
use halovae_engine::conformance::{
    Array, RandomWeights, Reference, Step, program_over_time, run_in_chunks,
};
use halovae_engine::program::{FrameRepeat, MemoryModel, Op, Program, ValueId, fuse, peak_bytes};
use halovae_engine::tensor::{HostTensor, Shape};
use proptest::prelude::*;

/// The reference, with a count of the bytes of its tensors.
#[derive(Default)]
struct Counting(Arc<Mutex<Memory>>);

struct Counted {
    array: Array,
    bytes: u64,
    memory: Arc<Mutex<Memory>>,
}

impl Counting {
    fn count(&self, array: Array) -> Counted {
        let bytes = Reference.shape(&array).bytes();
        let mut memory = self.0.lock().unwrap();
        memory.current += bytes;
        memory.peak = memory.peak.max(memory.current);
        Counted { array, bytes, memory: self.0.clone() }
    }
}

impl Drop for Counted {
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
    type Attention = ();

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
        operands: Operands<'_, Counted>,
    ) -> Result<Counted, BackendError> {
        let by_tap = match *op {
            Op::Conv(conv) => !conv.is_framewise(),
            Op::Upsample { frames, .. } => frames != FrameRepeat::NONE,
            _ => false,
        };
        let slots = [0, 1, 2].map(|at| operands.try_get(at).map(|it| Operand::Shared(&it.array)));
        let frames = by_tap.then(|| {
            let frames = operands.frames();
            FrameReads::new(arrays(frames.parts()), frames.kernel(), frames.taps().to_vec())
        });
        let operands = Operands::of_slots(slots).over_time(frames);
        Ok(self.count(Reference.run(program, op, weights, operands)?))
    }

    fn attend(
        &self,
        _: &Program,
        _: &Op,
        _: Operands<'_, Counted>,
        _: Option<()>,
    ) -> Result<(), BackendError> {
        unreachable!("no part of a frame is decoded")
    }

    fn attended(&self, (): ()) -> Result<Counted, BackendError> {
        unreachable!("no part of a frame is decoded")
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
    #![proptest_config(ProptestConfig::with_cases(96))]

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
}
