//! How much memory a decode needs at its worst moment: the same steps as an
//! [`Execution`](crate::execute::Execution) takes, with sizes in the place of values.

use std::ops::Range;

use halovae_core::Size;

use super::{
    Geometry, Held, MemoryModel, Op, Program, Step, StepRead, Timeline, ValueId, chunks,
    frames_at_once,
};
use crate::tensor::Shape;

/// The most bytes of values and workspace that are held at once to decode one sample of `latents`,
/// at most `chunk` frames of them at a time; weights are not counted.
pub fn peak_bytes(program: &Program, latents: Size, chunk: u32, model: &dyn MemoryModel) -> u64 {
    let mut walk = Walk {
        program,
        model,
        geometry: Geometry::new(program, 1, latents),
        timeline: Timeline::new(program, latents.frames)
            .at_most(frames_at_once(latents.frames, chunk)),
        held: vec![Held::default(); program.values.len()],
        live: 0,
        workspace: 0,
        peak: 0,
    };
    let (input, output) = (program.input(), program.output());
    for chunk in chunks(latents.frames, chunk) {
        let frames = chunk.start.into()..chunk.end.into();
        let finished = walk.timeline.end(output);
        walk.push(input, &frames, walk.bytes(input, &frames));
        walk.timeline.advance(input, frames.end);
        let mut is_idle = false;
        while !std::mem::replace(&mut is_idle, true) {
            for op in &program.ops {
                if let Some(step) = walk.timeline.step(program, op) {
                    walk.run(op, &step);
                    is_idle = false;
                }
            }
        }
        // Finished frames leave the device: copies of them, where ops read them too or they were
        // computed in several steps.
        let (is_read, finished) =
            (walk.timeline.is_read(output), finished..walk.timeline.end(output));
        if is_read || walk.held[output.index()].exactly(&finished).is_none() {
            let copy = walk.bytes(output, &finished);
            walk.reach(walk.live + copy + walk.workspace);
        }
        if !is_read {
            walk.drop_before(output, u64::MAX);
        }
    }
    u64::try_from(walk.peak).unwrap_or(u64::MAX)
}

struct Walk<'a> {
    program: &'a Program,
    model: &'a dyn MemoryModel,
    geometry: Geometry,
    timeline: Timeline,
    /// The bytes of the memory in which frames lie.
    held: Vec<Held<u128>>,
    // A value's bytes stop at u64::MAX; their sums must not, or freeing one would underflow.
    live: u128,
    /// That stays for later ops.
    workspace: u128,
    peak: u128,
}

impl Walk<'_> {
    fn shape(&self, id: ValueId, frames: &Range<u64>) -> Shape {
        // No more frames than the value has, which are usize.
        self.geometry.shape(id).over((frames.end - frames.start) as usize)
    }

    fn bytes(&self, id: ValueId, frames: &Range<u64>) -> u128 {
        self.model.value_bytes(self.shape(id, frames)).into()
    }

    fn reach(&mut self, bytes: u128) {
        self.peak = self.peak.max(bytes);
    }

    fn push(&mut self, id: ValueId, frames: &Range<u64>, bytes: u128) {
        self.held[id.index()].push(frames.clone(), bytes);
        self.live += bytes;
        self.reach(self.live);
    }

    fn run(&mut self, op: &Op, step: &Step) {
        let (program, model) = (self.program, self.model);
        let Step { outputs, reads } = step;
        // Copies of what does not lie in one tensor.
        let mut copies = 0;
        // What the op is given for good, which is free when it has run.
        let mut given = Vec::new();
        for read in reads {
            let held = &mut self.held[read.id.index()];
            if held.exactly(&read.frames).is_none() {
                copies += if read.by_tap { 0 } else { self.bytes(read.id, &read.frames) };
            } else if read.given {
                given.extend(held.take(&read.frames).map(|bytes| (read.id, bytes)));
            }
        }
        let shapes = |id: ValueId| match reads.iter().find(|read| read.id == id) {
            Some(read) => self.shape(id, &read.frames),
            None if id == op.output() => self.shape(id, outputs),
            None => self.geometry.shape(id),
        };
        let workspace = u128::from(model.workspace_bytes(program, op, &shapes));
        let reused = model.in_place(program, op).and_then(|reused| {
            given.iter().find(|&&(id, _)| id == reused).map(|&(_, bytes)| bytes)
        });
        let (bytes, more) = match reused {
            Some(bytes) => (bytes, 0),
            None => {
                let bytes = self.bytes(op.output(), outputs);
                (bytes, bytes)
            }
        };
        let scratch = match model.keeps_workspace() {
            true => self.workspace.max(workspace),
            false => workspace,
        };
        self.reach(self.live + more + copies + scratch);
        self.workspace = if model.keeps_workspace() { scratch } else { 0 };
        self.live -= given.iter().map(|&(_, bytes)| bytes).sum::<u128>();
        self.push(op.output(), outputs, bytes);
        for StepRead { id, needed, .. } in reads {
            self.drop_before(*id, *needed);
        }
    }

    fn drop_before(&mut self, id: ValueId, first: u64) {
        let mut held = std::mem::take(&mut self.held[id.index()]);
        let keep = |bytes: u128, kept: Range<usize>| {
            // The copy of what stays, beside what it is a copy of.
            let copy = self.bytes(id, &(0..kept.len() as u64));
            self.reach(self.live + copy + self.workspace);
            self.live = self.live - bytes + copy;
            Ok::<_, std::convert::Infallible>(copy)
        };
        let dropped = held.drop_before(first, keep).unwrap_or_else(|never| match never {});
        self.live -= dropped.into_iter().sum::<u128>();
        self.held[id.index()] = held;
    }
}
