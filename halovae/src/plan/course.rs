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

#[cfg(test)]
mod tests {
    use halovae_core::{Axes, Size, Strategy};

    use super::*;
    use crate::options::{CutOptions, OpenOptions, TileOptions};
    use crate::plan::Planner;

    const WAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/wan-vae-config");

    fn course(cut: &CutOptions, tiles: TileOptions) -> (Planned, Course) {
        let planner = Planner::open(WAN, &OpenOptions::default(), tiles).expect("a config");
        let ranks = cut.vae_patch_parallel_size.unwrap_or(1);
        let (planned, estimates) =
            planner.plan(Size::video(9, 40, 56), cut, ranks).expect("a plan");
        let course = Course::new(&planned, &estimates);
        (planned, course)
    }

    /// What holds of every course.
    fn check(planned: &Planned, course: &Course) {
        let mut next = 0;
        let mut before = 0.0;
        for Finished { frames, at } in &course.finished {
            assert_eq!(frames.start, next, "{course:?}");
            assert!(*at >= before && *at <= course.end * (1.0 + 1e-9), "{course:?}");
            (next, before) = (frames.end, *at);
        }
        assert_eq!(next, planned.plan.output().frames);
        assert!((before - course.end).abs() <= 1e-9 * course.end, "the last frame ends it");
        let pieces: u64 = course.turns.iter().map(|turn| turn.pieces.end - turn.pieces.start).sum();
        assert_eq!(pieces, planned.plan.piece_count());
        for rank in 0..planned.ranks {
            let of_rank: Vec<&Turn> =
                course.turns.iter().filter(|turn| turn.rank == rank).collect();
            assert!(of_rank.windows(2).all(|pair| pair[0].end <= pair[1].start), "{of_rank:?}");
        }
    }

    #[test]
    fn a_whole_decode_takes_one_and_streams() {
        let (planned, course) = course(&CutOptions::of(Strategy::Whole, 1), TileOptions::default());
        check(&planned, &course);
        assert!((course.end - 1.0).abs() < 1e-9);
        // One frame of 33, then four at a time.
        assert!((course.first_frame().expect("a decoder") - 1.0 / 33.0).abs() < 1e-9);
        assert_eq!(course.finished.len(), 9);
    }

    #[test]
    fn shards_stream_and_slices_of_them_do_not() {
        let sharded = CutOptions::of(Strategy::Sharded, 4);
        let (planned, course_of_four) = course(&sharded, TileOptions::default());
        check(&planned, &course_of_four);
        assert!((course_of_four.end - 0.25).abs() < 1e-9, "{}", course_of_four.end);
        assert!((course_of_four.first_frame().expect("a decoder") - 1.0 / 33.0).abs() < 1e-9);
        let slices = CutOptions { shard_grid: Some(Axes::new(2, 2, 1)), ..sharded };
        let (planned, course_of_slices) = course(&slices, TileOptions::default());
        check(&planned, &course_of_slices);
        assert_eq!(course_of_slices.first_frame(), Some(1.0));
    }

    /// The last tile is the only one whose frames are not waited for.
    #[test]
    fn tiles_wait_for_each_other() {
        for ranks in [1, 2, 3, 7] {
            let cut = CutOptions::of(Strategy::Tiled, ranks);
            let (planned, course) = course(&cut, TileOptions::default());
            check(&planned, &course);
            let last = planned.plan.piece_count() - 1;
            let others = course.turns.iter().filter(|turn| turn.pieces.start != last);
            let others = others.map(|turn| turn.end).fold(0.0, f64::max);
            let first = course.finished[0].at;
            assert!(first >= others, "{ranks} ranks: {first} is before {others}");
        }
        let patch = CutOptions::of(Strategy::Patch, 4);
        let (planned, course) = course(&patch, TileOptions::default());
        check(&planned, &course);
    }

    /// Of tiles in time, frames are finished slice by slice.
    #[test]
    fn slices_of_tiles_end_one_after_the_other() {
        let tiles = TileOptions {
            tile_sample_min_frames: Some(16),
            tile_sample_stride_frames: Some(12),
            ..TileOptions::default()
        };
        for ranks in [1, 3] {
            let (planned, course) = course(&CutOptions::of(Strategy::Tiled, ranks), tiles);
            assert!(slice_count(&planned.plan) > 1);
            check(&planned, &course);
            assert!(course.first_frame().expect("a decoder") < 0.7, "{course:?}");
        }
    }
}
