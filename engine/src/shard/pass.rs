//! The pass that finds out where a program must exchange when it is cut.
//!
//! It looks at the geometry of ops alone: a conv reads a halo, statistics are merged before they
//! are applied, an attention meets every shard's keys and values. Between two exchanges lies a
//! segment: ops that a shard runs one after the other without hearing of the others.

use std::ops::Range;

use halovae_core::{Axes, LayerHalo, Margins, PlanError, Region, ShardGrid, Size, Window};

use crate::program::{Op, Program, Reads, Timeline, ValueId};

/// A halo that an op fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaloExchange {
    /// The op's place in the program.
    pub op: usize,
    /// What it reads.
    pub value: ValueId,
    /// Frames, rows and columns of that value's cells beyond a part.
    pub reach: Margins,
}

impl HaloExchange {
    /// The same for the planner: f32 values.
    pub(super) fn layer(&self, program: &Program) -> LayerHalo {
        let (channels, scale) = program.features(self.value);
        LayerHalo { scale, reach: self.reach, bytes_per_cell: 4 * u64::from(channels) }
    }
}

/// Ops between two exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its ops, by their places in the program.
    pub ops: Range<usize>,
    /// What is fetched from neighbours meanwhile: all of it is known before the segment begins.
    pub halos: Vec<HaloExchange>,
    /// Statistics of parts that are merged after it.
    pub statistics: Vec<ValueId>,
    /// Whether it is one attention, for which keys and values go round.
    pub is_attention: bool,
}

/// A decode that cannot be cut into shards.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UncutError {
    /// An op does not keep extents in proportion.
    #[error("`{op}` cannot be cut into shards: {source}; use another strategy")]
    Op {
        /// Its name.
        op: String,
        /// Why not.
        source: PlanError,
    },
    /// An op reads more frames beyond a slice than its neighbours have.
    #[error(
        "`{op}` reads frames that the slices beside do not have when the video is cut into {slices} \
         slices; use fewer slices, or none"
    )]
    Slices {
        /// The op's name.
        op: String,
        /// Slices of the grid.
        slices: u32,
    },
}

/// Frames before and behind a slice's own that its ops read.
pub(super) struct TimeReach {
    /// By op and operand.
    reaches: Vec<Vec<[u32; 2]>>,
}

impl TimeReach {
    /// Of a program whose values are cut into slices: of each the frames that each slice has. It is
    /// counted, slice by slice, so that it is exact also where the first frame stands alone.
    pub(super) fn new(program: &Program, timelines: &[Timeline]) -> Self {
        let of_operand = |op: &Op, (id, reads): (ValueId, Reads)| {
            let mut most = [0, 0];
            for timeline in timelines {
                let read = timeline.read((id, reads), &timeline.band(op.output()));
                let own = timeline.band(id);
                if !read.is_empty() {
                    let [past, future] =
                        [own.start.saturating_sub(read.start), read.end.saturating_sub(own.end)];
                    most = [most[0].max(past), most[1].max(future)];
                }
            }
            most.map(|frames| u32::try_from(frames).unwrap_or(u32::MAX))
        };
        let of_op = |op: &Op| op.reads().map(|operand| of_operand(op, operand)).collect();
        Self { reaches: program.ops().iter().map(of_op).collect() }
    }

    /// Of a program that is not cut along time.
    pub(super) fn none(program: &Program) -> Self {
        Self::new(program, &[])
    }

    pub(super) fn of(&self, op: usize, operand: usize) -> [u32; 2] {
        self.reaches[op][operand]
    }
}

/// Cuts a program into segments.
///
/// # Errors
/// [`UncutError`] for a conv that does not keep extents in proportion.
pub(super) fn segments(program: &Program, time: &TimeReach) -> Result<Vec<Segment>, UncutError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut start = 0;
    // Values of the segment that has not ended.
    let mut fresh: Vec<ValueId> = Vec::new();
    let mut halos = Vec::new();
    let mut statistics = Vec::new();
    for (index, op) in program.ops().iter().enumerate() {
        let halo = halo_exchange(program, index, op, time)?;
        let is_attention = matches!(op, Op::Attention { .. });
        let waits = halo.is_some_and(|halo| fresh.contains(&halo.value))
            || op.inputs().any(|read| statistics.contains(&read));
        let after_attention = index > 0 && matches!(program.ops()[index - 1], Op::Attention { .. });
        if index > start && (waits || is_attention || after_attention) {
            segments.push(Segment {
                ops: start..index,
                halos: std::mem::take(&mut halos),
                statistics: std::mem::take(&mut statistics),
                is_attention: after_attention,
            });
            fresh.clear();
            start = index;
        }
        halos.extend(halo);
        match *op {
            Op::NormStats { output, .. } => statistics.push(output),
            _ => fresh.push(op.output()),
        }
    }
    let is_attention = matches!(program.ops().last(), Some(Op::Attention { .. }));
    segments.push(Segment { ops: start..program.ops().len(), halos, statistics, is_attention });
    Ok(segments)
}

/// The layers that neighbours exchange, for the planner: f32 values.
///
/// # Errors
/// [`UncutError`] for a conv that does not keep extents in proportion.
pub fn exchanged_layers(program: &Program) -> Result<Vec<LayerHalo>, UncutError> {
    let time = in_single_frames(program);
    let mut layers = Vec::new();
    for (index, op) in program.ops().iter().enumerate() {
        if let Some(halo) = halo_exchange(program, index, op, &time)? {
            layers.push(halo.layer(program));
        }
    }
    Ok(layers)
}

/// What slices of a frame of latents each read beyond their own: no slices read farther.
fn in_single_frames(program: &Program) -> TimeReach {
    // As many as show what convs of any model look back and ahead.
    const FRAMES: u32 = 16;
    let cells = Size::video(FRAMES, 1, 1);
    // Without a grid there are no slices: the program has no output of that size.
    let Ok(grid) = ShardGrid::of(cells, Axes::new(FRAMES, 1, 1), program.out_scale()) else {
        return TimeReach::none(program);
    };
    let timeline = |slice: u32| {
        Timeline::of_slice(program, FRAMES, |id| {
            let (_, scale) = program.features(id);
            let Region { first, frames, .. } = grid.part(slice, scale);
            first.into()..u64::from(first) + u64::from(frames)
        })
    };
    TimeReach::new(program, &(0..FRAMES).map(timeline).collect::<Vec<_>>())
}

fn halo_exchange(
    program: &Program,
    index: usize,
    op: &Op,
    time: &TimeReach,
) -> Result<Option<HaloExchange>, UncutError> {
    for (operand, (value, reads)) in op.reads().enumerate() {
        let Reads::Cells(windows) = reads else { continue };
        let in_frame = |window: Window| {
            let reach = window.reach();
            reach.map_err(|source| UncutError::Op { op: program.op_name(op).to_owned(), source })
        };
        let (height, width) = (in_frame(windows.height)?, in_frame(windows.width)?);
        let reach = Margins::from_axes(Axes::new(time.of(index, operand), height, width));
        if !reach.is_none() {
            return Ok(Some(HaloExchange { op: index, value, reach }));
        }
    }
    Ok(None)
}
