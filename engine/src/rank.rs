//! What one rank of a decode does: its pieces, one after the other, or its shards.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use halovae_core::{Plan, Region};

use crate::backend::{Backend, BackendError, Memory};
use crate::execute::{Execution, Stop, execute};
use crate::flow::Flows;
use crate::group::{
    Cause, Failure, FirstRanks, Group, LINKS, Links, Objects, Tag, Way, panic_message,
};
use crate::program::{Program, frames_at_once, peak_bytes};
use crate::progress::{PieceReport, Progress};
use crate::room::{Room, Tried};
use crate::schedule::{Item, Schedule};
use crate::shard::{self, Cut, Finished, ParkLimit, ShardJob, ShardStop};
use crate::tensor::{HostTensor, Shape};

/// What is free at least where it is found out what fits in it.
const ROOM_TO_THINK: u64 = 8 << 20;

/// One rank's device, its fused program and the weights there.
pub(crate) struct RankDevice<B: Backend> {
    pub(crate) backend: B,
    pub(crate) program: Arc<Program>,
    pub(crate) weights: Arc<B::Weights>,
    /// Its links to the devices of other ranks, if it has any.
    pub(crate) links: Option<Box<dyn Links<B::Tensor>>>,
}

impl<B: Backend> RankDevice<B> {
    /// The most bytes of values and workspace at once, by estimate: those of the rank's largest
    /// piece, or of its shards.
    pub(crate) fn peak_bytes(
        &self,
        schedule: &Schedule,
        cut: Option<&Cut>,
        rank: u32,
        park: Option<&ParkLimit>,
        chunk: u32,
    ) -> u64 {
        if let Some(cut) = cut {
            let limit = park.map(|park| park.bytes);
            return shard::peak_bytes(&self.program, cut, rank, &self.backend, limit, chunk);
        }
        let windows = schedule.windows_of(rank).into_iter();
        let peaks = windows.map(|window| peak_bytes(&self.program, window, chunk, &self.backend));
        peaks.max().unwrap_or(0)
    }
}

/// What one rank needs to do its part.
pub(crate) struct RankJob<'a, B: Backend, G: ?Sized> {
    pub(crate) device: &'a RankDevice<B>,
    pub(crate) group: &'a G,
    pub(crate) latents: &'a HostTensor,
    pub(crate) plan: &'a Plan,
    pub(crate) schedule: &'a Schedule,
    pub(crate) flows: &'a Flows,
    /// For the sharded strategy.
    pub(crate) cut: Option<&'a Cut>,
    pub(crate) park: Option<&'a ParkLimit>,
    /// See [`Control`](crate::decode::Control).
    pub(crate) chunk: u32,
    /// All ranks of this process.
    pub(crate) beside: &'a [Beside<'a, B>],
    /// See [`Control`](crate::decode::Control).
    pub(crate) free: Option<fn() -> Option<u64>>,
}

/// A rank of this process, as the others see it.
pub(crate) struct Beside<'a, B> {
    backend: &'a B,
    /// Device bytes that it held before the decode.
    idle: u64,
}

impl<'a, B: Backend> Beside<'a, B> {
    /// The rank of that device, which is not decoding.
    pub(crate) fn new(device: &'a RankDevice<B>) -> Self {
        Self { backend: &device.backend, idle: device.backend.memory().current }
    }

    /// Bytes of values and workspace that it holds now.
    fn held(&self) -> u64 {
        self.backend.memory().current.saturating_sub(self.idle)
    }
}

impl<B: Backend, G: Group + ?Sized> RankJob<'_, B, G> {
    /// Decodes what the schedule gives this rank and sends it to the stitcher, which is rank 0's.
    /// Whatever goes wrong, a panic included, is told to the group.
    pub(crate) fn run(&self, progress: &dyn Progress) {
        let rank = self.group.rank();
        // The piece that is worked on.
        let piece = Cell::new(None);
        let attempt = catch_unwind(AssertUnwindSafe(|| match self.cut {
            Some(cut) => self.run_shards(cut, &piece, progress),
            None => self.run_pieces(&piece, progress),
        }));
        self.group.rest();
        let stop = match attempt {
            Ok(Ok(()) | Err(RankStop::Stopped)) => return,
            Ok(Err(stop)) => stop,
            Err(panic) => {
                let cause = Cause::Panic(panic_message(panic.as_ref()));
                RankStop::Failed { piece: piece.get(), op: None, cause }
            }
        };
        if let RankStop::Failed { piece, op, cause } = stop {
            let cause = match cause {
                Cause::Backend(error @ BackendError::OutOfMemory { requested, .. }) => {
                    Cause::NoRoom { error, room: Box::new(self.room(requested)) }
                }
                cause => cause,
            };
            self.group.fail(Failure { rank, piece, op, cause });
        }
        if let Some(links) = &self.device.links {
            links.disconnect();
        }
    }

    fn run_pieces(
        &self,
        piece: &Cell<Option<u64>>,
        progress: &dyn Progress,
    ) -> Result<(), RankStop> {
        for item in self.schedule.items_of(self.group.rank()) {
            piece.set(Some(item.index));
            let start = Instant::now();
            let mut bytes = 0;
            let send = |data: Vec<f32>| {
                bytes += 4 * data.len() as u64;
                self.group.send(0, Tag::piece(item.index), data).map_err(|_| RankStop::Stopped)
            };
            self.decode(item, send).map_err(|stop| stop.on(piece.get()))?;
            progress.piece(self.report(item, start.elapsed().as_secs_f64()), item.index, bytes);
        }
        Ok(())
    }

    /// Decodes a piece, and sends its kept frames as they are finished.
    fn decode(
        &self,
        item: Item,
        mut send: impl FnMut(Vec<f32>) -> Result<(), RankStop>,
    ) -> Result<(), RankStop> {
        let RankDevice { backend, program, weights, .. } = self.device;
        let piece = self.plan.piece(item.piece).expect("a schedule names pieces of its own plan");
        let flow = self.flows.of(piece.input.frames);
        let upload = |frames: Range<u32>| {
            let (first, len) = (piece.input.first + frames.start, frames.end - frames.start);
            let window = self.latents.crop(item.image as usize, piece.input.over(first, len))?;
            backend.upload(&window)
        };
        let check = |_| self.group.check();
        if let [step] = flow.steps() {
            let input = upload(step.latents.clone())?;
            let output = backend.repeat(weights, input, &mut |input| {
                execute(backend, program, weights, input, check)
            })?;
            return send(self.finished(&output, piece.keep)?);
        }
        let frames = piece.input.frames;
        let mut execution = Execution::new(backend, program, weights, frames)
            .at_most(frames_at_once(frames, self.chunk));
        let keep = piece.keep.first..piece.keep.first + piece.keep.frames;
        for step in flow.steps() {
            let output = execution.push(upload(step.latents.clone())?, check)?;
            let kept = step.kept(&keep);
            if let (Some(output), false) = (output, kept.is_empty()) {
                let first = kept.start - step.finished.start;
                let kept = piece.keep.over(first, kept.end - kept.start);
                send(self.finished(&output, kept)?)?;
            }
        }
        Ok(())
    }

    /// A part of what was decoded.
    fn finished(&self, output: &B::Tensor, kept: Region) -> Result<Vec<f32>, RankStop> {
        let data = self.device.backend.download(output, kept)?.into_data();
        match data.iter().all(|value| value.is_finite()) {
            true => Ok(data),
            false => Err(RankStop::Failed { piece: None, op: None, cause: Cause::NotFinite }),
        }
    }

    fn run_shards(
        &self,
        cut: &Cut,
        piece: &Cell<Option<u64>>,
        progress: &dyn Progress,
    ) -> Result<(), RankStop> {
        let RankDevice { backend, program, weights, .. } = self.device;
        let rank = self.group.rank();
        let shards = cut.shards_of(rank);
        if shards.is_empty() {
            return Ok(());
        }
        let (group, limit) = (self.group, self.park.cloned());
        let links = self.connect(cut, progress)?;
        let chunk = self.chunk;
        let job = ShardJob { backend, program, weights, group, links, cut, chunk, limit };
        let turns = job.turns();
        for image in 0..self.schedule.images() {
            let before = u64::from(image) * turns;
            let of = u64::from(self.schedule.images()) * turns;
            // Shards take their turns one after the other, segment by segment.
            let item_of = |turn: u64| {
                let shard = u64::from(shards.start) + turn % shards.len() as u64;
                self.schedule.item(image, shard).index
            };
            piece.set(Some(item_of(0)));
            let turn = |done| {
                piece.set(Some(item_of(done)));
                progress.turns(rank, before + done, of);
            };
            let finished = |Finished { shard, seconds, frames, data }: Finished| {
                let item = self.schedule.item(image, shard.into());
                let piece = self.plan.piece(item.piece).expect("a shard is a piece of the plan");
                if frames.end == u64::from(piece.keep.frames) {
                    let channels = program.out_channels() as usize;
                    let bytes = Shape::sample(piece.keep.size(), channels).bytes();
                    progress.piece(self.report(item, seconds), item.index, bytes);
                }
                group.send(0, Tag::piece(item.index), data)
            };
            job.run(self.latents, image as usize, turn, finished).map_err(|stop| match stop {
                ShardStop::Failed { shard, op, cause } => {
                    let item = shard.map(|shard| self.schedule.item(image, shard.into()).index);
                    RankStop::Failed { piece: item, op, cause }
                }
                ShardStop::Stopped => RankStop::Stopped,
            })?;
        }
        Ok(())
    }

    /// The links to the other ranks' devices, if they can be reached.
    fn connect(
        &self,
        cut: &Cut,
        progress: &dyn Progress,
    ) -> Result<Option<&dyn Links<B::Tensor>>, RankStop> {
        if cut.ranks() == 1 {
            return Ok(None);
        }
        let group = FirstRanks::new(self.group, cut.ranks());
        // Ranks on other machines may have got another backend.
        let links = self.device.links.as_deref();
        let linked = group.all_gather_object(LINKS, links.is_some());
        let linked = linked.map_err(|_| RankStop::Stopped)?;
        let Some(links) = links else { return Ok(None) };
        if !linked.iter().all(|&is_linked| is_linked) {
            progress.way(Way::Host("not every rank has links".into()));
            return Ok(None);
        }
        let way = links.connect(&group);
        let way = way.map_err(ShardStop::from).map_err(|stop| match stop {
            ShardStop::Failed { op, cause, .. } => RankStop::Failed { piece: None, op, cause },
            ShardStop::Stopped => RankStop::Stopped,
        })?;
        let reached = matches!(way, Way::Devices(_));
        progress.way(way);
        Ok(reached.then_some(links))
    }

    /// What would decode in the memory that there was when it did not suffice for another
    /// `requested` bytes; this rank's values are gone by now.
    fn room(&self, requested: u64) -> Room {
        let RankDevice { backend, program, .. } = self.device;
        let latents = self.plan.input();
        let windows = self.schedule.windows_of(self.group.rank()).into_iter();
        let largest = windows.max_by_key(|window| window.height.max(window.width));
        let window = if self.cut.is_some() { Some(latents) } else { largest };
        let device = backend.device();
        let sharing: Vec<_> =
            self.beside.iter().filter(|rank| rank.backend.device() == device).collect();
        let together = self.beside.len() as u32;
        let tried = Tried {
            latents,
            window: window.unwrap_or(latents),
            ranks: self.group.size(),
            together,
            sharing: sharing.len() as u32,
            on_host: self.free.is_some(),
            chunk: self.chunk,
        };
        let Memory { current, peak } = backend.memory();
        let (held, ranks) = (peak.saturating_sub(current), sharing.len() as u64);
        // What the others hold now is theirs also when all of them do something else. They do not
        // wait for this rank, so what they hold before and behind the question counts.
        let others = || {
            let others = sharing.iter().filter(|rank| !std::ptr::eq(rank.backend, backend));
            others.map(|rank| rank.held()).sum::<u64>()
        };
        let before = others();
        let free = self.free.and_then(|free| free());
        if free.is_some_and(|free| free < ROOM_TO_THINK) {
            // What fits is found by trials, which take memory themselves.
            return Room { held: 0, tile: None, sharded: None };
        }
        let bytes = match free {
            // Each of them no more than was too much for this one.
            Some(free) => free
                .saturating_add(before.min(others()))
                .min(held.saturating_add(requested).saturating_mul(ranks)),
            None => held.saturating_mul(ranks),
        };
        Room::new(program, backend, bytes, &tried)
    }

    fn report(&self, item: Item, seconds: f64) -> PieceReport {
        let piece = self.plan.piece(item.piece).expect("a schedule names pieces of its own plan");
        let rank = self.group.rank();
        PieceReport { image: item.image, piece: item.piece, rank, window: piece.input, seconds }
    }
}

enum RankStop {
    /// This rank failed, on a piece or outside, in an op or outside.
    Failed { piece: Option<u64>, op: Option<String>, cause: Cause },
    /// The group ended, and knows why.
    Stopped,
}

impl RankStop {
    /// The same on a certain piece.
    fn on(self, piece: Option<u64>) -> Self {
        match self {
            Self::Failed { op, cause, .. } => Self::Failed { piece, op, cause },
            Self::Stopped => Self::Stopped,
        }
    }
}

impl<E> From<Stop<E>> for RankStop {
    fn from(stop: Stop<E>) -> Self {
        match stop {
            Stop::Op { name, error } => {
                Self::Failed { piece: None, op: Some(name), cause: Cause::Backend(error) }
            }
            Stop::Asked(_) => Self::Stopped,
        }
    }
}

impl From<BackendError> for RankStop {
    fn from(error: BackendError) -> Self {
        Self::Failed { piece: None, op: None, cause: Cause::Backend(error) }
    }
}
