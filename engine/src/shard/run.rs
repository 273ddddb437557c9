//! One rank's part of a decode that is cut into shards.
//!
//! Segment by segment: borders go out to the neighbours, the statistics of the segment before are
//! merged, then each of the rank's shards has its turn on the device. With as many ranks as shards
//! a rank has one shard, and nothing ever leaves its device but borders; with fewer ranks the
//! shards take turns, and what waits is parked.

use std::collections::HashMap;
use std::time::Instant;

use halovae_core::Rect;

use super::cut::Cut;
use super::halo::{Borders, Tags};
use super::merge::{Partial, merge};
use super::park::{Loan, Park, ParkLimit};
use super::pass::Segment;
use crate::backend::{Backend, BackendError, Operand, Operands, Surroundings};
use crate::group::{Cause, FirstRanks, Group, GroupError};
use crate::program::{Liveness, Op, Program, ValueId, ValueKind};
use crate::tensor::{HostTensor, Shape};

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
        let mut run = Run {
            job: self,
            liveness: Liveness::new(self.program),
            park: Park::new(self.backend, self.limit.clone()),
            borders: Borders::default(),
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

struct Run<'a, B: Backend, G: ?Sized, F> {
    job: &'a ShardJob<'a, B, G>,
    liveness: Liveness,
    park: Park<'a, B>,
    borders: Borders,
    /// Merged statistics.
    stats: HashMap<ValueId, B::Tensor>,
    /// Statistics of the rank's shards that are not merged yet: mean and variance of each group.
    partials: HashMap<(ValueId, u32), Vec<f32>>,
    /// What each shard's turns took.
    seconds: HashMap<u32, f64>,
    group: FirstRanks<'a, G>,
    finished: F,
}

impl<B: Backend, G: Group + ?Sized, F> Run<'_, B, G, F>
where
    F: FnMut(u32, f64, Vec<f32>) -> Result<(), GroupError>,
{
    fn send_borders(&mut self, segment: &Segment) -> Result<(), ShardStop> {
        let ShardJob { program, cut, .. } = self.job;
        for exchange in &segment.halos {
            let park = &mut self.park;
            let cut_out = |shard: u32, rect: Rect| {
                let part = cut.part(program, exchange.value, shard);
                let own = Rect { top: rect.top - part.top, left: rect.left - part.left, ..rect };
                park.region((exchange.value, shard), own)
            };
            self.borders.send(&self.group, cut, program, exchange, cut_out)?;
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
                let partial = self.download(&output);
                let partial = partial.map_err(|cause| failed(program, op, shard, cause))?;
                self.partials.insert((id, shard), partial);
            } else if op.output() == program.output() {
                self.finish(shard, before + start.elapsed().as_secs_f64(), op, &output)?;
            } else {
                values.insert(op.output(), output);
            }
        }
        for (id, tensor) in values {
            self.park.put((id, shard), tensor)?;
        }
        self.seconds.insert(shard, before + start.elapsed().as_secs_f64());
        Ok(())
    }

    fn download(&self, tensor: &B::Tensor) -> Result<Vec<f32>, Cause> {
        let backend = self.job.backend;
        let shape = backend.shape(tensor);
        let all = Rect::new(0, 0, shape.height as u32, shape.width as u32);
        Ok(backend.download(tensor, all).map_err(Cause::Backend)?.into_data())
    }

    fn run_op(
        &mut self,
        index: usize,
        op: &Op,
        shard: u32,
        values: &mut HashMap<ValueId, B::Tensor>,
    ) -> Result<B::Tensor, ShardStop> {
        let ShardJob { backend, program, weights, cut, .. } = *self.job;
        let mut owned: [Option<B::Tensor>; 3] = [const { None }; 3];
        for (slot, id) in op.inputs().enumerate() {
            let once = op.inputs().filter(|&read| read == id).count() == 1;
            if once && self.liveness.dies_at(id, index) {
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
        let stats = &self.stats;
        let slots = op.inputs().zip(owned).zip(&loans);
        let operands = Operands::new(slots.map(|((id, owned), loan)| match (owned, loan) {
            (Some(tensor), _) => Operand::Owned(tensor),
            (None, Some(loan)) => Operand::Shared(&**loan),
            (None, None) => Operand::Shared(
                values.get(&id).or_else(|| stats.get(&id)).expect("written before it is read"),
            ),
        }));
        let mut exchanges = cut.segments().iter().flat_map(|segment| &segment.halos);
        let exchange = exchanges.find(|halo| halo.op == index);
        let margins = exchange.map(|halo| cut.grid().margins(shard, halo.reach));
        let (borders, group) = (&mut self.borders, &self.group);
        // What the group or the host said, if the halo did not come.
        let mut lost = None;
        let mut fetch = || {
            let exchange = exchange.expect("only a conv with a halo fetches one");
            borders.halo(group, cut, program, backend, exchange, shard).map_err(|stop| {
                lost = Some(stop);
                BackendError::NoHalo(program.value(exchange.value).name.clone())
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

    /// Hands over a shard's part of the picture.
    fn finish(
        &mut self,
        shard: u32,
        seconds: f64,
        op: &Op,
        output: &B::Tensor,
    ) -> Result<(), ShardStop> {
        let data = self.download(output);
        let data = data.map_err(|cause| failed(self.job.program, op, shard, cause))?;
        if !data.iter().all(|value| value.is_finite()) {
            let cause = Cause::NotFinite;
            return Err(ShardStop::Failed { shard: Some(shard), op: None, cause });
        }
        Ok((self.finished)(shard, seconds, data)?)
    }

    /// Tells all ranks this rank's statistics of a segment and merges everybody's, shard by shard,
    /// so that every rank gets the same bytes.
    fn merge_statistics(&mut self, segment: &Segment) -> Result<(), ShardStop> {
        let ShardJob { backend, program, cut, .. } = *self.job;
        if segment.statistics.is_empty() {
            return Ok(());
        }
        let len_of = |id: ValueId| 2 * program.groups(id) as usize;
        let values: usize = segment.statistics.iter().map(|&id| len_of(id)).sum();
        let lens: Vec<usize> =
            (0..cut.ranks()).map(|rank| cut.shards_of(rank).len() * values).collect();
        let mut own = Vec::new();
        for shard in cut.shards_of(self.group.rank()) {
            for &id in &segment.statistics {
                own.extend(self.partials.remove(&(id, shard)).expect("made in this segment"));
            }
        }
        let tag = Tags::Statistics.tag(segment.ops.start);
        let all = self.group.all_gather(tag, own, &lens)?.concat();
        let mut offset = 0;
        for &id in &segment.statistics {
            let groups = program.groups(id) as usize;
            let input = program
                .ops()
                .iter()
                .find(|op| op.output() == id)
                .and_then(|op| op.inputs().next())
                .expect("statistics are written by an op that reads a feature map");
            let (channels, _) = program.features(input);
            let counts: Vec<f64> = (0..cut.grid().len())
                .map(|shard| cut.part(program, input, shard).area() as f64)
                .map(|cells| cells * f64::from(channels) / groups as f64)
                .collect();
            let mut merged = Vec::with_capacity(2 * groups);
            for group in 0..groups {
                let of_shard = |(shard, &count): (usize, &f64)| {
                    let at = shard * values + offset + 2 * group;
                    let [mean, variance] = [all[at], all[at + 1]].map(f64::from);
                    Partial { count, mean, variance }
                };
                merged.extend(merge(counts.iter().enumerate().map(of_shard)));
            }
            offset += 2 * groups;
            let shape = Shape::new(1, groups, 1, 2);
            let merged = HostTensor::new(shape, merged).expect("two values for each group");
            self.stats.insert(id, backend.upload(&merged).map_err(Cause::Backend)?);
        }
        Ok(())
    }

    /// Lets go of statistics that nobody reads any more.
    fn forget_statistics(&mut self, segment: &Segment) {
        let liveness = &self.liveness;
        self.stats.retain(|&id, _| !segment.ops.clone().any(|at| liveness.dies_at(id, at)));
    }

    /// Attention: queries stay, and each rank's keys and values go round from rank to rank, so that
    /// a rank holds those of two ranks at a time.
    fn attention(&mut self, index: usize) -> Result<(), ShardStop> {
        let ShardJob { backend, program, cut, .. } = *self.job;
        let op = &program.ops()[index];
        let Op::Attention { q, k, v, .. } = *op else { unreachable!("the pass says so") };
        let (ranks, rank) = (cut.ranks(), self.group.rank());
        let own = cut.shards_of(rank);
        let mut attentions: HashMap<u32, B::Attention> = HashMap::new();
        // Keys and values of another rank's shards.
        let mut visiting: Vec<[B::Tensor; 2]> = Vec::new();
        for step in 0..ranks {
            let tag = Tags::Attention.tag(index);
            if step + 1 < ranks {
                let message = self.keys_and_values(&visiting, [k, v], step == 0)?;
                self.group.send((rank + 1) % ranks, tag, message)?;
            }
            for shard in own.clone() {
                let start = Instant::now();
                let attention = attentions.remove(&shard);
                let attention = self.attend_block(index, shard, attention, step, &visiting)?;
                *self.seconds.entry(shard).or_default() += start.elapsed().as_secs_f64();
                if step + 1 < ranks {
                    attentions.insert(shard, attention);
                    continue;
                }
                if self.liveness.dies_at(q, index) {
                    self.park.forget((q, shard))?;
                }
                let output = backend.attended(attention).map_err(Cause::Backend);
                let output = output.map_err(|cause| failed(program, op, shard, cause))?;
                self.park.put((op.output(), shard), output)?;
            }
            if step + 1 < ranks {
                visiting.clear();
                let before = (rank + ranks - 1) % ranks;
                let source = (rank + ranks - 1 - step) % ranks;
                let shapes: Vec<[Shape; 2]> = cut
                    .shards_of(source)
                    .map(|shard| [k, v].map(|id| cut.shape(program, id, shard)))
                    .collect();
                let len = shapes.iter().flatten().map(elements).sum();
                let message = self.group.receive(before, tag, len)?;
                let mut rest = message.as_slice();
                let mut next = |shape: Shape| {
                    let (values, behind) = rest.split_at(elements(&shape));
                    rest = behind;
                    let tensor = HostTensor::new(shape, values.to_vec()).expect("of that length");
                    backend.upload(&tensor).map_err(Cause::Backend)
                };
                for [keys, values] in shapes {
                    visiting.push([next(keys)?, next(values)?]);
                }
            }
        }
        for (id, shard) in [k, v].into_iter().flat_map(|id| own.clone().map(move |s| (id, s))) {
            if self.liveness.dies_at(id, index) {
                self.park.forget((id, shard))?;
            }
        }
        Ok(())
    }

    /// Lets a shard's queries see the rank's own keys and values, or those that visit.
    fn attend_block(
        &self,
        index: usize,
        shard: u32,
        mut attention: Option<B::Attention>,
        step: u32,
        visiting: &[[B::Tensor; 2]],
    ) -> Result<B::Attention, ShardStop> {
        let ShardJob { backend, program, cut, .. } = *self.job;
        let op = &program.ops()[index];
        let Op::Attention { q, k, v, .. } = *op else { unreachable!("the pass says so") };
        let fail = |cause| failed(program, op, shard, cause);
        let query = self.park.lend((q, shard)).map_err(fail)?;
        let mut attend = |keys: &B::Tensor, values: &B::Tensor| {
            self.group.check()?;
            let operands = Operands::new([&*query, keys, values].map(Operand::Shared));
            let more = backend.attend(program, op, operands, attention.take());
            attention = Some(more.map_err(|error| fail(Cause::Backend(error)))?);
            Ok::<(), ShardStop>(())
        };
        if step == 0 {
            for other in cut.shards_of(self.group.rank()) {
                let keys = self.park.lend((k, other)).map_err(fail)?;
                let values = self.park.lend((v, other)).map_err(fail)?;
                attend(&keys, &values)?;
            }
        } else {
            for [keys, values] in visiting {
                attend(keys, values)?;
            }
        }
        Ok(attention.expect("every rank has a shard with keys"))
    }

    /// The keys and values that this rank passes on: its own in the beginning, later those that
    /// visit.
    fn keys_and_values(
        &mut self,
        visiting: &[[B::Tensor; 2]],
        ids: [ValueId; 2],
        own: bool,
    ) -> Result<Vec<f32>, ShardStop> {
        let ShardJob { program, cut, .. } = *self.job;
        let mut message = Vec::new();
        if own {
            for shard in cut.shards_of(self.group.rank()) {
                for id in ids {
                    let shape = cut.shape(program, id, shard);
                    let all = Rect::new(0, 0, shape.height as u32, shape.width as u32);
                    message.append(&mut self.park.region((id, shard), all)?);
                }
            }
            return Ok(message);
        }
        for tensor in visiting.iter().flatten() {
            message.append(&mut self.download(tensor)?);
        }
        Ok(message)
    }
}

fn is_stats(program: &Program, id: ValueId) -> bool {
    matches!(program.value(id).kind, ValueKind::Stats { .. })
}

fn elements(shape: &Shape) -> usize {
    shape.batch * shape.height * shape.width * shape.channels
}

fn failed(program: &Program, op: &Op, shard: u32, cause: Cause) -> ShardStop {
    ShardStop::Failed { shard: Some(shard), op: Some(program.op_name(op).to_owned()), cause }
}
