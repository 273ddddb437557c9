//! Attention over all shards.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::exchange::Parcel;
use super::park::Key;
use super::rounds::Round;
use super::run::{Finished, Run, ShardJob};
use super::stop::{ShardStop, failed};
use crate::backend::{Backend, Operand, Operands};
use crate::group::{Cause, Group, GroupError, Kind, Tag};
use crate::program::{Op, Step, StepRead, ValueId};
use crate::tensor::Shape;

/// Keys and values of a shard that go round.
struct Visitor<T> {
    shard: u32,
    parts: [Rc<T>; 2],
}

impl<B: Backend, G: Group + ?Sized, F> Run<'_, B, G, F>
where
    F: FnMut(Finished) -> Result<(), GroupError>,
{
    /// Attention over each frame: queries stay, and each rank's keys and values go round from rank to
    /// rank. Those that come are under way while the queries see the ones before.
    pub(super) fn attention(&mut self, index: usize, round: &Round) -> Result<(), ShardStop> {
        let ShardJob { backend, program, cut, .. } = *self.job;
        let op = &program.ops()[index];
        let Op::Attention { k, v, .. } = *op else { unreachable!("the pass says so") };
        if !round.has(index) {
            return Ok(());
        }
        let (ranks, rank) = (cut.ranks(), self.group.rank());
        let own: Vec<u32> = self.attending(index, round, rank).collect();
        let mut attentions: HashMap<u32, B::Attention> = HashMap::new();
        let mut visiting = self.own_visitors(index, round)?;
        let have_left = !visiting.is_empty();
        for step in 0..ranks {
            self.before_file()?;
            let mut transit = None;
            let stays = step == 0 && !have_left;
            let source = (rank + 2 * ranks - 1 - step) % ranks;
            if step + 1 < ranks {
                let parcels = self.keys_and_values(index, &visiting, round, stays)?;
                let [next, before] = [rank + 1, rank + ranks - 1].map(|rank| rank % ranks);
                let coming = self.attending(index, round, source);
                let shapes: Vec<Shape> = coming
                    .flat_map(|shard| [k, v].map(|id| self.shape_of(index, round, id, shard)))
                    .collect();
                let tag = Tag::of_op(Kind::Attention, index);
                let (outgoing, incoming) = (vec![(next, parcels)], vec![(before, shapes)]);
                transit = Some(self.exchange.begin(&self.group, tag, outgoing, incoming)?);
            }
            for &shard in &own {
                let start = Instant::now();
                let attention = attentions.remove(&shard);
                let visitors = (!stays).then_some(&visiting[..]);
                let attention = self.attend_block(index, round, shard, attention, visitors)?;
                *self.seconds.entry(shard).or_default() += start.elapsed().as_secs_f64();
                if let Some(attention) = attention {
                    attentions.insert(shard, attention);
                }
                if step + 1 < ranks {
                    continue;
                }
                let outputs = self.step_of(index, round, shard).outputs.clone();
                let q = self.step_of(index, round, shard).reads[0].clone();
                self.park.drop_before(Key::Value(q.id, shard), q.needed)?;
                let attention = attentions.remove(&shard).expect("its own keys are among them");
                let output = backend.attended(attention).map_err(Cause::Backend);
                let output = output.map_err(|cause| failed(program, op, shard, cause))?;
                self.before_file()?;
                self.park.put(Key::Value(op.output(), shard), outputs, output)?;
            }
            if let Some(transit) = transit {
                visiting.clear();
                let coming: Vec<u32> = self.attending(index, round, source).collect();
                for (_, parcels) in self.exchange.arrive(&self.group, transit)? {
                    let mut next = parcels.into_iter().map(|parcel| self.exchange.take(parcel));
                    for &shard in &coming {
                        let mut part = || next.next().expect("keys and values of every shard");
                        let [keys, values] =
                            [part(), part()].map(|part| part.map_err(Cause::Backend));
                        visiting.push(Visitor { shard, parts: [keys?, values?] });
                    }
                }
            }
        }
        for &shard in &own {
            for read in &self.step_of(index, round, shard).reads.clone()[1..] {
                self.park.drop_before(Key::Value(read.id, shard), read.needed)?;
            }
        }
        Ok(())
    }

    /// The shards of a rank that have frames to attend over.
    fn attending<'r>(
        &self,
        index: usize,
        round: &'r Round,
        rank: u32,
    ) -> impl Iterator<Item = u32> + use<'r, '_, B, G, F> {
        let cut = self.job.cut;
        let has = move |shard: &u32| round.step(cut.slice_of(*shard), index).is_some();
        cut.shards_of(rank).filter(has)
    }

    fn step_of<'r>(&self, index: usize, round: &'r Round, shard: u32) -> &'r Step {
        let step = round.step(self.job.cut.slice_of(shard), index);
        step.expect("only shards with a step attend")
    }

    /// The extents of an operand's frames on a shard.
    fn shape_of(&self, index: usize, round: &Round, id: ValueId, shard: u32) -> Shape {
        let ShardJob { program, cut, .. } = *self.job;
        let reads = &self.step_of(index, round, shard).reads;
        let read = reads.iter().find(|read| read.id == id).expect("an operand of the op");
        cut.shape(program, id, shard).over((read.frames.end - read.frames.start) as usize)
    }

    /// This rank's own keys and values, where they can leave as they are: from device to device, and
    /// they have no reader any more. Otherwise they stay, and copies leave.
    fn own_visitors(
        &mut self,
        index: usize,
        round: &Round,
    ) -> Result<Vec<Visitor<B::Tensor>>, ShardStop> {
        let ShardJob { program, .. } = *self.job;
        let op = &program.ops()[index];
        let own: Vec<u32> = self.attending(index, round, self.group.rank()).collect();
        let die = |&shard: &u32| {
            let [_, keys, values] = &self.step_of(index, round, shard).reads[..] else {
                unreachable!("queries, keys and values")
            };
            let wait_as_one =
                |read: &StepRead| self.park.has_exactly(Key::Value(read.id, shard), &read.frames);
            [keys, values].into_iter().all(|read| read.given && wait_as_one(read))
        };
        if self.exchange.links.is_none() || !own.iter().all(die) {
            return Ok(Vec::new());
        }
        let mut visitors = Vec::new();
        for shard in own {
            self.before_file()?;
            let reads = self.step_of(index, round, shard).reads.clone();
            let mut take = |read: &StepRead| -> Result<Rc<B::Tensor>, Cause> {
                let mut held = self.park.take(Key::Value(read.id, shard))?;
                Ok(Rc::new(held.take(&read.frames).expect("they wait in one tensor")))
            };
            let pair = take(&reads[1]).and_then(|keys| Ok([keys, take(&reads[2])?]));
            let parts = pair.map_err(|cause| failed(program, op, shard, cause))?;
            visitors.push(Visitor { shard, parts });
        }
        Ok(visitors)
    }

    /// Lets a shard's queries see those keys and values that visit, or the rank's own that stay, as
    /// far as they are of the same frames.
    fn attend_block(
        &self,
        index: usize,
        round: &Round,
        shard: u32,
        mut attention: Option<B::Attention>,
        visiting: Option<&[Visitor<B::Tensor>]>,
    ) -> Result<Option<B::Attention>, ShardStop> {
        let ShardJob { backend, program, cut, .. } = *self.job;
        let op = &program.ops()[index];
        let fail = |cause| failed(program, op, shard, cause);
        let lend = |shard: u32, operand: usize| {
            let read = &self.step_of(index, round, shard).reads[operand];
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
        let is_beside = |other: u32| cut.slice_of(other) == cut.slice_of(shard);
        if let Some(visiting) = visiting {
            for Visitor { parts: [keys, values], .. } in
                visiting.iter().filter(|visitor| is_beside(visitor.shard))
            {
                attend(keys, values)?;
            }
        } else {
            let own = self.attending(index, round, self.group.rank());
            for other in own.filter(|&other| is_beside(other)) {
                attend(&*lend(other, 1)?, &*lend(other, 2)?)?;
            }
        }
        Ok(attention)
    }

    /// The keys and values that this rank passes on: those that visit, or its own that stay.
    fn keys_and_values(
        &self,
        index: usize,
        visiting: &[Visitor<B::Tensor>],
        round: &Round,
        own: bool,
    ) -> Result<Vec<Parcel<B::Tensor>>, ShardStop> {
        if !own {
            let parts = visiting.iter().flat_map(|visitor| &visitor.parts);
            let parcels = parts.map(|part| self.exchange.pass_on(part));
            return Ok(parcels.collect::<Result<_, _>>().map_err(Cause::Backend)?);
        }
        let mut parcels = Vec::new();
        for shard in self.attending(index, round, self.group.rank()) {
            for read in &self.step_of(index, round, shard).reads[1..] {
                let all = self.shape_of(index, round, read.id, shard).size().at_origin();
                let key = Key::Value(read.id, shard);
                parcels.push(self.park.region(self.exchange, key, &read.frames, all)?);
            }
        }
        Ok(parcels)
    }
}
