//! What attention over all shards takes.

use super::{Lent, Walk};
use crate::program::StepRead;
use crate::shard::park::Key;
use crate::shard::rounds::Round;

impl Walk<'_> {
    /// The same steps as the ring's.
    pub(super) fn attention(&mut self, index: usize, rank: u32, round: &Round) {
        let program = self.program;
        let op = &program.ops()[index];
        if !round.has(index) {
            return;
        }
        let cut = self.cut;
        let step = |shard: u32| round.step(cut.slice_of(shard), index);
        let attending = |rank: u32| cut.shards_of(rank).filter(move |&s| step(s).is_some());
        let reads = |shard: u32| &step(shard).expect("it attends").reads;
        let bytes_of =
            |walk: &Self, shard: u32, read: &StepRead| walk.bytes(read.id, shard, &read.frames);
        let lent = |walk: &Self, shard: u32, operand: usize| {
            let read = &reads(shard)[operand];
            let bytes = |count: u64| walk.bytes(read.id, shard, &(0..count));
            let lent = Lent { frames: &read.frames, by_tap: false, bytes: &bytes };
            walk.lent(Key::Value(read.id, shard), None, &lent)
        };
        let state = |walk: &Self, shard: u32| {
            let outputs = &step(shard).expect("it attends").outputs;
            let part = cut.part(program, op.output(), shard);
            let queries = u128::from(part.area()) * u128::from(outputs.end - outputs.start);
            walk.bytes(op.output(), shard, outputs) + 8 * queries
        };
        let both = |walk: &Self, of: u32| {
            let pair =
                |s: u32| reads(s)[1..].iter().map(|read| bytes_of(walk, s, read)).sum::<u128>();
            attending(of).map(pair).sum::<u128>()
        };
        let ranks = cut.ranks();
        // Those that have begun.
        let mut states = 0;
        for turn in 0..ranks {
            let source = (rank + ranks - turn) % ranks;
            let visitors = if turn == 0 { 0 } else { both(self, source) };
            self.reach(self.here + states + visitors);
            for shard in attending(rank) {
                // The rank's own keys and values come one shard's after the other's.
                let beside = |&other: &u32| cut.slice_of(other) == cut.slice_of(shard);
                let pair = |other| lent(self, other, 1) + lent(self, other, 2);
                let own = match turn {
                    0 => attending(rank).filter(beside).map(pair).max().unwrap_or(0),
                    _ => 0,
                };
                if turn == 0 {
                    states += state(self, shard);
                }
                let this = step(shard).expect("it attends");
                let workspace = self.workspace(op, this, shard);
                let query = lent(self, shard, 0);
                self.reach(self.here + query + states + visitors + own + workspace);
                if turn + 1 < ranks {
                    continue;
                }
                let q = &this.reads[0];
                self.drop_before(Key::Value(q.id, shard), q.needed, states + visitors);
                states -= state(self, shard);
                let bytes = self.bytes(op.output(), shard, &this.outputs);
                self.reach(self.here + states + visitors + bytes);
                self.put(Key::Value(op.output(), shard), this.outputs.clone(), bytes);
            }
        }
        for shard in attending(rank) {
            for read in &reads(shard)[1..] {
                self.drop_before(Key::Value(read.id, shard), read.needed, 0);
            }
        }
    }
}
