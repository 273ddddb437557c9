//! Statistics of parts on their way to those of the whole.

use super::exchange::Parcel;
use super::halo::Tags;
use super::pass::Segment;
use super::run::{Run, ShardJob, ShardStop};
use crate::backend::Backend;
use crate::group::{Cause, Group};
use crate::program::ValueId;
use crate::tensor::Shape;

impl<B: Backend, G: Group + ?Sized, F> Run<'_, B, G, F> {
    /// Tells all ranks this rank's statistics of a segment and merges everybody's, shard by shard,
    /// so that every rank gets the same bytes.
    pub(super) fn merge_statistics(&mut self, segment: &Segment) -> Result<(), ShardStop> {
        let ShardJob { program, cut, .. } = *self.job;
        if segment.statistics.is_empty() {
            return Ok(());
        }
        let shape_of = |&id: &ValueId| cut.shape(program, id, 0);
        let of_shard: Vec<Shape> = segment.statistics.iter().map(shape_of).collect();
        let of_rank = |rank| of_shard.repeat(cut.shards_of(rank).len());
        let shapes: Vec<Vec<Shape>> = (0..cut.ranks()).map(of_rank).collect();
        let mut own = Vec::new();
        for shard in cut.shards_of(self.group.rank()) {
            for &id in &segment.statistics {
                own.push(self.partials.remove(&(id, shard)).expect("made in this segment"));
            }
        }
        let tag = Tags::Statistics.tag(segment.ops.start);
        let all: Vec<Parcel<B::Tensor>> =
            self.exchange.all_gather(&self.group, tag, own, &shapes)?;
        for (at, &id) in segment.statistics.iter().enumerate() {
            let input = program
                .ops()
                .iter()
                .find(|op| op.output() == id)
                .and_then(|op| op.inputs().next())
                .expect("statistics are written by an op that reads a feature map");
            let (channels, _) = program.features(input);
            let in_group = f64::from(channels) / f64::from(program.groups(id));
            let parts = (0..cut.grid().len()).map(|shard| {
                let count = cut.part(program, input, shard).area() as f64 * in_group;
                (count, &all[shard as usize * segment.statistics.len() + at])
            });
            let merged = self.exchange.merge(parts).map_err(Cause::Backend)?;
            self.stats.insert(id, merged);
        }
        Ok(())
    }

    /// Lets go of statistics that nobody reads any more.
    pub(super) fn forget_statistics(&mut self, segment: &Segment) {
        let liveness = &self.liveness;
        self.stats.retain(|&id, _| !segment.ops.clone().any(|at| liveness.dies_at(id, at)));
    }
}
