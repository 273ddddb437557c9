//! One rank's part of a decode that is cut into shards.
//!
//! Segment by segment: borders go out to the neighbours, the statistics of the segment before are
//! merged, then each of the rank's shards has its turn on the device. With as many ranks as shards
//! a rank has one shard, and nothing ever leaves its device but borders; with fewer ranks the
//! shards take turns, and what waits is parked.

use std::collections::HashMap;
use std::time::Instant;

use halovae_core::Region;

use super::cut::Cut;
use super::exchange::{Exchange, Parcel};
use super::halo::Borders;
use super::park::{Loan, Park, ParkLimit};
use super::pass::Segment;
use crate::backend::{Backend, BackendError, FrameReads, Operand, Operands, Surroundings};
use crate::group::{Cause, FirstRanks, Group, GroupError, Links};
use crate::program::{Liveness, Op, Program, Reads, ValueId, ValueKind, taps};
use crate::tensor::HostTensor;

/// Why a rank ended early.
#[derive(Debug)]
pub(crate) enum ShardStop {
    /// This rank failed.
    Failed {
        /// In which shard, if in one.
        shard: Option<u32>,
        /// In which op, if in one.
        op: Option<String>,
        /// Why.
        cause: Cause,
    },
    /// The group ended, and knows why.
    Stopped,
}

impl From<GroupError> for ShardStop {
    fn from(_: GroupError) -> Self {
        Self::Stopped
    }
}

impl From<Cause> for ShardStop {
    fn from(cause: Cause) -> Self {
        Self::Failed { shard: None, op: None, cause }
    }
}

/// What a rank needs to do its part.
pub(crate) struct ShardJob<'a, B: Backend, G: ?Sized> {
    pub(crate) backend: &'a B,
    pub(crate) program: &'a Program,
    pub(crate) weights: &'a B::Weights,
    pub(crate) group: &'a G,
    /// If what ranks tell each other goes from device to device.
    pub(crate) links: Option<&'a dyn Links<B::Tensor>>,
    pub(crate) cut: &'a Cut,
    pub(crate) limit: Option<ParkLimit>,
}

impl<B: Backend, G: Group + ?Sized> ShardJob<'_, B, G> {
    /// How many turns the rank's shards have in one image.
    pub(crate) fn turns(&self) -> u64 {
        let shards = self.cut.shards_of(self.group.rank()).len();
        shards as u64 * self.cut.segments().len() as u64
    }

    /// Decodes the rank's shards of image `image` of `latents`. `turn` is told how many turns are
    /// over; `finished` takes each shard, the seconds of its turns, and its part of the picture,
    /// channels last, in the order of the shards.
    ///
    /// # Errors
    /// [`ShardStop`].
    pub(crate) fn run(
        &self,
        latents: &HostTensor,
        image: usize,
        turn: impl Fn(u64),
        finished: impl FnMut(u32, f64, Vec<f32>) -> Result<(), GroupError>,
    ) -> Result<(), ShardStop> {
        let group = FirstRanks::new(self.group, self.cut.ranks());
        let exchange = Exchange { backend: self.backend, links: self.links };
        let mut run = Run {
            job: self,
            exchange,
            liveness: Liveness::new(self.program),
            park: Park::new(self.backend, self.limit.clone()),
            borders: Borders::new(exchange),
            stats: HashMap::new(),
            partials: HashMap::new(),
            seconds: HashMap::new(),
            group,
            finished,
        };
        let mut turns = 0;
        for shard in self.cut.shards_of(self.group.rank()) {
            let rect = self.cut.part(self.program, self.program.input(), shard);
            let part = latents.crop(image, rect).map_err(Cause::Backend)?;
            let part = self.backend.upload(&part).map_err(Cause::Backend)?;
            run.park.put((self.program.input(), shard), part)?;
        }
        let mut before: Option<&Segment> = None;
        for segment in self.cut.segments() {
            run.send_borders(segment)?;
            if let Some(before) = before {
                run.merge_statistics(before)?;
            }
            if segment.is_attention {
                run.attention(segment.ops.start)?;
                turns += self.cut.shards_of(self.group.rank()).len() as u64;
                turn(turns);
            } else {
                for shard in self.cut.shards_of(self.group.rank()) {
                    run.shard(segment, shard)?;
                    turns += 1;
                    turn(turns);
                }
            }
            run.forget_statistics(segment);
            before = Some(segment);
        }
        Ok(())
    }
}

pub(super) struct Run<'a, B: Backend, G: ?Sized, F> {
    pub(super) job: &'a ShardJob<'a, B, G>,
    pub(super) exchange: Exchange<'a, B>,
    pub(super) liveness: Liveness,
    pub(super) park: Park<'a, B>,
    borders: Borders<'a, B>,
    /// Merged statistics.
    pub(super) stats: HashMap<ValueId, B::Tensor>,
    /// Statistics of the rank's shards that are not merged yet.
    pub(super) partials: HashMap<(ValueId, u32), Parcel<B::Tensor>>,
    /// What each shard's turns took.
    pub(super) seconds: HashMap<u32, f64>,
    pub(super) group: FirstRanks<'a, G>,
    finished: F,
}

impl<B: Backend, G: Group + ?Sized, F> Run<'_, B, G, F>
where
    F: FnMut(u32, f64, Vec<f32>) -> Result<(), GroupError>,
{
    fn send_borders(&mut self, segment: &Segment) -> Result<(), ShardStop> {
        let ShardJob { program, cut, .. } = self.job;
        self.before_file()?;
        for halo in &segment.halos {
            let (park, exchange) = (&self.park, self.exchange);
            let cut_out = |shard: u32, rect: Region| {
                let part = cut.part(program, halo.value, shard);
                let own = Region {
                    first: rect.first - part.first,
                    top: rect.top - part.top,
                    left: rect.left - part.left,
                    ..rect
                };
                park.region(exchange, (halo.value, shard), own)
            };
            self.borders.send(&self.group, cut, program, halo, cut_out)?;
        }
        Ok(())
    }

    /// Runs a segment's ops on one shard.
    fn shard(&mut self, segment: &Segment, shard: u32) -> Result<(), ShardStop> {
        let program = self.job.program;
        let start = Instant::now();
        let before = self.seconds.get(&shard).copied().unwrap_or(0.0);
        // Of the shard's values those that die in this segment, and those made in it.
        let mut values: HashMap<ValueId, B::Tensor> = HashMap::new();
        for index in segment.ops.clone() {
            self.group.check()?;
            let op = &program.ops()[index];
            for id in op.inputs().filter(|&id| !is_stats(program, id)) {
                let dies = segment.ops.clone().any(|at| self.liveness.dies_at(id, at));
                if dies && !values.contains_key(&id) {
                    let tensor = self.park.take((id, shard));
                    values.insert(id, tensor.map_err(|cause| failed(program, op, shard, cause))?);
                }
            }
            let output = self.run_op(index, op, shard, &mut values)?;
            values.retain(|id, _| !self.liveness.dies_at(*id, index));
            if let Op::NormStats { output: id, .. } = *op {
                let partial = self.exchange.give(output).map_err(Cause::Backend);
                let partial = partial.map_err(|cause| failed(program, op, shard, cause))?;
                self.partials.insert((id, shard), partial);
            } else if op.output() == program.output() {
                let seconds = || before + start.elapsed().as_secs_f64();
                self.finish(shard, seconds, op, &output)?;
            } else {
                values.insert(op.output(), output);
            }
        }
        self.before_file()?;
        for (id, tensor) in values {
            self.park.put((id, shard), tensor)?;
        }
        self.seconds.insert(shard, before + start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits for the device if values may go to the file or come out of it.
    pub(super) fn before_file(&self) -> Result<(), ShardStop> {
        match self.job.limit {
            Some(_) => self.exchange.settle(&self.group),
            None => Ok(()),
        }
    }

    fn run_op(
        &mut self,
        index: usize,
        op: &Op,
        shard: u32,
        values: &mut HashMap<ValueId, B::Tensor>,
    ) -> Result<B::Tensor, ShardStop> {
        let ShardJob { backend, program, weights, cut, .. } = *self.job;
        self.before_file()?;
        let mut owned: [Option<B::Tensor>; 3] = [const { None }; 3];
        for (slot, id) in op.inputs().enumerate() {
            if op.count_reads(id) == 1 && self.liveness.dies_at(id, index) {
                owned[slot] = values.remove(&id);
            }
        }
        // What other segments read as well stays where it waits.
        let mut loans: [Option<Loan<'_, B::Tensor>>; 3] = [const { None }; 3];
        for (slot, id) in op.inputs().enumerate() {
            let known = values.contains_key(&id) || self.stats.contains_key(&id);
            if owned[slot].is_none() && !known {
                let loan = self.park.lend((id, shard));
                loans[slot] = Some(loan.map_err(|cause| failed(program, op, shard, cause))?);
            }
        }
        // What is read tap by tap has no slot of its own.
        let by_tap = op.by_tap();
        let input = op.inputs().next().filter(|_| by_tap.is_some());
        let taken = input.and_then(|_| owned[0].take());
        let stats = &self.stats;
        let shared = |id: ValueId, slot: usize| match &loans[slot] {
            Some(loan) => &**loan,
            None => values.get(&id).or_else(|| stats.get(&id)).expect("written before it is read"),
        };
        let frames = input.zip(by_tap).map(|(id, (window, edge))| {
            let tensor = taken.as_ref().unwrap_or_else(|| shared(id, 0));
            let count = backend.shape(tensor).frames;
            let all = 0..count as u64;
            let outputs = 0..window.outputs(all.end);
            let taps = taps(&window, edge, all.end, &all, &outputs);
            FrameReads::new(vec![(tensor, 0..count)], window.kernel as usize, taps)
        });
        let mut slots = Vec::new();
        for (slot, ((id, reads), owned)) in op.reads().zip(owned).enumerate() {
            let tensor = || owned.as_ref().unwrap_or_else(|| shared(id, slot));
            slots.push(match (reads, owned.is_some()) {
                _ if slot == 0 && by_tap.is_some() => None,
                (Reads::FirstFrame, _) if backend.shape(tensor()).frames > 1 => {
                    let first = backend.gather(&[(tensor(), 0..1)]);
                    let first = first.map_err(Cause::Backend);
                    Some(Operand::Owned(first.map_err(|cause| failed(program, op, shard, cause))?))
                }
                (_, true) => owned.map(Operand::Owned),
                (_, false) => Some(Operand::Shared(shared(id, slot))),
            });
        }
        let operands = Operands::of_slots(slots).over_time(frames);
        let mut halos = cut.segments().iter().flat_map(|segment| &segment.halos);
        let halo = halos.find(|halo| halo.op == index);
        let margins = halo.map(|halo| {
            let (_, scale) = program.features(halo.value);
            cut.grid().margins(shard, scale, halo.reach)
        });
        let (borders, group) = (&mut self.borders, &self.group);
        // What the group or the host said, if the halo did not come.
        let mut lost = None;
        let mut fetch = || {
            let halo = halo.expect("only a conv with a halo fetches one");
            borders.halo(group, cut, program, halo, shard).map_err(|stop| {
                lost = Some(stop);
                BackendError::NoHalo(program.value(halo.value).name.clone())
            })
        };
        let operands = match margins.filter(|margins| !margins.is_none()) {
            Some(margins) => operands.within(Surroundings { margins, fetch: &mut fetch }),
            None => operands,
        };
        let result = backend.run(program, op, weights, operands);
        result.map_err(|error| match lost {
            Some(stop) => stop,
            None => failed(program, op, shard, Cause::Backend(error)),
        })
    }

    /// Hands over a shard's part of the picture, and how long it took once that is there: until then
    /// a device may only have queued it.
    fn finish(
        &mut self,
        shard: u32,
        seconds: impl Fn() -> f64,
        op: &Op,
        output: &B::Tensor,
    ) -> Result<(), ShardStop> {
        self.exchange.settle(&self.group)?;
        let backend = self.job.backend;
        let shape = backend.shape(output);
        let all = shape.size().at_origin();
        let data = backend.download(output, all).map(HostTensor::into_data);
        let data =
            data.map_err(|error| failed(self.job.program, op, shard, Cause::Backend(error)))?;
        if !data.iter().all(|value| value.is_finite()) {
            let cause = Cause::NotFinite;
            return Err(ShardStop::Failed { shard: Some(shard), op: None, cause });
        }
        Ok((self.finished)(shard, seconds(), data)?)
    }
}

fn is_stats(program: &Program, id: ValueId) -> bool {
    matches!(program.value(id).kind, ValueKind::Stats { .. })
}

pub(super) fn failed(program: &Program, op: &Op, shard: u32, cause: Cause) -> ShardStop {
    ShardStop::Failed { shard: Some(shard), op: Some(program.op_name(op).to_owned()), cause }
}
