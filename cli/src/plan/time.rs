//! A plan along time: which frames its pieces have, and when frames are finished.

use std::ops::Range;

use halovae_core::{Plan, Strategy};
use halovae_engine::flow::Flow;

use crate::words::piece_name;

/// Pieces of the same frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Their indices.
    pub(crate) pieces: Range<u64>,
    /// Frames of the latents that they decode.
    pub(crate) latents: Range<u32>,
    /// Frames that they make.
    pub(crate) frames: Range<u32>,
    /// How many of these, from the first on, are blended with what slices before make of them.
    pub(crate) blended: u32,
}

/// How many slices there are.
pub(crate) fn slice_count(plan: &Plan) -> u32 {
    match plan {
        Plan::Whole(_) | Plan::Patch(_) => 1,
        Plan::Tiled(grid) => grid.slices(),
        Plan::Sharded(grid) => grid.slices(),
    }
}

/// The slices in their order.
pub(crate) fn slices(plan: &Plan) -> Vec<Slice> {
    let count = slice_count(plan);
    let of_slice = plan.piece_count() / u64::from(count);
    let slice = |index: u32| {
        let first = u64::from(index) * of_slice;
        // Those of a slice all have the same frames.
        let piece = plan.piece(first)?;
        let blended = match plan {
            Plan::Tiled(grid) => grid.time().ramp_extent(index),
            Plan::Whole(_) | Plan::Patch(_) | Plan::Sharded(_) => 0,
        };
        Some(Slice {
            pieces: first..first + of_slice,
            latents: piece.input.first..piece.input.first + piece.input.frames,
            frames: piece.output.first..piece.output.first + piece.output.frames,
            blended,
        })
    };
    (0..count).filter_map(slice).collect()
}

/// Whether frames are finished as latents go in: whatever goes through all frames of the video at once
/// with all of its pieces.
pub(crate) fn goes_by_chunks(plan: &Plan) -> bool {
    let is_sharded = plan.strategy() == Strategy::Sharded;
    slice_count(plan) == 1 && (is_sharded || plan.piece_count() == 1)
}

/// Whether some frames are finished before all latents are in.
pub(crate) fn is_streamed(plan: &Plan, flow: &Flow) -> bool {
    goes_by_chunks(plan) && chunks_waited_for(flow) < flow.steps().len()
}

/// When frames are finished, in words.
pub(crate) fn streams(plan: &Plan, flow: &Flow) -> String {
    let (name, slices) = (piece_name(plan.strategy()), slice_count(plan));
    match plan.strategy() {
        Strategy::Sharded if slices > 1 => {
            "no: a slice goes through the decoder with all of its frames at once".into()
        }
        Strategy::Sharded if is_streamed(plan, flow) && plan.piece_count() > 1 => {
            format!("{}, in all shards", flows(flow))
        }
        _ if goes_by_chunks(plan) => flows(flow),
        _ if slices > 1 => format!(
            "slice by slice: a {name} goes through all of its frames, and then the next one does"
        ),
        _ => format!("no: a {name} goes through all of its frames, and then the next one does"),
    }
}

/// When the frames of a piece are finished, as the latents of later ones go in.
pub(crate) fn flows(flow: &Flow) -> String {
    match (chunks_waited_for(flow), flow.steps()) {
        (_, [_]) => "no: the latents are so few that they go in at once".into(),
        (waits, all) if waits >= all.len() => "no: every frame waits for all latents".into(),
        (1, _) => "frames are finished as their latents go in".into(),
        (waits, all) => {
            let latents = all[waits - 1].latents.end;
            format!("the first frames are finished when {latents} frames of latents are in")
        }
    }
}

/// How many chunks go in before the first frame is finished.
fn chunks_waited_for(flow: &Flow) -> usize {
    flow.steps().iter().take_while(|step| step.finished.is_empty()).count() + 1
}

/// `3`, `3 to 5`, by a first and a last.
pub(crate) fn first_to_last<T: Copy + Into<u64>>(range: &Range<T>) -> String {
    let (start, end): (u64, u64) = (range.start.into(), range.end.into());
    match end.saturating_sub(start) {
        0 => "none".into(),
        1 => start.to_string(),
        _ => format!("{start} to {}", end - 1),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use halovae_core::{
        Axes, AxisTiling, Direction, DroppedFrame, Scale, ShardGrid, Size, TileGrid, Tiling,
        TimeScale, TimeTiling,
    };

    use super::*;

    /// A frame for the first of the latents, four for each other, and 8 pixels a cell.
    pub(in crate::plan) const SCALE: Scale = Scale::video(TimeScale::first_alone(4), 8);

    pub(in crate::plan) fn shards(frames: u32, shards: Axes<u32>) -> Plan {
        let latents = Size::video(frames, 9, 13);
        Plan::sharded(ShardGrid::of(latents, shards, SCALE).expect("a grid"))
    }

    /// Tiles of 16 frames, 12 apart, whole frames each.
    pub(in crate::plan) fn tiles_of_frames(frames: u32) -> Plan {
        let tiling =
            Tiling::new(AxisTiling::Whole, AxisTiling::Whole, SCALE).with_time(TimeTiling {
                tile_sample_min_num_frames: 16,
                tile_sample_stride_num_frames: 12,
                dropped: DroppedFrame::First,
            });
        let latents = Size::video(frames, 9, 13);
        Plan::tiled(TileGrid::new(Direction::Decode, latents, &tiling).expect("a grid"))
    }

    #[test]
    fn shards_of_slices_have_frames_of_their_own() {
        let plan = shards(5, Axes::new(2, 2, 1));
        assert_eq!(
            slices(&plan),
            [
                Slice { pieces: 0..2, latents: 0..2, frames: 0..5, blended: 0 },
                Slice { pieces: 2..4, latents: 2..5, frames: 5..17, blended: 0 },
            ]
        );
        assert!(!goes_by_chunks(&plan));
        assert!(goes_by_chunks(&shards(5, Axes::new(1, 2, 1))));
    }

    #[test]
    fn tiles_of_slices_are_blended() {
        let slices = slices(&tiles_of_frames(9));
        assert_eq!(slices.len(), 3);
        assert_eq!(slices[0], Slice { pieces: 0..1, latents: 0..5, frames: 0..17, blended: 0 });
        assert_eq!(slices[1], Slice { pieces: 1..2, latents: 3..8, frames: 13..29, blended: 4 });
        assert_eq!(slices[2].frames, 25..33);
    }

    #[test]
    fn ranges_are_told_by_their_ends() {
        assert_eq!(first_to_last(&(0..1u32)), "0");
        assert_eq!(first_to_last(&(2..5u64)), "2 to 4");
        assert_eq!(first_to_last(&(2..2u32)), "none");
    }
}
