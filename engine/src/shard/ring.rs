//! Attention over all shards.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::exchange::Parcel;
use super::halo::Tags;
use super::run::{Run, ShardJob, ShardStop, failed};
use crate::backend::{Backend, Operand, Operands};
use crate::group::{Cause, Group, GroupError};
use crate::program::{Op, ValueId};
use crate::tensor::Shape;

/// Keys and values of a shard that go round.
type Visitor<B> = [Rc<<B as Backend>::Tensor>; 2];

impl<B: Backend, G: Group + ?Sized, F> Run<'_, B, G, F>
where
    F: FnMut(u32, f64, Vec<f32>) -> Result<(), GroupError>,
{
    /// Attention: queries stay, and each rank's keys and values go round from rank to rank. Those
    /// that come are under way while the queries see the ones before.
    pub(super) fn attention(&mut self, index: usize) -> Result<(), ShardStop> {
        let ShardJob { backend, program, cut, .. } = *self.job;
        let op = &program.ops()[index];
        let Op::Attention { q, k, v, .. } = *op else { unreachable!("the pass says so") };
        let (ranks, rank) = (cut.ranks(), self.group.rank());
        let own = cut.shards_of(rank);
        let mut attentions: HashMap<u32, B::Attention> = HashMap::new();
        let mut visiting = self.own_visitors(index)?;
        let have_left = !visiting.is_empty();
        for step in 0..ranks {
            self.before_file()?;
            let mut transit = None;
            let stays = step == 0 && !have_left;
            if step + 1 < ranks {
                let parcels = self.keys_and_values(&visiting, [k, v], stays)?;
                let [next, before] = [rank + 1, rank + ranks - 1].map(|rank| rank % ranks);
                let source = (rank + ranks - 1 - step) % ranks;
                let shapes: Vec<Shape> = cut
                    .shards_of(source)
                    .flat_map(|shard| [k, v].map(|id| cut.shape(program, id, shard)))
                    .collect();
                let tag = Tags::Attention.tag(index);
                let (outgoing, incoming) = (vec![(next, parcels)], vec![(before, shapes)]);
                transit = Some(self.exchange.begin(&self.group, tag, outgoing, incoming)?);
            }
            for shard in own.clone() {
                let start = Instant::now();
                let attention = attentions.remove(&shard);
                let visitors = (!stays).then_some(&visiting[..]);
                let attention = self.attend_block(index, shard, attention, visitors)?;
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
                self.before_file()?;
                self.park.put((op.output(), shard), output)?;
            }
            if let Some(transit) = transit {
                visiting.clear();
                for (_, parcels) in self.exchange.arrive(&self.group, transit)? {
                    let mut next = parcels.into_iter().map(|parcel| self.exchange.take(parcel));
                    while let (Some(keys), Some(values)) = (next.next(), next.next()) {
                        let [keys, values] =
                            [keys, values].map(|part| part.map_err(Cause::Backend));
                        visiting.push([keys?, values?]);
                    }
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

    /// This rank's own keys and values, where they can leave as they are: from device to device, and
    /// they have no reader any more. Otherwise they stay, and copies leave.
    fn own_visitors(&mut self, index: usize) -> Result<Vec<Visitor<B>>, ShardStop> {
        let ShardJob { program, cut, .. } = *self.job;
        let op = &program.ops()[index];
        let Op::Attention { q, k, v, .. } = *op else { unreachable!("the pass says so") };
        let die = [k, v].iter().all(|&id| self.liveness.dies_at(id, index));
        if self.exchange.links.is_none() || !die || q == k || q == v || k == v {
            return Ok(Vec::new());
        }
        let mut visitors = Vec::new();
        for shard in cut.shards_of(self.group.rank()) {
            self.before_file()?;
            let mut take = |id| self.park.take((id, shard)).map(Rc::new);
            let pair = take(k).and_then(|keys| Ok([keys, take(v)?]));
            visitors.push(pair.map_err(|cause| failed(program, op, shard, cause))?);
        }
        Ok(visitors)
    }

    /// Lets a shard's queries see those keys and values that visit, or the rank's own that stay.
    fn attend_block(
        &self,
        index: usize,
        shard: u32,
        mut attention: Option<B::Attention>,
        visiting: Option<&[Visitor<B>]>,
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
        if let Some(visiting) = visiting {
            for [keys, values] in visiting {
                attend(keys, values)?;
            }
        } else {
            for other in cut.shards_of(self.group.rank()) {
                let keys = self.park.lend((k, other)).map_err(fail)?;
                let values = self.park.lend((v, other)).map_err(fail)?;
                attend(&keys, &values)?;
            }
        }
        Ok(attention.expect("every rank has a shard with keys"))
    }

    /// The keys and values that this rank passes on: those that visit, or its own that stay.
    fn keys_and_values(
        &self,
        visiting: &[Visitor<B>],
        ids: [ValueId; 2],
        own: bool,
    ) -> Result<Vec<Parcel<B::Tensor>>, ShardStop> {
        let ShardJob { program, cut, .. } = *self.job;
        if !own {
            let parcels = visiting.iter().flatten().map(|part| self.exchange.pass_on(part));
            return Ok(parcels.collect::<Result<_, _>>().map_err(Cause::Backend)?);
        }
        let mut parcels = Vec::new();
        for shard in cut.shards_of(self.group.rank()) {
            for id in ids {
                let shape = cut.shape(program, id, shard);
                let all = shape.size().at_origin();
                parcels.push(self.park.region(self.exchange, (id, shard), all)?);
            }
        }
        Ok(parcels)
    }
}
