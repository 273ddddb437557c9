//! What attention over all shards of a frame takes.

use std::ops::Range;

use super::{Lent, Walk};
use crate::program::{Step, StepRead};
use crate::shard::park::Key;
use crate::shard::rounds::Round;

impl Walk<'_> {
    /// The same steps as the ring's.
    pub(super) fn attention(&mut self, index: usize, rank: u32, round: &Round) {
        for slice in 0..self.cut.grid().slices() {
            let ring = self.cut.ring(slice);
            let here = ring.iter().position(|&(of_ring, _)| of_ring == rank);
            if let (Some(here), Some(step)) = (here, round.step(slice, index)) {
                let shards: Vec<_> = ring.into_iter().map(|(_, shards)| shards).collect();
                self.attend_round(index, step, &shards, here);
            }
        }
    }

    /// Of a slice, whose shards are in those parts on the ranks of its ring.
    fn attend_round(&mut self, index: usize, step: &Step, ring: &[Range<u32>], here: usize) {
        let (program, cut) = (self.program, self.cut);
        let op = &program.ops()[index];
        let [query, pair @ ..] = &step.reads[..] else { unreachable!("queries, keys and values") };
        let lent = |walk: &Self, shard: u32, read: &StepRead| {
            let bytes = |count: u64| walk.bytes(read.id, shard, &(0..count));
            let lent = Lent { frames: &read.frames, by_tap: false, bytes: &bytes };
            walk.lent(Key::Value(read.id, walk.alike.to(shard)), None, &lent)
        };
        let state = |walk: &Self, shard: u32| {
            let part = cut.part(program, op.output(), shard);
            let frames = u128::from(step.outputs.end - step.outputs.start);
            let queries = u128::from(part.area()) * frames;
            walk.bytes(op.output(), shard, &step.outputs) + 8 * queries
        };
        let both = |walk: &Self, of: &Range<u32>| {
            let of_shard =
                |shard: u32| pair.iter().map(move |read| walk.bytes(read.id, shard, &read.frames));
            of.clone().flat_map(of_shard).sum::<u128>()
        };
        let ranks = ring.len();
        let own = &ring[here];
        // Those that have begun.
        let mut states = 0;
        for turn in 0..ranks {
            let visitors = match turn {
                0 => 0,
                _ => both(self, &ring[(here + ranks - turn) % ranks]),
            };
            self.reach(self.here + states + visitors);
            // The rank's own keys and values come one shard's after the other's.
            let of_pair = |other| pair.iter().map(|read| lent(self, other, read)).sum::<u128>();
            let owns = match turn {
                0 => own.clone().map(of_pair).max().unwrap_or(0),
                _ => 0,
            };
            for shard in own.clone() {
                if turn == 0 {
                    states += state(self, shard);
                }
                let workspace = self.workspace(op, step, shard);
                let queries = lent(self, shard, query);
                self.reach(self.here + queries + states + visitors + owns + workspace);
                if turn + 1 < ranks {
                    continue;
                }
                let is_walked = self.alike.to(shard) == shard;
                if is_walked {
                    self.drop_before(Key::Value(query.id, shard), query.needed, states + visitors);
                }
                states -= state(self, shard);
                let bytes = self.bytes(op.output(), shard, &step.outputs);
                self.reach(self.here + states + visitors + bytes);
                if is_walked {
                    self.put(Key::Value(op.output(), shard), step.outputs.clone(), bytes);
                }
            }
        }
        for shard in own.clone() {
            for read in pair {
                self.drop_before(Key::Value(read.id, shard), read.needed, 0);
            }
        }
    }
}
