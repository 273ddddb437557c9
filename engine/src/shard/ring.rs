//! Attention over all shards of a frame.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use super::carrier::Carrier;
use super::park::Key;
use super::rounds::Round;
use super::run::{Finished, Run, ShardJob};
use super::stop::{ShardStop, failed};
use crate::backend::{Backend, Operand, Operands};
use crate::group::{Cause, Group, GroupError, Kind, Tag};
use crate::program::{Step, StepRead};
use crate::tensor::Shape;

/// Keys and values of one shard, as they go round.
type Visitor<T> = [Rc<T>; 2];

/// What one slice of the video does of one attention.
struct Slice<'r> {
    index: usize,
    step: &'r Step,
    /// This rank's shards of it.
    own: Range<u32>,
}

impl<B: Backend, C: Carrier<B>, G: Group + ?Sized, F> Run<'_, B, C, G, F>
where
    F: FnMut(Finished) -> Result<(), GroupError>,
{
    /// Attention over each frame: queries stay, and keys and values go round among the ranks that
    /// have shards of the same frames. Those that come are under way while the queries see the ones
    /// before.
    ///
    /// A rank with shards of several slices goes round with one slice after the other; all ranks do
    /// so in the order of slices, so none waits for one that waits for it.
    pub(super) fn attention(&mut self, index: usize, round: &Round) -> Result<(), ShardStop> {
        for slice in 0..self.job.cut.grid().slices() {
            let ring = self.job.cut.ring(slice);
            let here = ring.iter().position(|&(rank, _)| rank == self.group.rank());
            if let (Some(here), Some(step)) = (here, round.step(slice, index)) {
                let own = ring[here].1.clone();
                self.attend_round(&Slice { index, step, own }, &ring, here)?;
            }
        }
        Ok(())
    }

    /// Attention over the frames of a slice, by the rank that stands at `here` of its ring.
    fn attend_round(
        &mut self,
        slice: &Slice<'_>,
        ring: &[(u32, Range<u32>)],
        here: usize,
    ) -> Result<(), ShardStop> {
        let ShardJob { backend, program, .. } = *self.job;
        let Slice { index, step, ref own } = *slice;
        let op = &program.ops()[index];
        let ranks = ring.len();
        let [query, pair @ ..] = &step.reads[..] else { unreachable!("queries, keys and values") };
        let mut attentions: HashMap<u32, B::Attention> = HashMap::new();
        let mut visiting = self.own_visitors(slice)?;
        let have_left = !visiting.is_empty();
        for turn in 0..ranks {
            self.before_file()?;
            let mut transit = None;
            let stays = turn == 0 && !have_left;
            let is_last = turn + 1 == ranks;
            if !is_last {
                let parcels = self.keys_and_values(slice, &visiting, stays)?;
                let (next, _) = ring[(here + 1) % ranks];
                let (before, _) = ring[(here + ranks - 1) % ranks];
                let (_, coming) = &ring[(here + 2 * ranks - 1 - turn) % ranks];
                let shapes =
                    coming.clone().flat_map(|shard| pair.iter().map(move |read| (shard, read)));
                let shapes = shapes.map(|(shard, read)| self.shape_of(read, shard)).collect();
                let tag = Tag::of_op(Kind::Attention, index);
                let (outgoing, incoming) = (vec![(next, parcels)], vec![(before, shapes)]);
                transit = Some(self.carrier.begin(&self.group, tag, outgoing, incoming)?);
            }
            for shard in own.clone() {
                let start = Instant::now();
                let attention = attentions.remove(&shard);
                let visitors = (!stays).then_some(&visiting[..]);
                let attention = self.attend_block(slice, shard, attention, visitors)?;
                *self.seconds.entry(shard).or_default() += start.elapsed().as_secs_f64();
                if !is_last {
                    attentions.insert(shard, attention);
                    continue;
                }
                self.park.drop_before(Key::Value(query.id, shard), query.needed)?;
                let output = backend.attended(attention).map_err(Cause::Backend);
                let output = output.map_err(|cause| failed(program, op, shard, cause))?;
                self.before_file()?;
                self.park.put(Key::Value(op.output(), shard), step.outputs.clone(), output)?;
            }
            if let Some(transit) = transit {
                visiting.clear();
                for (_, parcels) in self.carrier.arrive(&self.group, transit)? {
                    let parts = parcels.into_iter().map(|parcel| self.carrier.take(parcel));
                    let parts = parts.collect::<Result<Vec<_>, _>>().map_err(Cause::Backend)?;
                    let pairs = parts.chunks_exact(2);
                    visiting.extend(pairs.map(|pair| [pair[0].clone(), pair[1].clone()]));
                }
            }
        }
        for shard in own.clone() {
            for read in pair {
                self.park.drop_before(Key::Value(read.id, shard), read.needed)?;
            }
        }
        Ok(())
    }

    /// The extents of an operand's frames on a shard.
    fn shape_of(&self, read: &StepRead, shard: u32) -> Shape {
        let ShardJob { program, cut, .. } = *self.job;
        cut.shape(program, read.id, shard).over((read.frames.end - read.frames.start) as usize)
    }

    /// This rank's own keys and values, where they can leave as they are: from device to device, and
    /// they have no reader any more. Otherwise they stay, and copies leave.
    fn own_visitors(&mut self, slice: &Slice<'_>) -> Result<Vec<Visitor<B::Tensor>>, ShardStop> {
        let ShardJob { program, .. } = *self.job;
        let Slice { index, step, ref own } = *slice;
        let op = &program.ops()[index];
        let pair = &step.reads[1..];
        let die = |shard: u32| {
            let wait_as_one =
                |read: &StepRead| self.park.has_exactly(Key::Value(read.id, shard), &read.frames);
            pair.iter().all(|read| read.given && wait_as_one(read))
        };
        if !C::GIVES_AWAY || !own.clone().all(die) {
            return Ok(Vec::new());
        }
        let mut visitors = Vec::new();
        for shard in own.clone() {
            self.before_file()?;
            let mut take = |read: &StepRead| -> Result<Rc<B::Tensor>, Cause> {
                let mut held = self.park.take(Key::Value(read.id, shard))?;
                Ok(Rc::new(held.take(&read.frames).expect("they wait in one tensor")))
            };
            let both = take(&pair[0]).and_then(|keys| Ok([keys, take(&pair[1])?]));
            visitors.push(both.map_err(|cause| failed(program, op, shard, cause))?);
        }
        Ok(visitors)
    }

    /// Lets a shard's queries see those keys and values that visit, or the rank's own that stay.
    fn attend_block(
        &self,
        slice: &Slice<'_>,
        shard: u32,
        mut attention: Option<B::Attention>,
        visiting: Option<&[Visitor<B::Tensor>]>,
    ) -> Result<B::Attention, ShardStop> {
        let ShardJob { backend, program, .. } = *self.job;
        let op = &program.ops()[slice.index];
        let fail = |cause| failed(program, op, shard, cause);
        let lend = |shard: u32, operand: usize| {
            let read = &slice.step.reads[operand];
            self.park.lend_whole(Key::Value(read.id, shard), &read.frames).map_err(fail)
        };
        let query = lend(shard, 0)?;
        let mut attend = |keys: &B::Tensor, values: &B::Tensor| {
            self.group.check()?;
            let operands = Operands::new([&*query, keys, values].map(Operand::Shared));
            let more = backend.attend(program, op, operands, attention.take());
            attention = Some(more.map_err(|error| fail(Cause::Backend(error)))?);
            Ok::<(), ShardStop>(())
        };
        if let Some(visiting) = visiting {
            for [keys, values] in visiting {
                attend(keys, values)?;
            }
        } else {
            for other in slice.own.clone() {
                attend(&*lend(other, 1)?, &*lend(other, 2)?)?;
            }
        }
        Ok(attention.expect("each rank of a ring has keys"))
    }

    /// The keys and values that this rank passes on: those that visit, or its own that stay.
    fn keys_and_values(
        &self,
        slice: &Slice<'_>,
        visiting: &[Visitor<B::Tensor>],
        own: bool,
    ) -> Result<Vec<C::Parcel>, ShardStop> {
        if !own {
            let parcels = visiting.iter().flatten().map(|part| self.carrier.pass_on(part));
            return Ok(parcels.collect::<Result<_, _>>().map_err(Cause::Backend)?);
        }
        let mut parcels = Vec::new();
        for shard in slice.own.clone() {
            for read in &slice.step.reads[1..] {
                let all = self.shape_of(read, shard).size().at_origin();
                let key = Key::Value(read.id, shard);
                parcels.push(self.park.region(self.carrier, key, &read.frames, all)?);
            }
        }
        Ok(parcels)
    }
}
