//! The pass that finds out where a program must exchange when it is cut.
//!
//! It looks at the geometry of ops alone: a conv reads a halo, statistics are merged before they
//! are applied, an attention meets every shard's keys and values. Between two exchanges lies a
//! segment: ops that a shard runs one after the other without hearing of the others.

use std::ops::Range;

use halovae_core::{Axes, LayerHalo, Margins, PlanError, Window};

use crate::program::{Op, Program, Reads, ValueId};

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

/// Cuts a program into segments, along time too if the grid has several slices.
///
/// # Errors
/// [`UncutError`] for a conv that does not keep extents in proportion.
pub(super) fn segments(program: &Program, in_time: bool) -> Result<Vec<Segment>, UncutError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut start = 0;
    // Values of the segment that has not ended.
    let mut fresh: Vec<ValueId> = Vec::new();
    let mut halos = Vec::new();
    let mut statistics = Vec::new();
    for (index, op) in program.ops().iter().enumerate() {
        let halo = halo_exchange(program, index, op, in_time)?;
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
    let mut layers = Vec::new();
    for (index, op) in program.ops().iter().enumerate() {
        // An op that does not keep frames in proportion reaches from any slice into all others.
        let all = u32::MAX;
        let halo = halo_exchange(program, index, op, true).or_else(|_| {
            let halo = halo_exchange(program, index, op, false)?;
            let value = op.inputs().next().expect("every op reads a value");
            let reach = halo.map_or(Margins::NONE, |halo| halo.reach);
            let reach = Margins { past: all, future: all, ..reach };
            Ok(Some(HaloExchange { op: index, value, reach }))
        })?;
        if let Some(halo) = halo {
            let (channels, scale) = program.features(halo.value);
            let bytes_per_cell = 4 * u64::from(channels);
            layers.push(LayerHalo { scale, reach: halo.reach, bytes_per_cell });
        }
    }
    Ok(layers)
}

fn halo_exchange(
    program: &Program,
    index: usize,
    op: &Op,
    in_time: bool,
) -> Result<Option<HaloExchange>, UncutError> {
    for (value, reads) in op.reads() {
        let Reads::Cells(windows) = reads else { continue };
        let reach = reach(&windows, in_time)
            .map_err(|source| UncutError::Op { op: program.op_name(op).to_owned(), source })?;
        if !reach.is_none() {
            return Ok(Some(HaloExchange { op: index, value, reach }));
        }
    }
    Ok(None)
}

/// What is read beyond a part. One that has all frames reads none beyond them.
fn reach(windows: &Axes<Window>, in_time: bool) -> Result<Margins, PlanError> {
    let time = if in_time { windows.time.reach()? } else { [0, 0] };
    Ok(Margins::from_axes(Axes::new(time, windows.height.reach()?, windows.width.reach()?)))
}
