//! Runs a program on one backend, all at once or as frames come.

use crate::backend::{Backend, BackendError, FrameReads, Operand, Operands};
use crate::program::{Held, Op, Program, Step, StepRead, Timeline, ValueId, taps};

/// Why a run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop<E> {
    /// An op failed.
    Op {
        /// Its name, as in the checkpoint.
        name: String,
        /// What the backend said.
        error: BackendError,
    },
    /// The caller asked for it between two ops.
    Asked(E),
}

/// What a device says of a decode that it repeats, which cannot tell which op failed.
impl<E> From<BackendError> for Stop<E> {
    fn from(error: BackendError) -> Self {
        Self::Op { name: "a repeated decode".into(), error }
    }
}

/// Runs `program` on `input` and gives its output.
///
/// `proceed` is called before each op with the op's place, and an error from it ends the run:
/// that is how a cancelled or failed decode stops within one op. A value is freed, or its memory
/// handed to the output, when its last reader runs.
///
/// # Errors
/// [`Stop`].
pub fn execute<B: Backend, E>(
    backend: &B,
    program: &Program,
    weights: &B::Weights,
    input: B::Tensor,
    proceed: impl FnMut(usize) -> Result<(), E>,
) -> Result<B::Tensor, Stop<E>> {
    let frames = backend.shape(&input).frames as u32;
    let mut execution = Execution::new(backend, program, weights, frames);
    let output = execution.push(input, proceed)?;
    Ok(output.expect("all frames of the latents give all frames of the output"))
}

/// A decode to which frames of latents come chunk by chunk, and that gives finished frames as soon
/// as they can be computed. In which chunks they come changes no value.
///
/// It holds, of each value, the frames that some op has still to read: a conv over time keeps those
/// that its taps look back to, and what reads all frames waits for all of them.
pub struct Execution<'a, B: Backend> {
    backend: &'a B,
    program: &'a Program,
    weights: &'a B::Weights,
    timeline: Timeline,
    values: Vec<Held<B::Tensor>>,
}

impl<'a, B: Backend> Execution<'a, B> {
    /// A decode of `frames` frames of latents, of which none has come yet.
    pub fn new(backend: &'a B, program: &'a Program, weights: &'a B::Weights, frames: u32) -> Self {
        let mut values = Vec::new();
        values.resize_with(program.values().len(), Held::default);
        Self { backend, program, weights, timeline: Timeline::new(program, frames), values }
    }

    /// The same, in steps of at most so many frames of any value: see [`frames_at_once`].
    ///
    /// [`frames_at_once`]: crate::program::frames_at_once
    #[must_use]
    pub fn at_most(mut self, frames: u64) -> Self {
        self.timeline = self.timeline.at_most(frames);
        self
    }

    /// Takes the next frames of the latents and gives the frames of the output that can be computed
    /// now and were not before; `None` if there are none.
    ///
    /// `proceed` is as for [`execute`].
    ///
    /// # Errors
    /// [`Stop`]; the execution cannot go on after it.
    pub fn push<E>(
        &mut self,
        chunk: B::Tensor,
        mut proceed: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Option<B::Tensor>, Stop<E>> {
        let program = self.program;
        let failed =
            |id: ValueId| move |error| Stop::Op { name: program.value(id).name.clone(), error };
        let (input, output) = (program.input(), program.output());
        let finished = self.timeline.end(output);
        let start = self.timeline.end(input);
        let end = start + self.backend.shape(&chunk).frames as u64;
        self.values[input.index()].push(start..end, chunk);
        self.timeline.advance(input, end);
        let mut is_idle = false;
        while !std::mem::replace(&mut is_idle, true) {
            for (place, op) in program.ops().iter().enumerate() {
                let Some(step) = self.timeline.step(program, op) else { continue };
                proceed(place).map_err(Stop::Asked)?;
                self.run(op, &step).map_err(failed(op.output()))?;
                is_idle = false;
            }
        }
        let finished = finished..self.timeline.end(output);
        if finished.is_empty() {
            return Ok(None);
        }
        let (values, is_read) = (&mut self.values[output.index()], self.timeline.is_read(output));
        let whole = if is_read { None } else { values.take(&finished) };
        if whole.is_some() {
            return Ok(whole);
        }
        let copy = self.backend.gather(&values.parts(&finished)).map_err(failed(output))?;
        if !is_read {
            *values = Held::default();
        }
        Ok(Some(copy))
    }

    /// Computes frames of an op's output, and drops what no op has to read any more.
    fn run(&mut self, op: &Op, step: &Step) -> Result<(), BackendError> {
        let Self { backend, program, weights, .. } = *self;
        let mut owned = Vec::new();
        for StepRead { id, frames, given, .. } in &step.reads {
            owned.push(given.then(|| self.values[id.index()].take(frames)).flatten());
        }
        let mut slots = Vec::new();
        for (owned, read) in owned.into_iter().zip(&step.reads) {
            slots.push(match owned {
                Some(tensor) => Some(Operand::Owned(tensor)),
                None => self.borrow(read)?,
            });
        }
        let operands = Operands::of_slots(slots).over_time(self.frame_reads(op, step));
        let output = backend.run(program, op, weights, operands)?;
        self.values[op.output().index()].push(step.outputs.clone(), output);
        for StepRead { id, needed, .. } in &step.reads {
            let keep = |tensor: B::Tensor, kept| backend.gather(&[(&tensor, kept)]);
            self.values[id.index()].drop_before(*needed, keep)?;
        }
        Ok(())
    }

    /// The frames that an op reads of an operand; `None` if it reads none, or reads them tap by tap:
    /// then they have no slot.
    fn borrow(&self, read: &StepRead) -> Result<Option<Operand<'_, B::Tensor>>, BackendError> {
        let values = &self.values[read.id.index()];
        if read.by_tap || read.frames.is_empty() {
            return Ok(None);
        }
        match values.exactly(&read.frames) {
            Some(tensor) => Ok(Some(Operand::Shared(tensor))),
            None => Ok(Some(Operand::Owned(self.backend.gather(&values.parts(&read.frames))?))),
        }
    }

    /// What an op's taps in time read, if it has any.
    fn frame_reads(&self, op: &Op, step: &Step) -> Option<FrameReads<'_, B::Tensor>> {
        let (window, edge) = op.by_tap()?;
        let StepRead { id, frames, total, .. } = step.reads.first()?;
        let taps = taps(&window, edge, *total, frames, &step.outputs);
        let parts = self.values[id.index()].parts(frames);
        Some(FrameReads::new(parts, window.kernel as usize, taps))
    }
}
