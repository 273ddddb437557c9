//! What rank 0 does while the others decode: it receives their pieces and stitches them.

use std::ops::Range;

use halovae_core::{Piece, Plan};

use super::{Control, DecodeError};
use crate::event::Event;
use crate::flow::Flows;
use crate::group::{Group, GroupError, Tag};
use crate::schedule::Schedule;
use crate::sink::Sink;
use crate::stitch::{PiecePart, StitchError, StitchTimes, stitch_image};

/// The parts of the plan's pieces, in the order in which ranks send them: shards that have all frames
/// of their places go through them together, and other pieces are finished one after the other.
fn parts_of<'a>(plan: &'a Plan, flows: &'a Flows) -> Box<dyn Iterator<Item = PiecePart> + 'a> {
    let of_piece = |piece: Piece, part: Range<u32>| PiecePart {
        piece: piece.index,
        frames: part.start - piece.keep.first..part.end - piece.keep.first,
    };
    let kept = |piece: &Piece| piece.keep.first..piece.keep.first + piece.keep.frames;
    match plan {
        Plan::Sharded(grid) if grid.slices() > 1 => {
            Box::new(plan.pieces().map(move |piece| of_piece(piece, kept(&piece))))
        }
        Plan::Sharded(grid) => {
            let steps = flows.of(grid.latents().frames).steps().iter();
            let parts = steps.flat_map(move |step| {
                plan.pieces().map(move |piece| (piece, step.kept(&kept(&piece))))
            });
            let parts = parts.filter(|(_, part)| !part.is_empty());
            Box::new(parts.map(move |(piece, part)| of_piece(piece, part)))
        }
        Plan::Whole(_) | Plan::Tiled(_) | Plan::Patch(_) => {
            Box::new(plan.pieces().flat_map(move |piece| {
                let parts = flows.of(piece.input.frames).parts(kept(&piece));
                parts.map(move |part| of_piece(piece, part))
            }))
        }
    }
}

/// Stitches all images. The first `here` ranks are of this process, and tell of their pieces
/// themselves.
pub(super) fn stitch_all<G: Group + ?Sized>(
    group: &G,
    (plan, schedule, flows): (&Plan, &Schedule, &Flows),
    here: usize,
    sink: &mut dyn Sink,
    channels: usize,
    control: &Control<'_>,
) -> Result<StitchTimes, DecodeError> {
    let mut times = StitchTimes::default();
    for image in 0..schedule.images() {
        let parts = parts_of(plan, flows);
        let fetch = |part: &PiecePart| -> Result<Vec<f32>, GroupError> {
            let item = schedule.item(image, part.piece);
            let keep = plan.piece(part.piece).expect("parts are of pieces of the plan").keep;
            let frames = part.frames.end - part.frames.start;
            let len = frames as usize * keep.area() as usize * channels;
            let data = group.receive(item.owner, Tag::piece(item.index), len)?;
            if item.owner as usize >= here && part.frames.end == keep.frames {
                control
                    .observer
                    .event(Event::PieceReceived { rank: item.owner, piece: item.index });
            }
            Ok(data)
        };
        let rows_done = |rows| control.observer.event(Event::RowsWritten { rows });
        let spent = stitch_image(plan, channels, image as usize, parts, sink, fetch, rows_done);
        let spent = spent.map_err(|error| match error {
            StitchError::Piece(error) => error.into(),
            StitchError::Sink(error) => DecodeError::Sink(error),
        })?;
        times.stitch += spent.stitch;
        times.write += spent.write;
    }
    Ok(times)
}
