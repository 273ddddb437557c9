//! What a sharded decode takes, known without running it.

mod alike;
mod attention;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::ops::Range;

use self::alike::Alike;
use super::around::Around;
use super::cut::Cut;
use super::park::Key;
use super::pass::Segment;
use super::rounds::{HaloFrames, Round, Rounds};
use super::side::Side;
use crate::program::{
    Held, Liveness, MemoryModel, Op, Program, Step, StepRead, ValueId, ValueKind,
};
use crate::tensor::Shape;

/// The most bytes of values and workspace that a rank holds on its device at once, weights not
/// counted, if at most `limit` bytes of values wait there (no limit: all of them), and at most `chunk`
/// frames of latents are decoded at a time.
///
/// It follows the run step by step with sizes in the place of values. Where nothing may wait there, shards
/// do not meet on the device but in an attention, and of those that are alike not all are followed.
pub fn peak_bytes(
    program: &Program,
    cut: &Cut,
    rank: u32,
    model: &dyn MemoryModel,
    limit: Option<u64>,
    chunk: u32,
) -> u64 {
    let (input, output) = (program.input(), program.output());
    let mut walk = Walk {
        program,
        cut,
        model,
        alike: if limit == Some(0) { Alike::new(cut, rank) } else { Alike::none(cut, rank) },
        is_output_read: program.ops().iter().any(|op| op.inputs().any(|id| id == output)),
        limit: limit.map_or(u128::MAX, u128::from),
        liveness: Liveness::new(program),
        parked: HashMap::new(),
        here: 0,
        peak: 0,
        kept_workspace: 0,
    };
    let shards = walk.alike.walked();
    if shards.is_empty() {
        return 0;
    }
    for round in Rounds::new(program, cut, chunk) {
        for &shard in &shards {
            let band = cut.band(program, input, cut.slice_of(shard));
            let Some(frames) = round.latents(band) else { continue };
            let bytes = walk.bytes(input, shard, &frames);
            match input == output {
                true => walk.reach(bytes),
                false => walk.put(Key::Value(input, shard), frames, bytes),
            }
        }
        for segment in cut.segments() {
            if segment.is_attention {
                walk.attention(segment.ops.start, rank, &round);
            } else {
                shards.iter().for_each(|&shard| walk.turn(segment, shard, &round));
            }
        }
    }
    u64::try_from(walk.peak).unwrap_or(u64::MAX)
}

/// Memory in which frames wait.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    bytes: u128,
    /// On the device, or else in the file.
    here: bool,
}

struct Walk<'a> {
    program: &'a Program,
    cut: &'a Cut,
    model: &'a dyn MemoryModel,
    alike: Alike,
    is_output_read: bool,
    // A value's bytes stop at u64::MAX; their sums must not, or freeing one would underflow.
    limit: u128,
    liveness: Liveness,
    parked: HashMap<Key, Held<Waiting>>,
    here: u128,
    peak: u128,
    /// Workspace that stays for later ops.
    kept_workspace: u128,
}

/// Of a shard's values, those that are neither parked nor lent.
type Own = BTreeMap<ValueId, Held<u128>>;

fn held_bytes(own: &Own) -> u128 {
    own.values().flat_map(Held::tensors).sum()
}

impl Walk<'_> {
    fn shape(&self, id: ValueId, shard: u32, frames: &Range<u64>) -> Shape {
        let shape = self.cut.shape(self.program, id, shard);
        match self.program.value(id).kind {
            ValueKind::Stats { .. } => shape,
            ValueKind::Features { .. } => shape.over((frames.end - frames.start) as usize),
        }
    }

    /// The extents of what waits, but for its frames.
    fn shape_of(&self, key: Key) -> Shape {
        match key {
            Key::Value(id, shard) => self.cut.shape(self.program, id, shard),
            Key::Halo { op, shard, side } => {
                let halo = self.cut.halo_of(op).expect("its halo waits");
                let (channels, _) = self.program.features(halo.value);
                Around::new(self.cut, self.program, halo, &(0..0), shard).shape(side, channels)
            }
        }
    }

    fn bytes(&self, id: ValueId, shard: u32, frames: &Range<u64>) -> u128 {
        self.model.value_bytes(self.shape(id, shard, frames)).into()
    }

    fn put(&mut self, key: Key, frames: Range<u64>, bytes: u128) {
        let here = self.here + bytes <= self.limit;
        self.parked.entry(key).or_default().push(frames, Waiting { bytes, here });
        // It was on the device before it was put.
        self.reach(self.here + bytes);
        if here {
            self.here += bytes;
        }
    }

    /// Takes all frames out, which is to have them on the device.
    fn take(&mut self, id: ValueId, shard: u32) -> Held<u128> {
        let mut taken = Held::default();
        let parts = self.parked.remove(&Key::Value(id, shard)).into_iter();
        for (frames, Waiting { bytes, here }) in parts.flat_map(Held::into_parts) {
            if here {
                self.here -= bytes;
            }
            let bytes = if here { bytes } else { self.bytes(id, shard, &frames) };
            taken.push(frames, bytes);
        }
        taken
    }

    fn reach(&mut self, bytes: u128) {
        self.peak = self.peak.max(bytes);
    }

    /// Bytes of copies that are made to read frames: of what is in the file, and in one tensor of what
    /// lies in several unless they are read tap by tap.
    fn lent(&self, key: Key, own: Option<&Held<u128>>, read: &Lent<'_>) -> u128 {
        let copy = |frames: u64| (read.bytes)(frames);
        let waiting = self.parked.get(&key).map(|held| held.parts(read.frames));
        let waiting = waiting.unwrap_or_default();
        let loaded = waiting.iter().filter(|(part, _)| !part.here);
        let loaded: u128 = loaded.map(|(_, range)| copy(range.len() as u64)).sum();
        let made = own.map(|own| own.parts(read.frames)).unwrap_or_default();
        let is_exact =
            self.parked.get(&key).is_some_and(|held| held.exactly(read.frames).is_some())
                || own.is_some_and(|own| own.exactly(read.frames).is_some());
        // What is loaded has the frames that are read and no others.
        let is_loaded = loaded > 0 && waiting.len() == 1 && made.is_empty();
        let all = read.frames.end - read.frames.start;
        loaded + if is_exact || is_loaded || read.by_tap || all == 0 { 0 } else { copy(all) }
    }

    fn workspace(&mut self, op: &Op, step: &Step, shard: u32) -> u128 {
        let shapes = |id: ValueId| {
            let read = step.reads.iter().find(|read| read.id == id);
            let frames = read.map_or(&step.outputs, |read| &read.frames);
            self.shape(id, shard, frames)
        };
        let needed = self.model.workspace_bytes(self.program, op, &shapes).into();
        if !self.model.keeps_workspace() {
            return needed;
        }
        self.kept_workspace = self.kept_workspace.max(needed);
        self.kept_workspace
    }

    fn turn(&mut self, segment: &Segment, shard: u32, round: &Round) {
        let program = self.program;
        let mut own = Own::default();
        for index in segment.ops.clone() {
            let Some(step) = round.step(self.cut.slice_of(shard), index) else { continue };
            for read in step.reads.iter().filter(|read| !program.is_statistics(read.id)) {
                let dies = self.liveness.dies_within(read.id, &segment.ops);
                if dies && !read.by_tap && !own.contains_key(&read.id) {
                    let held = self.take(read.id, shard);
                    own.insert(read.id, held);
                }
            }
            self.op(index, step, shard, round, &mut own);
        }
        let output = program.output();
        own.retain(|&id, _| id != output || self.is_output_read);
        for (id, held) in own {
            for (frames, bytes) in held.into_parts() {
                self.put(Key::Value(id, shard), frames, bytes);
            }
        }
    }

    fn op(&mut self, index: usize, step: &Step, shard: u32, round: &Round, own: &mut Own) {
        let program = self.program;
        let op = &program.ops()[index];
        let mut given = Vec::new();
        let mut lent = 0;
        for StepRead { id, frames, by_tap, given: is_given, .. } in &step.reads {
            if program.is_statistics(*id) {
                continue;
            }
            let held = own.get_mut(id).filter(|_| *is_given);
            if let Some(bytes) = held.and_then(|held| held.take(frames)) {
                given.push((*id, bytes));
                continue;
            }
            let bytes = |count: u64| self.bytes(*id, shard, &(0..count));
            let read = Lent { frames, by_tap: *by_tap, bytes: &bytes };
            lent += self.lent(Key::Value(*id, shard), own.get(id), &read);
        }
        let (halo, later) = self.halo(index, step, shard, round);
        let reused = self.model.in_place(program, op);
        let reused = given.iter().find(|(id, _)| Some(*id) == reused).map(|(_, bytes)| *bytes);
        let of_output = reused.unwrap_or_else(|| self.bytes(op.output(), shard, &step.outputs));
        let is_feature = !program.is_statistics(op.output());
        let output = if reused.is_none() && is_feature { of_output } else { 0 };
        let held = held_bytes(own) + given.iter().map(|(_, bytes)| bytes).sum::<u128>();
        let workspace = self.workspace(op, step, shard);
        self.reach(self.here + held + lent + halo + output + workspace);
        for side in Side::OF_FRAME {
            self.drop_before(Key::Halo { op: index, shard, side }, round.halo(index).needed, 0);
        }
        for (side, frames, bytes) in later {
            self.put(Key::Halo { op: index, shard, side }, frames, bytes);
        }
        let made = if is_feature { of_output } else { 0 };
        for StepRead { id, needed, .. } in &step.reads {
            let beside = held_bytes(own) + made;
            if let Some(mut held) = own.remove(id) {
                let here = self.here + beside;
                let keep = |_: u128, kept: Range<usize>| {
                    let copy = self.bytes(*id, shard, &(0..kept.len() as u64));
                    self.reach(here + copy);
                    Ok::<_, Infallible>(copy)
                };
                held.drop_before(*needed, keep).unwrap_or_else(|never| match never {});
                own.insert(*id, held);
            }
            self.drop_before(Key::Value(*id, shard), *needed, beside);
        }
        if is_feature {
            own.entry(op.output()).or_default().push(step.outputs.clone(), of_output);
        }
    }

    /// Drops frames; a copy of those that stay of a tensor is made beside it, and beside `more` bytes.
    fn drop_before(&mut self, key: Key, first: u64, more: u128) {
        let Some(mut held) = self.parked.remove(&key) else { return };
        let shape = self.shape_of(key);
        let keep = |part: Waiting, kept: Range<usize>| {
            if !part.here {
                return Ok::<_, Infallible>(part);
            }
            let bytes = u128::from(self.model.value_bytes(shape.over(kept.len())));
            self.reach(self.here + bytes + more);
            self.here = self.here - part.bytes + bytes;
            Ok(Waiting { bytes, here: true })
        };
        let dropped = held.drop_before(first, keep).unwrap_or_else(|never| match never {});
        self.here -= dropped.iter().filter(|part| part.here).map(|part| part.bytes).sum::<u128>();
        if !held.is_empty() {
            self.parked.insert(key, held);
        }
    }

    /// The most bytes of the halo while an op runs, and what of it stays for later rounds.
    fn halo(
        &self,
        index: usize,
        step: &Step,
        shard: u32,
        round: &Round,
    ) -> (u128, Vec<(Side, Range<u64>, u128)>) {
        let Some(halo) = self.cut.halo_of(index) else { return (0, Vec::new()) };
        let HaloFrames { fresh, needed } = round.halo(index);
        let around = Around::new(self.cut, self.program, halo, fresh, shard);
        let (channels, _) = self.program.features(halo.value);
        let (all, read) = (around.frames(), &step.reads[0].frames);
        let bytes = |side: Side, frames: u64| {
            let shape = around.shape(side, channels);
            u128::from(self.model.value_bytes(shape.over(frames as usize)))
        };
        let kept = |side: Side| {
            let held = self.parked.get(&Key::Halo { op: index, shard, side });
            held.map(|held| held.parts(read)).unwrap_or_default()
        };
        // What has come, and what is loaded of what was kept.
        let mut now: u128 = Side::ALL.iter().map(|&side| bytes(side, all.end - all.start)).sum();
        for side in [Side::Past, Side::Future] {
            now += bytes(side, around.shape(side, channels).frames as u64);
            now -= bytes(side, all.end - all.start);
        }
        let of_loaded = |side: Side| -> u128 {
            let loaded = kept(side).into_iter().filter(|(part, _)| !part.here);
            loaded.map(|(_, frames)| bytes(side, frames.len() as u64)).sum()
        };
        now += Side::OF_FRAME.into_iter().map(of_loaded).sum::<u128>();
        let (mut most, mut later) = (now, Vec::new());
        for side in Side::OF_FRAME {
            let came = bytes(side, all.end - all.start);
            let stays = (*needed).clamp(all.start, all.end)..all.end;
            if came > 0 && !stays.is_empty() {
                let copy = bytes(side, stays.end - stays.start);
                now += copy;
                later.push((side, stays, copy));
            }
            let is_one = match &kept(side)[..] {
                [] => all == *read,
                [(part, _)] => came == 0 && !part.here,
                _ => false,
            };
            if !is_one {
                now += bytes(side, read.end - read.start);
            }
            most = most.max(now);
            if !is_one {
                now -= came + of_loaded(side);
            }
        }
        (most, later)
    }
}

/// Frames that are read where they wait.
struct Lent<'a> {
    frames: &'a Range<u64>,
    by_tap: bool,
    /// Bytes of so many of them.
    bytes: &'a dyn Fn(u64) -> u128,
}
