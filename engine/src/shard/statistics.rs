//! Statistics of parts on their way to those of the whole.

use super::carrier::{Carrier, Wholes};
use super::pass::Segment;
use super::rounds::Round;
use super::run::{Run, ShardJob};
use super::stop::ShardStop;
use crate::backend::Backend;
use crate::group::{Group, Kind, Tag};
use crate::program::{Program, ValueId};

impl<B: Backend, C: Carrier<B>, G: Group + ?Sized, F> Run<'_, B, C, G, F> {
    /// Merges all ranks' statistics of a segment, shard by shard, so that every rank gets the same
    /// bytes.
    pub(super) fn merge_statistics(
        &mut self,
        segment: &Segment,
        round: &Round,
    ) -> Result<(), ShardStop> {
        let ShardJob { program, cut, .. } = *self.job;
        let ops = segment.ops.clone().filter(|&op| round.has(op));
        let made: Vec<ValueId> = ops.map(|op| program.ops()[op].output()).collect();
        let of_round = segment.statistics.iter().copied().filter(|id| made.contains(id));
        let statistics: Vec<ValueId> = of_round.collect();
        if statistics.is_empty() {
            return Ok(());
        }
        let mut own = Vec::new();
        for shard in cut.shards_of(self.group.rank()) {
            for &id in &statistics {
                own.push(self.partials.remove(&(id, shard)).expect("made in this segment"));
            }
        }
        let of_whole: Vec<(ValueId, f64)> =
            statistics.iter().map(|&id| values_of(program, id)).collect();
        let count = |whole: usize, shard: usize| {
            let (input, in_group) = of_whole[whole];
            cut.part(program, input, shard as u32).volume() as f64 * in_group
        };
        let shape = |&id: &ValueId| cut.shape(program, id, 0);
        let parts = (0..cut.ranks()).map(|rank| cut.shards_of(rank).len());
        let wholes = Wholes {
            shapes: statistics.iter().map(shape).collect(),
            parts: parts.collect(),
            count: &count,
        };
        let tag = Tag::of_op(Kind::Statistics, segment.ops.start);
        let merged = self.carrier.merge(&self.group, tag, own, &wholes)?;
        self.stats.extend(statistics.into_iter().zip(merged));
        Ok(())
    }

    /// Lets go of statistics that no op reads any more.
    pub(super) fn forget_statistics(&mut self, segment: &Segment, round: &Round) {
        let slices = 0..self.job.cut.grid().slices();
        let steps = slices
            .flat_map(|slice| segment.ops.clone().filter_map(move |op| round.step(slice, op)));
        let reads = steps.flat_map(|step| &step.reads).filter(|read| read.needed > 0);
        reads.for_each(|read| {
            self.stats.remove(&read.id);
        });
    }
}

/// What statistics are of, and how many values a channel group has in each of its cells.
fn values_of(program: &Program, id: ValueId) -> (ValueId, f64) {
    let writes = program.ops().iter().find(|op| op.output() == id);
    let input = writes.and_then(|op| op.inputs().next());
    let input = input.expect("statistics are written by an op that reads a feature map");
    let (channels, _) = program.features(input);
    (input, f64::from(channels) / f64::from(program.groups(id)))
}
