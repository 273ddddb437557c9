//! Which frames of every value exist, which can be computed, and which are read no more.
//!
//! Frames of the latents come chunk by chunk. An op computes every frame that its operands allow,
//! and an operand keeps the frames that some reader has still to read. That holds for any program:
//! all of it follows from how ops read.

use std::ops::Range;

use halovae_core::{Chunks, Window};

use super::{Edge, Op, Program, Reads, ValueId, ValueKind};

/// Where a decode stands in time.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Of every value, how many frames the whole video has.
    totals: Vec<u64>,
    /// Of every value, the frames that are computed here: all of them, or those of a slice.
    bands: Vec<Range<u64>>,
    /// Of every value, the end of the frames that are there or have been.
    ends: Vec<u64>,
    /// Of every value, the places of the ops that read it.
    readers: Vec<Vec<usize>>,
    /// The most frames that an op computes in one step.
    longest: u64,
}

/// What an op does when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The frames of its output that it computes; at least one.
    pub outputs: Range<u64>,
    /// What it reads, operand by operand.
    pub reads: Vec<StepRead>,
}

/// How an op reads an operand in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRead {
    /// What is read.
    pub id: ValueId,
    /// Its frames; perhaps none.
    pub frames: Range<u64>,
    /// How many it has in the whole video.
    pub total: u64,
    /// Whether they are read tap by tap, and need not lie in one tensor.
    pub by_tap: bool,
    /// Whether the op is given these frames for good: nothing reads the value after this step.
    pub given: bool,
    /// The first frame that is read after this step; those before it are dropped. The frames of the
    /// program's output leave as they are finished, and stay till then.
    pub needed: u64,
}

impl Timeline {
    /// Before the first of `frames` frames of latents has come.
    pub fn new(program: &Program, frames: u32) -> Self {
        let mut totals = vec![0; program.values.len()];
        let mut readers = vec![Vec::new(); program.values.len()];
        totals[program.input.index()] = frames.into();
        for (index, op) in program.ops.iter().enumerate() {
            totals[op.output().index()] = frames_of(op, &totals);
            for id in op.inputs() {
                readers[id.index()].push(index);
            }
        }
        let bands = totals.iter().map(|&total| 0..total).collect();
        Self { ends: vec![0; totals.len()], totals, bands, readers, longest: u64::MAX }
    }

    /// The same, where ops compute at most so many frames in one step.
    #[must_use]
    pub fn at_most(mut self, frames: u64) -> Self {
        self.longest = frames.max(1);
        self
    }

    /// The same for a slice of the video, which has these frames of every feature map. What its ops
    /// read beyond them, others hold.
    pub fn of_slice(program: &Program, frames: u32, band: impl Fn(ValueId) -> Range<u64>) -> Self {
        let mut timeline = Self::new(program, frames);
        for (index, value) in program.values.iter().enumerate() {
            if let ValueKind::Features { .. } = value.kind {
                let band = band(ValueId(index as u32));
                timeline.ends[index] = band.start;
                timeline.bands[index] = band;
            }
        }
        timeline
    }

    /// How many frames a value has in the whole video.
    pub fn total(&self, id: ValueId) -> u64 {
        self.totals[id.index()]
    }

    /// The frames of a value that are computed here.
    pub(crate) fn band(&self, id: ValueId) -> Range<u64> {
        self.bands[id.index()].clone()
    }

    /// The end of the frames of a value that are there or have been.
    pub fn end(&self, id: ValueId) -> u64 {
        self.ends[id.index()]
    }

    /// More frames of the latents have come, or an op has computed what it could.
    pub fn advance(&mut self, id: ValueId, end: u64) {
        self.ends[id.index()] = end;
    }

    /// What an op, whose turn it is, does; it is taken as done. `None` if there is nothing that it can
    /// compute now. Ops have turns in their order, again and again until none has anything to do.
    pub fn step(&mut self, program: &Program, op: &Op) -> Option<Step> {
        let ready = self.ready(op);
        let end = ready.start.saturating_add(self.longest);
        let outputs = ready.start..op.step_end(ready.start, end).min(ready.end);
        if outputs.is_empty() {
            return None;
        }
        self.advance(op.output(), outputs.end);
        let read = |(slot, (id, reads)): (usize, (ValueId, Reads))| {
            let by_tap = slot == 0 && op.by_tap().is_some();
            let leaves = id == program.output;
            let needed = self.needed(program, id);
            StepRead {
                id,
                frames: self.read((id, reads), &outputs),
                total: self.total(id),
                by_tap,
                given: !by_tap && !leaves && op.count_reads(id) == 1 && needed == self.end(id),
                needed: if leaves { 0 } else { needed },
            }
        };
        let reads = op.reads().enumerate().map(read).collect();
        Some(Step { outputs, reads })
    }

    /// The frames that an op can compute now; statistics count as one. Empty if there are none.
    pub fn ready(&self, op: &Op) -> Range<u64> {
        let (start, stop) = (self.end(op.output()), self.bands[op.output().index()].end);
        let most = |(id, reads): (ValueId, Reads)| {
            let (end, all) = (self.end(id), self.end(id) == self.bands[id.index()].end);
            match reads {
                _ if all => stop,
                Reads::FirstFrame if end > 0 => stop,
                Reads::All | Reads::FirstFrame | Reads::Statistics => 0,
                Reads::Cells(_) | Reads::Frame => {
                    let window = reads.time().unwrap_or(Window::POINT);
                    // As far as no padding behind the end is read: there are more frames to come.
                    Window { behind: 0, ..window }.outputs(end)
                }
            }
        };
        let end = op.reads().map(most).min().unwrap_or(0).min(stop);
        start..end.max(start)
    }

    /// The frames of an operand that frames `outputs` of an op read. Beyond both ends of the operand
    /// lies padding, which is left out.
    pub fn read(&self, (id, reads): (ValueId, Reads), outputs: &Range<u64>) -> Range<u64> {
        let total = self.total(id);
        match reads {
            _ if outputs.is_empty() => 0..0,
            Reads::All | Reads::Statistics => self.bands[id.index()].clone(),
            Reads::FirstFrame => 0..u64::from(outputs.start == 0).min(total),
            Reads::Cells(_) | Reads::Frame => {
                let window = reads.time().unwrap_or(Window::POINT);
                let cells = window.cells(outputs);
                let inside = |cell: i64| cell.clamp(0, total as i64) as u64;
                inside(cells.start.max(window.skip.into()))..inside(cells.end)
            }
        }
    }

    /// The first frame of a value that some op has still to read, or the end of what is there if all
    /// of it has been read.
    pub fn needed(&self, program: &Program, id: ValueId) -> u64 {
        let readers = self.readers[id.index()].iter();
        let needed = readers.map(|&reader| self.needed_by(&program.ops[reader], id)).min();
        needed.unwrap_or(self.end(id))
    }

    /// The same for one of the ops that read it.
    pub(crate) fn needed_by(&self, op: &Op, id: ValueId) -> u64 {
        let end = self.end(id);
        let (done, stop) = (self.end(op.output()), self.bands[op.output().index()].end);
        if done >= stop {
            return end;
        }
        let reads = op.reads().filter(|&(read, _)| read == id);
        let first = |operand| {
            let window = self.read(operand, &(done..done + 1));
            // An output that reads padding alone says nothing of those behind it.
            if window.is_empty() { self.read(operand, &(done..stop)) } else { window }
        };
        let windows = reads.map(first).filter(|window| !window.is_empty());
        windows.map(|window| window.start).min().unwrap_or(end).min(end)
    }

    /// Whether any op reads a value.
    pub fn is_read(&self, id: ValueId) -> bool {
        !self.readers[id.index()].is_empty()
    }
}

/// The chunks of `frames` frames of latents, at most `longest` of them at a time (and at least one).
pub(crate) fn chunks(frames: u32, longest: u32) -> impl Iterator<Item = Range<u32>> {
    // Without frames there are no chunks.
    Chunks::new(frames, longest.max(1)).into_iter().flat_map(Chunks::iter)
}

/// The most frames of any value that are computed together where `frames` frames of latents come
/// `chunk` at a time: twice as many, since the last levels of a decoder have most of the pixels, and
/// several frames of them for each of the latents. All of them where all latents come together.
pub fn frames_at_once(frames: u32, chunk: u32) -> u64 {
    if chunk >= frames { u64::MAX } else { 2 * u64::from(chunk.max(1)) }
}

/// How many frames an op's output has, from those of its operands.
fn frames_of(op: &Op, totals: &[u64]) -> u64 {
    let (id, reads) = op.reads().next().expect("every op reads a value");
    match reads.time() {
        Some(window) => window.outputs(totals[id.index()]),
        // Statistics.
        None => 1,
    }
}

/// For each frame of `outputs`, which frames its taps read of `read`, counted from its start; `None`
/// where zeros stand. In time an edge is of zeros or of repeats.
pub fn taps(
    window: &Window,
    edge: Edge,
    total: u64,
    read: &Range<u64>,
    outputs: &Range<u64>,
) -> Vec<Option<usize>> {
    let (low, high) = (i64::from(window.skip), total as i64 - 1);
    let tap = |unrolled: i64| {
        let cell = window.cell(unrolled);
        let is_inside = unrolled >= 0 && (low..=high).contains(&cell);
        let cell = match (is_inside, edge == Edge::Repeat) {
            (true, _) => cell,
            (false, true) => cell.clamp(low, high),
            (false, false) => return None,
        };
        usize::try_from(cell - read.start as i64).ok()
    };
    outputs
        .clone()
        .flat_map(|output| {
            let first = window.first(output as i64);
            (first..first + i64::from(window.kernel)).map(tap)
        })
        .collect()
}
