//! What happens in a sharded decode each time that a chunk of latents has come, in one round or
//! several: all ranks compute the same.

use std::ops::Range;

use super::cut::Cut;
use crate::program::{Program, Step, Timeline, ValueId, chunks, frames_at_once};

/// One turn of each op.
pub(super) struct Round {
    /// The frames of the latents that come before it, if any do: of each slice those that it has, where
    /// there are several.
    latents: Option<Range<u32>>,
    /// By slice and op.
    steps: Vec<Vec<Option<Step>>>,
    /// By op.
    halos: Vec<HaloFrames>,
    /// If there are several slices, which have all of their frames.
    is_of_slices: bool,
}

/// The frames of a halo that go from shard to shard in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HaloFrames {
    /// Those that come now.
    pub(super) fresh: Range<u64>,
    /// Before this one none is read in later rounds.
    pub(super) needed: u64,
}

impl Round {
    /// What an op does on the shards of a slice; `None` if there is nothing that it can compute.
    pub(super) fn step(&self, slice: u32, op: usize) -> Option<&Step> {
        self.steps[slice as usize][op].as_ref()
    }

    /// Whether an op computes anything on any slice.
    pub(super) fn has(&self, op: usize) -> bool {
        self.steps.iter().any(|steps| steps[op].is_some())
    }

    /// The frames of the halo of an op.
    pub(super) fn halo(&self, op: usize) -> &HaloFrames {
        &self.halos[op]
    }

    /// Of the latents that a slice has, those that come before this round; `None` if none do.
    pub(super) fn latents(&self, band: Range<u64>) -> Option<Range<u64>> {
        let latents = self.latents.as_ref()?;
        Some(match self.is_of_slices {
            true => band,
            false => latents.start.into()..latents.end.into(),
        })
    }

    /// Whether latents come before it.
    pub(super) fn is_of_new_latents(&self) -> bool {
        self.latents.is_some()
    }
}

/// The rounds of one sample, one after the other.
pub(super) struct Rounds<'a> {
    program: &'a Program,
    /// By slice.
    timelines: Vec<Timeline>,
    /// By op, up to where its halo has come.
    fetched: Vec<u64>,
    chunks: Box<dyn Iterator<Item = Range<u32>>>,
    /// Whether ops may have more to do with the latents that have come.
    is_busy: bool,
}

impl<'a> Rounds<'a> {
    /// At most `chunk` frames of latents at a time. Slices of a video wait for each other at every
    /// halo, so each of them has all of its frames at once.
    pub(super) fn new(program: &'a Program, cut: &Cut, chunk: u32) -> Self {
        let slices = cut.grid().slices();
        let frames = cut.grid().latents().frames;
        let longest = if slices == 1 { chunk } else { frames };
        let timeline =
            |slice| cut.timeline(program, slice).at_most(frames_at_once(frames, longest));
        Self {
            program,
            timelines: (0..slices).map(timeline).collect(),
            fetched: vec![0; program.ops().len()],
            chunks: Box::new(chunks(frames, longest)),
            is_busy: false,
        }
    }
}

impl Iterator for Rounds<'_> {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        if self.is_busy {
            let round = self.round(None);
            self.is_busy = (0..self.program.ops().len()).any(|op| round.has(op));
            if self.is_busy {
                return Some(round);
            }
        }
        let latents = self.chunks.next()?;
        self.is_busy = true;
        Some(self.round(Some(latents)))
    }
}

impl Rounds<'_> {
    fn round(&mut self, latents: Option<Range<u32>>) -> Round {
        let program = self.program;
        let is_of_slices = self.timelines.len() > 1;
        let mut halos = Vec::new();
        let mut steps = vec![Vec::new(); self.timelines.len()];
        for (timeline, latents) in self.timelines.iter_mut().zip(latents.iter().cycle()) {
            let band = timeline.band(program.input());
            let end = if is_of_slices { band.end } else { latents.end.into() };
            timeline.advance(program.input(), end);
        }
        for (op, fetched) in program.ops().iter().zip(&mut self.fetched) {
            for (timeline, steps) in self.timelines.iter_mut().zip(&mut steps) {
                steps.push(timeline.step(program, op));
            }
            let step: &Option<Step> = steps[0].last().expect("pushed just now");
            let read = step.as_ref().and_then(|step| step.reads.first());
            halos.push(match (read, is_of_slices) {
                // What shards of slices read of each other they do in one round.
                (_, true) => HaloFrames { fresh: 0..u64::MAX, needed: u64::MAX },
                (None, false) => HaloFrames { fresh: 0..0, needed: 0 },
                (Some(read), false) => {
                    let end = read.frames.end.max(*fetched);
                    let fresh = read.frames.start.max(*fetched).min(end)..end;
                    *fetched = end;
                    HaloFrames { fresh, needed: self.timelines[0].needed_by(op, read.id) }
                }
            });
        }
        Round { latents, steps, halos, is_of_slices }
    }
}

/// Of every value, the most frames that a shard computes of it in one round.
pub(super) fn most_frames(program: &Program, cut: &Cut, chunk: u32) -> Vec<u64> {
    let mut most = vec![0; program.values().len()];
    let input = program.input();
    let bands = (0..cut.grid().slices()).map(|slice| cut.band(program, input, slice));
    let bands: Vec<Range<u64>> = bands.collect();
    let mut grow = |id: ValueId, frames: &Range<u64>| {
        most[id.index()] = most[id.index()].max(frames.end - frames.start);
    };
    for round in Rounds::new(program, cut, chunk) {
        for band in &bands {
            let latents = round.latents(band.clone());
            latents.iter().for_each(|latents| grow(input, latents));
        }
        let steps = round.steps.iter().flat_map(|steps| steps.iter().zip(program.ops()));
        steps.for_each(|(step, op)| {
            if let Some(step) = step {
                grow(op.output(), &step.outputs);
            }
        });
    }
    most
}
