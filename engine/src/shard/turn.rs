//! A shard's turn on the device: the ops of one segment.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use halovae_core::Margins;

use super::around::Around;
use super::carrier::Carrier;
use super::lent::{LentFrames, Loan, joined};
use super::park::Key;
use super::pass::Segment;
use super::rounds::{HaloFrames, Round};
use super::run::{Finished, Run, ShardJob};
use super::side::Side;
use super::stop::{ShardStop, failed};
use crate::backend::{Backend, BackendError, FrameReads, Halo, Operand, Operands, Surroundings};
use crate::group::{Cause, Group, GroupError};
use crate::program::{Held, Op, Step, StepRead, ValueId, taps};

/// Of a shard's values, those that die in this segment, and those made in it.
type Values<T> = BTreeMap<ValueId, Held<T>>;

impl<B: Backend, C: Carrier<B>, G: Group + ?Sized, F> Run<'_, B, C, G, F>
where
    F: FnMut(Finished) -> Result<(), GroupError>,
{
    /// Runs a segment's ops on one shard, as far as they can compute anything in this round.
    pub(super) fn turn(
        &mut self,
        segment: &Segment,
        shard: u32,
        round: &Round,
    ) -> Result<(), ShardStop> {
        let ShardJob { program, cut, .. } = *self.job;
        let start = Instant::now();
        let before = self.seconds.get(&shard).copied().unwrap_or(0.0);
        let mut values = Values::default();
        for index in segment.ops.clone() {
            let Some(step) = round.step(cut.slice_of(shard), index) else { continue };
            self.group.check()?;
            let op = &program.ops()[index];
            for read in step.reads.iter().filter(|read| !program.is_statistics(read.id)) {
                let dies = self.liveness.dies_within(read.id, &segment.ops);
                // Of what is read tap by tap some frames stay for the next round.
                if dies && !read.by_tap && !values.contains_key(&read.id) {
                    let held = self.park.take(Key::Value(read.id, shard));
                    let held = held.map_err(|cause| failed(program, op, shard, cause))?;
                    values.insert(read.id, held);
                }
            }
            let output = self.run_op(index, step, shard, round, &mut values)?;
            for StepRead { id, needed, .. } in &step.reads {
                self.drop_before(*id, shard, *needed, &mut values)?;
            }
            if let Op::NormStats { output: id, .. } = *op {
                let partial = self.carrier.pass_on(&Rc::new(output)).map_err(Cause::Backend);
                let partial = partial.map_err(|cause| failed(program, op, shard, cause))?;
                self.partials.insert((id, shard), partial);
            } else {
                if op.output() == program.output() {
                    let seconds = || before + start.elapsed().as_secs_f64();
                    self.finish(shard, step.outputs.clone(), seconds, &output)?;
                }
                values.entry(op.output()).or_default().push(step.outputs.clone(), output);
            }
        }
        self.before_file()?;
        let is_read = program.ops().iter().any(|op| op.inputs().any(|id| id == program.output()));
        values.retain(|&id, _| id != program.output() || is_read);
        for (id, held) in values {
            for (frames, tensor) in held.into_parts() {
                self.park.put(Key::Value(id, shard), frames, tensor)?;
            }
        }
        self.seconds.insert(shard, before + start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Drops frames that no op reads any more.
    fn drop_before(
        &mut self,
        id: ValueId,
        shard: u32,
        first: u64,
        values: &mut Values<B::Tensor>,
    ) -> Result<(), ShardStop> {
        let backend = self.job.backend;
        if let Some(held) = values.get_mut(&id) {
            let keep = |tensor: B::Tensor, kept| backend.gather(&[(&tensor, kept)]);
            held.drop_before(first, keep).map_err(Cause::Backend)?;
        }
        Ok(self.park.drop_before(Key::Value(id, shard), first)?)
    }

    fn run_op(
        &mut self,
        index: usize,
        step: &Step,
        shard: u32,
        round: &Round,
        values: &mut Values<B::Tensor>,
    ) -> Result<B::Tensor, ShardStop> {
        let ShardJob { backend, program, weights, cut, .. } = *self.job;
        let op = &program.ops()[index];
        let fail = |cause| failed(program, op, shard, cause);
        self.before_file()?;
        let mut owned = Vec::new();
        for StepRead { id, frames, given, .. } in &step.reads {
            let held = values.get_mut(id).filter(|_| *given);
            owned.push(held.and_then(|held| held.take(frames)));
        }
        // What other segments or rounds read as well stays where it waits.
        let mut lent = Vec::new();
        for (owned, StepRead { id, frames, .. }) in owned.iter().zip(&step.reads) {
            let mut parts = Vec::new();
            if owned.is_none() && !self.stats.contains_key(id) {
                parts = self.park.lend(Key::Value(*id, shard), frames).map_err(fail)?;
                let made = values.get(id).into_iter().flat_map(|held| held.parts(frames));
                parts.extend(made.map(|(tensor, range)| (Loan::Here(tensor), range)));
            }
            lent.push(parts);
        }
        let halo = cut.halo_of(index);
        let HaloFrames { fresh, needed } = round.halo(index);
        let around = halo.map(|halo| Around::new(cut, program, halo, fresh, shard));
        let mut kept = Margins::default();
        for side in Side::OF_FRAME.into_iter().filter(|_| halo.is_some()) {
            let key = Key::Halo { op: index, shard, side };
            *side.of(&mut kept) = self.park.lend(key, &step.reads[0].frames).map_err(fail)?;
        }
        let (borders, group) = (&mut self.borders, &self.group);
        let mut fetch = || match halo {
            Some(halo) if !fresh.is_empty() => {
                borders.halo(group, cut, program, halo, fresh, shard)
            }
            _ => Ok(Halo::default()),
        };
        // Frames before and behind a slice are read with its own, so they cannot come late.
        let mut early = None;
        let mut beside = [None, None];
        if around.as_ref().is_some_and(Around::has_frames_beside) {
            let mut halo = fetch()?;
            beside = [halo.past.take(), halo.future.take()];
            early = Some(halo);
        }
        let frames = op.by_tap().map(|(window, edge)| {
            let StepRead { frames, total, .. } = &step.reads[0];
            let own = lent[0].iter().map(|(tensor, range)| (&**tensor, range.clone()));
            let own = own.collect();
            let parts = match &around {
                Some(around) => around.with_frames_beside(own, &beside, frames),
                None => own,
            };
            let taps = taps(&window, edge, *total, frames, &step.outputs);
            FrameReads::new(parts, window.kernel as usize, taps)
        });
        let mut slots = Vec::new();
        for ((owned, read), lent) in owned.into_iter().zip(&step.reads).zip(lent.iter()) {
            slots.push(match (owned, self.stats.get(&read.id)) {
                (Some(tensor), _) => Some(Operand::Owned(tensor)),
                (None, Some(statistics)) => Some(Operand::Shared(statistics)),
                (None, None) if read.by_tap || read.frames.is_empty() => None,
                (None, None) => Some(one_of(backend, lent).map_err(|e| fail(Cause::Backend(e)))?),
            });
        }
        let operands = Operands::of_slots(slots).over_time(frames);
        // What the group or the host said, if the halo did not come.
        let mut lost = None;
        let mut later = Vec::new();
        let margins = around.as_ref().map_or(Margins::NONE, Around::margins_of_frame);
        let mut strips = || {
            let (around, halo) = around.as_ref().zip(halo).expect("only a conv with a halo");
            let fresh = early.take().map_or_else(&mut fetch, Ok).map_err(|stop| {
                lost = Some(stop);
                BackendError::NoHalo(program.value(halo.value).name.clone())
            })?;
            let kept = std::mem::take(&mut kept);
            let read = &step.reads[0].frames;
            let strips = around.strips(backend, kept, fresh, read, *needed)?;
            later = strips.later;
            Ok(strips.now)
        };
        let operands = match margins.is_none() {
            true => operands,
            false => operands.within(Surroundings { margins, fetch: &mut strips }),
        };
        let result = backend.run(program, op, weights, operands);
        let output = result.map_err(|error| match lost {
            Some(stop) => stop,
            None => fail(Cause::Backend(error)),
        })?;
        for side in Side::OF_FRAME.into_iter().filter(|_| halo.is_some()) {
            self.park.drop_before(Key::Halo { op: index, shard, side }, *needed)?;
        }
        for (side, frames, strip) in later {
            self.park.put(Key::Halo { op: index, shard, side }, frames, strip)?;
        }
        Ok(output)
    }
}

/// Frames as one operand: the tensor that has them, or a copy of several.
fn one_of<'a, B: Backend>(
    backend: &B,
    parts: &'a [LentFrames<'_, B::Tensor>],
) -> Result<Operand<'a, B::Tensor>, BackendError> {
    let parts = parts.iter().map(|(tensor, range)| (Loan::Here(&**tensor), range.clone()));
    Ok(match joined(backend, parts.collect())? {
        Loan::Here(tensor) => Operand::Shared(tensor),
        Loan::Loaded(tensor) => Operand::Owned(tensor),
    })
}
