//! How a window of latents goes through a program: in which chunks of frames, and which frames of
//! the output come with each. All ranks compute the same.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::program::{Program, Timeline, chunks};

/// A chunk of latents, and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStep {
    /// Frames of the latents that go in.
    pub latents: Range<u32>,
    /// Frames of the output that are finished with them; perhaps none.
    pub finished: Range<u32>,
}

/// The chunks of a window of latents, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    steps: Vec<FlowStep>,
}

impl Flow {
    /// `frames` frames of latents, at most `chunk` of them at a time (and at least one).
    pub fn new(program: &Program, frames: u32, chunk: u32) -> Self {
        let mut timeline = Timeline::new(program, frames);
        let (input, output) = (program.input(), program.output());
        let mut steps = Vec::new();
        // Frames beyond u32 are in no plan.
        let end_of = |timeline: &Timeline| u32::try_from(timeline.end(output)).unwrap_or(u32::MAX);
        for latents in chunks(frames, chunk) {
            let before = end_of(&timeline);
            timeline.advance(input, latents.end.into());
            for op in program.ops() {
                timeline.step(program, op);
            }
            let finished = before..end_of(&timeline);
            steps.push(FlowStep { latents, finished });
        }
        Self { steps }
    }

    /// The chunks in their order.
    pub fn steps(&self) -> &[FlowStep] {
        &self.steps
    }

    /// The most frames of the output that come with one chunk.
    pub fn most_finished(&self) -> u32 {
        let finished = self.steps.iter().map(|step| step.finished.end - step.finished.start);
        finished.max().unwrap_or(0)
    }

    /// Of the frames `keep` of the output, those that come with each chunk, none left out and none
    /// empty.
    pub fn parts(&self, keep: Range<u32>) -> impl Iterator<Item = Range<u32>> + '_ {
        self.steps.iter().map(move |step| step.kept(&keep)).filter(|part| !part.is_empty())
    }
}

impl FlowStep {
    /// Of the frames `keep` of the output, those that come with this chunk.
    pub fn kept(&self, keep: &Range<u32>) -> Range<u32> {
        let start = self.finished.start.max(keep.start);
        start..self.finished.end.min(keep.end).max(start)
    }
}

/// The flows of a plan's pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flows {
    /// By the frames of the window.
    flows: BTreeMap<u32, Flow>,
}

impl Flows {
    /// The flows of windows of these numbers of frames.
    pub(crate) fn new(program: &Program, frames: impl Iterator<Item = u32>, chunk: u32) -> Self {
        let mut flows = BTreeMap::new();
        for frames in frames {
            flows.entry(frames).or_insert_with(|| Flow::new(program, frames, chunk));
        }
        Self { flows }
    }

    /// The most frames of the output that come with one chunk.
    pub(crate) fn most_finished(&self) -> u32 {
        self.flows.values().map(Flow::most_finished).max().unwrap_or(0)
    }

    /// The flow of a window of so many frames, which must be among those that it was made for.
    pub(crate) fn of(&self, frames: u32) -> &Flow {
        &self.flows[&frames]
    }
}
