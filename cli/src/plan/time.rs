//! When a plan's frames are finished, in words.

use std::ops::Range;

use halovae::core::{Plan, Strategy};
use halovae::plan::{self, Streaming, Streams, chunks_waited_for, goes_by_chunks};

use crate::words::piece_name;

/// When frames are finished, in words.
pub(crate) fn streams(plan: &Plan, streaming: &Streaming) -> String {
    let name = piece_name(plan.strategy());
    let is_sharded = plan.strategy() == Strategy::Sharded;
    match plan::streams(plan, streaming) {
        Streams::ByChunks if is_sharded && plan.piece_count() > 1 => {
            format!("{}, in all shards", flows(streaming))
        }
        Streams::BySlices => format!(
            "slice by slice: a {name} goes through all of its frames, and then the next one does"
        ),
        _ if goes_by_chunks(plan) => flows(streaming),
        _ if is_sharded => {
            "no: a slice goes through the decoder with all of its frames at once".into()
        }
        _ => format!("no: a {name} goes through all of its frames, and then the next one does"),
    }
}

/// When the frames of a piece are finished, as the latents of later ones go in.
pub(crate) fn flows(streaming: &Streaming) -> String {
    match (chunks_waited_for(streaming), &streaming.chunks[..]) {
        (_, [_]) => "no: the latents are so few that they go in at once".into(),
        (waits, all) if waits >= all.len() => "no: every frame waits for all latents".into(),
        (1, _) => "frames are finished as their latents go in".into(),
        (waits, all) => {
            let latents = all[waits - 1].latents.end;
            format!("the first frames are finished when {latents} frames of latents are in")
        }
    }
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
    use halovae::core::{
        Axes, AxisTiling, Direction, DroppedFrame, Scale, ShardGrid, Size, TileGrid, Tiling,
        TimeScale, TimeTiling,
    };

    use halovae::plan::{Slice, slices};

    use super::*;

    fn told(slice: &Slice) -> (Range<u64>, Range<u32>, Range<u32>, u32) {
        (slice.pieces.clone(), slice.latents.clone(), slice.frames.clone(), slice.blended)
    }

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
            slices(&plan).iter().map(told).collect::<Vec<_>>(),
            [(0..2, 0..2, 0..5, 0), (2..4, 2..5, 5..17, 0),]
        );
        assert!(!goes_by_chunks(&plan));
        assert!(goes_by_chunks(&shards(5, Axes::new(1, 2, 1))));
    }

    #[test]
    fn tiles_of_slices_are_blended() {
        let slices = slices(&tiles_of_frames(9));
        assert_eq!(slices.len(), 3);
        assert_eq!(told(&slices[0]), (0..1, 0..5, 0..17, 0));
        assert_eq!(told(&slices[1]), (1..2, 3..8, 13..29, 4));
        assert_eq!(slices[2].frames, 25..33);
    }

    #[test]
    fn ranges_are_told_by_their_ends() {
        assert_eq!(first_to_last(&(0..1u32)), "0");
        assert_eq!(first_to_last(&(2..5u64)), "2 to 4");
        assert_eq!(first_to_last(&(2..2u32)), "none");
    }
}
