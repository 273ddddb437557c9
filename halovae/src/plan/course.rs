//! A decode in time: which rank is at which piece when, and when frames are finished.

use std::collections::BTreeMap;
use std::ops::Range;

use halovae_core::{Piece, Plan, TimeScale};

use super::estimates::Estimates;
use super::planned::Planned;
use super::time::{Chunk, Streaming, slice_count, slices};

/// A decode in time, as it is planned: ranks are all as fast, and what they exchange takes no time.
///
/// Times are parts of the work of the whole decode: at 1 a rank alone, which decodes all at once, would
/// be done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Course {
    /// What ranks do, by piece; of shards, which go through the decoder together, by rank.
    pub turns: Vec<Turn>,
    /// Frames in their order, and when they are finished; none if no decoder is known.
    pub finished: Vec<Finished>,
    /// When the last rank is done.
    pub end: f64,
}

/// What a rank does without a pause.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Turn {
    /// The rank.
    pub rank: u32,
    /// What it decodes: one piece, or shards that share their time.
    pub pieces: Range<u64>,
    /// Frames of the latents that are decoded.
    pub latents: Range<u32>,
    /// Frames that come of them.
    pub frames: Range<u32>,
    /// When it begins.
    pub start: f64,
    /// When it ends; with shards, which wait for each other, when all do.
    pub end: f64,
    /// When its chunks of latents are through, the last at `end`; with no decoder known none are.
    pub chunks: Vec<f64>,
}

/// Frames that are finished together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finished {
    /// The frames.
    pub frames: Range<u32>,
    /// When.
    pub at: f64,
}

impl Course {
    /// The course of a plan.
    pub fn new(planned: &Planned, estimates: &Estimates) -> Self {
        let clock = Clock { planned, estimates };
        match &planned.plan {
            Plan::Sharded(_) => clock.of_shards(),
            Plan::Whole(_) | Plan::Tiled(_) | Plan::Patch(_) => clock.of_pieces(),
        }
    }

    /// When the first frame is finished, as a part of the decode's time; `None` if no decoder is known.
    pub fn first_frame(&self) -> Option<f64> {
        self.finished.first().map(|first| first.at / self.end)
    }
}

struct Clock<'a> {
    planned: &'a Planned,
    estimates: &'a Estimates,
}

impl Clock<'_> {
    fn work(&self, piece: &Piece) -> f64 {
        let Estimates { work, whole_work, .. } = self.estimates;
        self.planned.plan.piece_flops(piece, work) / whole_work
    }

    fn owner(&self, piece: u64) -> u32 {
        let index = usize::try_from(piece).ok();
        index.and_then(|index| self.estimates.owners.get(index)).copied().unwrap_or(0)
    }

    /// How a window of so many frames goes through the decoder, each chunk with the part of the work
    /// that is done with it. Most of that is done in the last levels, which have the frames of the
    /// output.
    fn chunks(&self, frames: u32) -> Vec<(&Chunk, f64)> {
        let time = self.planned.scale.time;
        let part = move |chunk| (chunk, part_done(time, chunk, frames));
        self.estimates
            .streams
            .get(&frames)
            .map_or_else(Vec::new, |streaming| streaming.chunks.iter().map(part).collect())
    }

    /// Each rank goes through its pieces one after the other. What comes of them is stitched in the
    /// order of the pieces, and with those of later slices where they lie over each other.
    fn of_pieces(&self) -> Course {
        let plan = &self.planned.plan;
        let mut free = vec![0.0; self.planned.ranks as usize];
        let mut course = Course { turns: Vec::new(), finished: Vec::new(), end: 0.0 };
        let slices = slices(plan);
        for (index, slice) in slices.iter().enumerate() {
            let next = slices.get(index + 1).map_or(u32::MAX, |next| next.frames.start);
            for piece in slice.pieces.clone().filter_map(|piece| plan.piece(piece)) {
                let rank = self.owner(piece.index);
                let Some(free) = free.get_mut(rank as usize) else { continue };
                let (start, work) = (*free, self.work(&piece));
                let chunks = self.chunks(piece.input.frames);
                if piece.index + 1 == slice.pieces.end {
                    for (chunk, done) in &chunks {
                        let frames = kept(&piece, chunk);
                        let frames = frames.start.min(next)..frames.end.min(next);
                        if !frames.is_empty() {
                            let at = course.end.max(start + work * done);
                            course.finished.push(Finished { frames, at });
                        }
                    }
                }
                *free = start + work;
                course.end = course.end.max(*free);
                course.turns.push(Turn {
                    rank,
                    pieces: piece.index..piece.index + 1,
                    latents: slice.latents.clone(),
                    frames: slice.frames.clone(),
                    start,
                    end: *free,
                    chunks: chunks.into_iter().map(|(_, done)| start + work * done).collect(),
                });
            }
        }
        course
    }

    /// All shards go through the decoder together, chunk by chunk, and where time is cut all at once.
    fn of_shards(&self) -> Course {
        let plan = &self.planned.plan;
        let mut turns: BTreeMap<u32, Turn> = BTreeMap::new();
        let mut works = vec![0.0; self.planned.ranks as usize];
        for piece in plan.pieces() {
            let rank = self.owner(piece.index);
            if let Some(work) = works.get_mut(rank as usize) {
                *work += self.work(&piece);
            }
            let latents = piece.input.first..piece.input.first + piece.input.frames;
            let frames = piece.output.first..piece.output.first + piece.output.frames;
            let turn = turns.entry(rank).or_insert_with(|| Turn {
                rank,
                pieces: piece.index..piece.index,
                latents: latents.clone(),
                frames: frames.clone(),
                start: 0.0,
                end: 0.0,
                chunks: Vec::new(),
            });
            // A rank's shards follow each other.
            turn.pieces.end = piece.index + 1;
            turn.latents.end = turn.latents.end.max(latents.end);
            turn.frames.end = turn.frames.end.max(frames.end);
        }
        let end = works.into_iter().fold(0.0, f64::max);
        let is_cut = slice_count(plan) > 1;
        let chunks = if is_cut { Vec::new() } else { self.chunks(plan.input().frames) };
        let done: Vec<f64> = chunks.iter().map(|(_, done)| done * end).collect();
        let finished = match (is_cut, &self.estimates.streaming) {
            (_, None) => Vec::new(),
            (true, Some(_)) => vec![Finished { frames: 0..plan.output().frames, at: end }],
            (false, Some(Streaming { chunks, .. })) => {
                let all = chunks.iter().map(|chunk| chunk.frames.clone()).zip(done.iter().copied());
                let all = all.filter(|(frames, _)| !frames.is_empty());
                all.map(|(frames, at)| Finished { frames, at }).collect()
            }
        };
        let turn = |turn: Turn| Turn { end, chunks: done.clone(), ..turn };
        Course { turns: turns.into_values().map(turn).collect(), finished, end }
    }
}

/// The part of the work of a window of `frames` that is done when a chunk of it is through.
fn part_done(time: TimeScale, chunk: &Chunk, frames: u32) -> f64 {
    let made = |latents: u32| time.at(latents).map_or(f64::from(latents), f64::from);
    if chunk.latents.end >= frames { 1.0 } else { made(chunk.latents.end) / made(frames).max(1.0) }
}

/// Of the frames that a piece makes, in those of the output, the ones that come with a chunk.
fn kept(piece: &Piece, chunk: &Chunk) -> Range<u32> {
    let Piece { keep, output, .. } = piece;
    let place = |frame: u32| frame.clamp(keep.first, keep.first + keep.frames) - keep.first;
    output.first + place(chunk.frames.start)..output.first + place(chunk.frames.end)
}
