//! Plans: their pieces, and the blocks that pieces become.

use halovae_core::{Axis, Block, Direction, Piece, Plan, Region, Scale, Size, Strategy};

use crate::LOOKED_AT;
use crate::input::Input;
use crate::shares::shares;

/// A block may have 16 terms along each axis. Weights are added up in blocks that together have no
/// more than one such.
const WEIGHED: u32 = 1 << 12;

pub(crate) fn check(plan: &Plan, scale: Scale, input: &Input) {
    let count = plan.piece_count();
    assert!(count > 0);
    assert!(plan.piece(count).is_none());
    let [whole_input, whole_output] = [plan.input().at_origin(), plan.output().at_origin()];
    let first = 0..count.min(LOOKED_AT);
    let last = count.saturating_sub(LOOKED_AT)..count;
    for index in first.chain(last).chain([input.at % count]) {
        let piece = plan.piece(index).expect("an index below the count");
        assert_eq!(piece.index, index);
        for region in [piece.input, piece.keep, piece.output] {
            assert!(!region.is_empty(), "{piece:?}");
        }
        assert!(whole_input.contains(piece.input), "{piece:?}");
        assert!(whole_output.contains(piece.output), "{piece:?}");
        assert_eq!(piece.keep.size(), piece.output.size());
        computed(plan, scale, &piece);
    }
    blocks(plan, whole_output);
    let cells = match plan.direction() {
        Direction::Decode => plan.input().volume(),
        Direction::Encode => plan.output().volume(),
    };
    assert!(plan.processed_cells() >= cells);
    assert!(plan.redundancy() >= 1.0);
    if count <= 512 {
        shares(plan, input, count as usize);
    }
}

/// What is kept of a window has been computed of it.
fn computed(plan: &Plan, scale: Scale, piece: &Piece) {
    let latents = plan.piece_latents(piece);
    let pixels = scale.layer(latents).expect("a part of a layer that fits");
    let computed = match (plan.strategy(), plan.direction()) {
        // A shard's frames are those of its latents in the whole video, not alone.
        (Strategy::Sharded, _) => return,
        (_, Direction::Decode) => {
            assert_eq!(latents, piece.input.size());
            pixels
        }
        (_, Direction::Encode) => {
            assert_eq!(pixels, piece.input.size());
            latents
        }
    };
    assert!(computed.at_origin().contains(piece.keep), "{piece:?} of {computed:?}");
}

/// Bands and blocks follow each other without gaps; all of them cover the output.
fn blocks(plan: &Plan, output: Region) {
    let (mut frame, mut row) = (0u64, 0u64);
    let mut held = 0..0;
    let mut complete = true;
    let mut weighed = WEIGHED;
    for (index, band) in (0u64..).zip(plan.bands()) {
        if index == LOOKED_AT {
            complete = false;
            break;
        }
        assert!(band.frames > 0 && u64::from(band.first) == frame, "{band:?}");
        assert!(band.height > 0 && u64::from(band.top) == row, "{band:?}");
        row += u64::from(band.height);
        if row == output.bottom() {
            (frame, row) = (frame + u64::from(band.frames), 0);
        }
        let pieces = band.pieces();
        assert!(held.start <= pieces.start && held.end <= pieces.end, "{held:?}, then {band:?}");
        assert!(pieces.start < pieces.end && pieces.end <= plan.piece_count(), "{band:?}");
        held = pieces.clone();
        let mut right = 0u64;
        let mut row_complete = true;
        for (index, block) in (0u64..).zip(band.blocks()) {
            if index == LOOKED_AT {
                row_complete = false;
                break;
            }
            let region = block.region;
            assert_eq!(region.span(Axis::Time), (band.first, band.frames), "{block:?}");
            assert_eq!(region.span(Axis::Height), (band.top, band.height), "{block:?}");
            assert!(region.width > 0 && u64::from(region.left) == right, "{block:?}");
            right = region.right();
            assert!(output.contains(region), "{block:?}");
            if let Some(left) = weighed.checked_sub(block.term_count()) {
                weighed = left;
                terms(plan, &block, &pieces);
            }
        }
        assert!(!row_complete || right == output.right());
    }
    assert!(!complete || (frame, row) == (output.end(), 0));
    assert!(!complete || held.end == plan.piece_count());
}

fn terms(plan: &Plan, block: &Block, pieces: &std::ops::Range<u64>) {
    let region = block.region;
    let places = |len: u32| [0, len / 2, len - 1];
    let Size { frames, height, width } = region.size();
    let (frames, rows, columns) = (places(frames), places(height), places(width));
    let mut sums = [[[0.0f64; 3]; 3]; 3];
    let mut before = None;
    let mut count = 0;
    for term in block.terms() {
        assert!(before < Some(term.piece), "terms are not in the order of pieces");
        before = Some(term.piece);
        count += 1;
        assert!(pieces.contains(&term.piece));
        let piece = plan.piece(term.piece).expect("a term names a piece");
        assert_eq!(term.source.size(), region.size());
        assert!(piece.keep.size().at_origin().contains(term.source), "{term:?} of {piece:?}");
        for axis in Axis::ALL {
            let start = |region: Region| region.span(axis).0;
            let source = start(piece.output) + start(term.source);
            assert_eq!(source, start(region), "{term:?} of {piece:?}");
        }
        assert_eq!(term.is_unit(), block.term_count() == 1);
        let of_frames = frames.map(|dt| term.frame_weight(dt));
        let of_rows = rows.map(|dy| term.row_weight(dy));
        let of_columns = columns.map(|dx| term.column_weight(dx));
        for (frame, sums) in of_frames.iter().zip(&mut sums) {
            for (row, sums) in of_rows.iter().zip(sums) {
                for (column, sum) in of_columns.iter().zip(sums) {
                    let weight = frame * row * column;
                    assert!((-1e-9..=1.0 + 1e-9).contains(&weight), "{weight} in {term:?}");
                    *sum += weight;
                }
            }
        }
        let mut first = [f32::NAN];
        term.fill_weights(frames[1], rows[1], &mut first);
        let weight = term.weight(frames[1], rows[1], 0);
        assert_eq!(
            (first[0], weight),
            (weight, (of_frames[1] * of_rows[1] * of_columns[0]) as f32)
        );
        assert_eq!(term.weight(region.frames, 0, 0), 0.0);
    }
    assert_eq!(count, block.term_count());
    for sum in sums.iter().flatten().flatten() {
        assert!((sum - 1.0).abs() < 1e-9, "weights add up to {sum} in {block:?}");
    }
}
