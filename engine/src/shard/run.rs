//! One rank's part of a decode that is cut into shards.
//!
//! Chunk of latents by chunk, and in each round segment by segment: borders go out to the neighbours,
//! the statistics of the segment before are merged, then each of the rank's shards has its turn on
//! the device. With as many ranks as shards a rank has one shard, and nothing ever leaves its device
//! but borders; with fewer ranks the shards take turns, and what waits is parked. What later rounds
//! read of values and halos waits there too.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use halovae_core::Region;

use super::carrier::Carrier;
use super::cut::Cut;

use super::halo::Borders;
use super::over_host::OverHost;
use super::over_links::OverLinks;
use super::park::{Key, Park, ParkLimit};
use super::pass::Segment;
use super::rounds::{Round, Rounds};
use super::stop::ShardStop;
use crate::backend::Backend;
use crate::group::{Cause, FirstRanks, Group, GroupError, Links};
use crate::program::{Liveness, Program, ValueId};
use crate::tensor::HostTensor;

/// What a rank needs to do its part.
pub(crate) struct ShardJob<'a, B: Backend, G: ?Sized> {
    pub(crate) backend: &'a B,
    pub(crate) program: &'a Program,
    pub(crate) weights: &'a B::Weights,
    pub(crate) group: &'a G,
    /// If what ranks exchange goes from device to device.
    pub(crate) links: Option<&'a dyn Links<B::Tensor>>,
    pub(crate) cut: &'a Cut,
    /// At most so many frames of latents are decoded at a time.
    pub(crate) chunk: u32,
    pub(crate) limit: Option<ParkLimit>,
}

/// Frames of a shard's part of the picture that are finished.
pub(crate) struct Finished {
    pub(crate) shard: u32,
    /// What the shard's turns have taken so far.
    pub(crate) seconds: f64,
    /// The frames, counted in the shard's own.
    pub(crate) frames: Range<u64>,
    /// Channels last.
    pub(crate) data: Vec<f32>,
}

impl<B: Backend, G: Group + ?Sized> ShardJob<'_, B, G> {
    /// How many turns the rank's shards have in one image.
    pub(crate) fn turns(&self) -> u64 {
        let shards = self.cut.shards_of(self.group.rank()).len();
        let rounds = Rounds::new(self.program, self.cut, self.chunk).count();
        (shards * self.cut.segments().len() * rounds) as u64
    }

    /// Decodes the rank's shards of image `image` of `latents`. `turn` is told how many turns are
    /// over; `finished` takes the frames of each shard as they come, in the order of the shards.
    ///
    /// # Errors
    /// [`ShardStop`].
    pub(crate) fn run(
        &self,
        latents: &HostTensor,
        image: usize,
        turn: impl Fn(u64),
        finished: impl FnMut(Finished) -> Result<(), GroupError>,
    ) -> Result<(), ShardStop> {
        let backend = self.backend;
        match self.links {
            None => self.run_over(OverHost { backend }, latents, image, turn, finished),
            Some(links) => {
                self.run_over(OverLinks { backend, links }, latents, image, turn, finished)
            }
        }
    }

    fn run_over<C: Carrier<B>>(
        &self,
        carrier: C,
        latents: &HostTensor,
        image: usize,
        turn: impl Fn(u64),
        finished: impl FnMut(Finished) -> Result<(), GroupError>,
    ) -> Result<(), ShardStop> {
        let group = FirstRanks::new(self.group, self.cut.ranks());
        let mut run = Run {
            job: self,
            carrier,
            liveness: Liveness::new(self.program),
            park: Park::new(self.backend, self.limit.clone()),
            borders: Borders::new(carrier),
            stats: HashMap::new(),
            partials: HashMap::new(),
            seconds: HashMap::new(),
            group,
            finished,
            pending: BTreeMap::new(),
        };
        let mut turns = 0;
        for round in Rounds::new(self.program, self.cut, self.chunk) {
            if round.is_of_new_latents() {
                run.hand_over()?;
                run.take_latents(latents, image, &round)?;
            }
            let mut before: Option<&Segment> = None;
            for segment in self.cut.segments() {
                run.send_borders(segment, &round)?;
                if let Some(before) = before {
                    run.merge_statistics(before, &round)?;
                }
                if segment.is_attention {
                    run.attention(segment.ops.start, &round)?;
                    turns += self.cut.shards_of(self.group.rank()).len() as u64;
                    turn(turns);
                } else {
                    for shard in self.cut.shards_of(self.group.rank()) {
                        run.turn(segment, shard, &round)?;
                        turns += 1;
                        turn(turns);
                    }
                }
                run.forget_statistics(segment, &round);
                before = Some(segment);
            }
        }
        run.hand_over()
    }
}

pub(super) struct Run<'a, B: Backend, C: Carrier<B>, G: ?Sized, F> {
    pub(super) job: &'a ShardJob<'a, B, G>,
    pub(super) carrier: C,
    pub(super) liveness: Liveness,
    pub(super) park: Park<'a, B>,
    pub(super) borders: Borders<B, C>,
    /// Merged statistics.
    pub(super) stats: HashMap<ValueId, B::Tensor>,
    /// Statistics of the rank's shards that are not merged yet.
    pub(super) partials: HashMap<(ValueId, u32), C::Parcel>,
    /// What each shard's turns took.
    pub(super) seconds: HashMap<u32, f64>,
    pub(super) group: FirstRanks<'a, G>,
    pub(super) finished: F,
    /// Finished frames that are not handed over yet, by shard.
    pending: BTreeMap<u32, Finished>,
}

impl<B: Backend, C: Carrier<B>, G: Group + ?Sized, F> Run<'_, B, C, G, F>
where
    F: FnMut(Finished) -> Result<(), GroupError>,
{
    /// Puts the round's frames of the latents on the device, shard by shard.
    fn take_latents(
        &mut self,
        latents: &HostTensor,
        image: usize,
        round: &Round,
    ) -> Result<(), ShardStop> {
        let ShardJob { backend, program, cut, group, .. } = *self.job;
        for shard in cut.shards_of(group.rank()) {
            let band = cut.band(program, program.input(), cut.slice_of(shard));
            let Some(frames) = round.latents(band) else { continue };
            // Frames of latents, which are u32.
            let [first, len] = [frames.start, frames.end - frames.start].map(|count| count as u32);
            let part = cut.part(program, program.input(), shard).over(first, len);
            let part = latents.crop(image, part).map_err(Cause::Backend)?;
            let part = backend.upload(&part).map_err(Cause::Backend)?;
            if program.input() == program.output() {
                self.finish(shard, frames, || 0.0, &part)?;
            } else {
                self.park.put(Key::Value(program.input(), shard), frames, part)?;
            }
        }
        Ok(())
    }

    fn send_borders(&mut self, segment: &Segment, round: &Round) -> Result<(), ShardStop> {
        let ShardJob { program, cut, .. } = self.job;
        for halo in segment.halos.iter().filter(|halo| round.has(halo.op)) {
            self.before_file()?;
            let (park, carrier) = (&self.park, self.carrier);
            let cut_out = |shard: u32, rect: Region| {
                let part = cut.part(program, halo.value, shard);
                let own = Region { top: rect.top - part.top, left: rect.left - part.left, ..rect };
                let frames = u64::from(rect.first)..rect.end();
                park.region(carrier, Key::Value(halo.value, shard), &frames, own)
            };
            let fresh = &round.halo(halo.op).fresh;
            self.borders.send(&self.group, cut, program, halo, fresh, cut_out)?;
        }
        Ok(())
    }

    /// Waits for the device if values may go to the file or come out of it.
    pub(super) fn before_file(&self) -> Result<(), ShardStop> {
        match self.job.limit {
            Some(_) => self.carrier.settle(&self.group),
            None => Ok(()),
        }
    }

    /// Hands over the frames that are finished since latents came.
    fn hand_over(&mut self) -> Result<(), ShardStop> {
        for (_, finished) in std::mem::take(&mut self.pending) {
            (self.finished)(finished)?;
        }
        Ok(())
    }

    /// Fetches frames of a shard's part of the picture, and how long it took once they are there: until
    /// then a device may only have queued them.
    pub(super) fn finish(
        &mut self,
        shard: u32,
        frames: Range<u64>,
        seconds: impl Fn() -> f64,
        output: &B::Tensor,
    ) -> Result<(), ShardStop> {
        self.carrier.settle(&self.group)?;
        let ShardJob { backend, program, cut, .. } = *self.job;
        let all = backend.shape(output).size().at_origin();
        let data = backend.download(output, all).map(HostTensor::into_data);
        let data = data.map_err(|error| ShardStop::Failed {
            shard: Some(shard),
            op: Some(program.value(program.output()).name.clone()),
            cause: Cause::Backend(error),
        })?;
        if !data.iter().all(|value| value.is_finite()) {
            let cause = Cause::NotFinite;
            return Err(ShardStop::Failed { shard: Some(shard), op: None, cause });
        }
        let first = cut.band(program, program.output(), cut.slice_of(shard)).start;
        let frames = frames.start - first..frames.end - first;
        let seconds = seconds();
        match self.pending.entry(shard) {
            Entry::Vacant(none) => {
                none.insert(Finished { shard, seconds, frames, data });
            }
            Entry::Occupied(mut some) => {
                let finished = some.get_mut();
                (finished.seconds, finished.frames.end) = (seconds, frames.end);
                finished.data.extend_from_slice(&data);
            }
        }
        Ok(())
    }
}
