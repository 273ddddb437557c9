//! How a convolution through transforms is cut into tasks. Nothing here has an influence on any
//! result.

use super::super::pack::packed_len;
use super::super::tiles::DOUBLED_INPUTS;
use super::super::{Algorithm, ConvInput, ConvShape, Margins, RunPlan};
use crate::pool::Layout;
use crate::table::Table;

/// Outputs of a tile along an axis.
pub(super) const TILE: usize = 4;

/// Channels that are brought in at a time: four cache lines of each pixel.
const CHANNELS: usize = 64;

/// Products of a tile.
pub(super) const PRODUCTS: usize = 36;

/// Tiles of a block, those of all its output frames together, by the values that a product is summed
/// over: more tiles read the weights less often, fewer keep the block in the cache.
fn block_tiles(depth: usize) -> usize {
    match depth {
        0..=384 => 64,
        _ => 128,
    }
}

/// Output frames of a task where there are several taps in time. Their transformed inputs are that
/// many frames and those of the other taps.
const FRAMES: usize = 4;

/// What a task computes: some tiles of consecutive output frames, and a group of output channels.
pub(super) struct Place {
    /// Which of the run's pieces.
    pub piece: usize,
    /// The first tile, and how many there are, vertically and horizontally.
    pub first: [usize; 2],
    pub tiles: [usize; 2],
    pub group: usize,
}

/// Consecutive output frames that a task computes together, so that an input frame that several of
/// them read is transformed once.
pub(super) struct Piece {
    /// The first output frame.
    pub first: usize,
    /// The input frames that are read, each once. A frame's place here is its slot in scratch.
    pub frames: Vec<usize>,
    /// For each output frame and tap in time the slot that it reads.
    pub slots: Vec<Option<usize>>,
}

/// How the work is cut.
pub(in super::super) struct Blocks {
    pub(super) doubled: bool,
    /// Taps in time.
    time: usize,
    /// Output frames of a task at most.
    outputs: usize,
    /// Tiles of a whole output frame, vertically and horizontally.
    tiles: [usize; 2],
    /// Tiles of a block.
    block: [usize; 2],
    /// Blocks of a frame.
    count: [usize; 2],
    /// Panels of a task.
    pub(super) group: usize,
    groups: usize,
    /// Floats of a tile's input row in scratch.
    pub(super) row: usize,
    lanes: usize,
    panel: usize,
    /// Weights that have to be transformed first, in floats.
    transform: usize,
}

impl Blocks {
    pub(in super::super) fn new(
        table: &Table,
        plan: &RunPlan,
        kind: Algorithm,
        out: [usize; 2],
        threads: usize,
    ) -> Self {
        let doubled = kind == Algorithm::Doubled;
        let shape = plan.shape;
        let time = shape.kernel[0];
        let skip = start(plan.padding, doubled).1;
        let tiles = [0, 1].map(|axis| (out[axis] + skip[axis]).div_ceil(TILE));
        let panels = shape.out_channels.div_ceil(table.panel);
        let wanted = 4 * threads;
        let outputs = if time == 1 { 1 } else { plan.size[0].min(FRAMES) };
        let pieces = plan.size[0].div_ceil(outputs);
        let mut most = block_tiles(time * shape.in_channels) / outputs;
        let (mut block, mut count);
        loop {
            let across = tiles[1].min(if most < 64 { 8 } else { 16 });
            count = [0, tiles[1].div_ceil(across)];
            block = [0, tiles[1].div_ceil(count[1])];
            let down = tiles[0].min((most / block[1]).max(1));
            count[0] = tiles[0].div_ceil(down);
            block[0] = tiles[0].div_ceil(count[0]);
            if most * outputs <= 32 || pieces * count[0] * count[1] >= wanted {
                break;
            }
            most /= 2;
        }
        // Each group transforms the input anew, so a group should have work for it.
        let groups = wanted.div_ceil(pieces * count[0] * count[1]).clamp(1, panels);
        let group = panels.div_ceil(groups);
        Self {
            doubled,
            time,
            outputs,
            tiles,
            block,
            count,
            group,
            groups: panels.div_ceil(group),
            row: shape.in_channels.next_multiple_of(table.lanes),
            lanes: table.lanes,
            panel: shape.out_channels.min(table.panel).next_multiple_of(table.lanes),
            transform: if plan.packing == kind {
                0
            } else {
                packed_len(table, time * PRODUCTS * shape.in_channels, shape.out_channels)
            },
        }
    }

    /// The output frames of a run, shared out.
    pub(super) fn pieces(&self, input: &ConvInput, shape: &ConvShape) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for output in 0..input.outputs(shape) {
            let taps = input.taps_of(shape, output);
            if pieces.last_mut().is_some_and(|piece| self.add_output(piece, taps)) {
                continue;
            }
            let mut piece = Piece { first: output, frames: Vec::new(), slots: Vec::new() };
            let fits = self.add_output(&mut piece, taps);
            debug_assert!(fits, "there are slots for the taps of one output frame");
            pieces.push(piece);
        }
        pieces
    }

    /// Adds one output frame, unless the piece would be too large with it.
    fn add_output(&self, piece: &mut Piece, taps: &[Option<usize>]) -> bool {
        if piece.slots.len() == self.outputs * self.time {
            return false;
        }
        let before = (piece.frames.len(), piece.slots.len());
        for tap in taps {
            let slot = tap.map(|frame| {
                let slot = piece.frames.iter().position(|&other| other == frame);
                slot.unwrap_or_else(|| {
                    piece.frames.push(frame);
                    piece.frames.len() - 1
                })
            });
            piece.slots.push(slot);
        }
        let fits = piece.frames.len() <= self.slots();
        if !fits {
            piece.frames.truncate(before.0);
            piece.slots.truncate(before.1);
        }
        fits
    }

    /// Input frames that a task has room for: those that overlapping taps read.
    fn slots(&self) -> usize {
        self.outputs + self.time - 1
    }

    /// Tasks of so many pieces.
    pub(super) fn tasks(&self, pieces: usize) -> usize {
        pieces * self.count[0] * self.count[1] * self.groups
    }

    /// What task `i` computes.
    pub(super) fn place(&self, i: usize) -> Place {
        let (rest, group) = (i / self.groups, i % self.groups);
        let (rest, across) = (rest / self.count[1], rest % self.count[1]);
        let (piece, down) = (rest / self.count[0], rest % self.count[0]);
        let first = [down * self.block[0], across * self.block[1]];
        let tiles = [0, 1].map(|axis| self.block[axis].min(self.tiles[axis] - first[axis]));
        Place { piece, first, tiles, group }
    }

    /// Rows and columns of the patch that a block reads.
    pub(super) fn patch(&self) -> [usize; 2] {
        self.block.map(|n| n * self.input_step() + 2)
    }

    /// Input pixels from one tile to the next.
    pub(super) fn input_step(&self) -> usize {
        if self.doubled { TILE / 2 } else { TILE }
    }

    pub(super) fn positions(&self) -> usize {
        if self.doubled { DOUBLED_INPUTS * DOUBLED_INPUTS } else { PRODUCTS }
    }

    fn block_len(&self) -> usize {
        self.block[0] * self.block[1]
    }

    /// Floats from one slot to the next.
    pub(super) fn slot_stride(&self) -> usize {
        self.block_len() * self.row
    }

    /// Floats from a position to the next, one cache line off a round number so that the positions
    /// of one tile do not share cache sets.
    pub(super) fn input_stride(&self) -> usize {
        self.slots() * self.slot_stride() + 16
    }

    /// Floats from the products of an output frame to those of the next.
    pub(super) fn output_stride(&self) -> usize {
        self.block_len() * self.panel
    }

    pub(super) fn product_stride(&self) -> usize {
        self.outputs * self.output_stride() + 16
    }

    pub(super) fn patch_pixel(&self) -> usize {
        self.row.min(CHANNELS.max(self.lanes))
    }

    pub(in super::super) fn layout(&self) -> Layout {
        let [rows, columns] = self.patch();
        Layout {
            shared: self.transform,
            thread: rows * columns * self.patch_pixel()
                + self.positions() * self.input_stride()
                + PRODUCTS * self.product_stride(),
        }
    }
}

/// The first row and column of the input that the first tiles read, and the rows and columns of the
/// first tiles that lie before the output.
///
/// The outputs of a doubled tile belong to pixels of the small image: the tiles are laid from the
/// even output, in the numbering of a padding of 1, at or before the first one that is wanted.
pub(super) fn start(padding: &Margins, doubled: bool) -> ([isize; 2], [usize; 2]) {
    let before = [padding.top as isize, padding.left as isize];
    if !doubled {
        return (before.map(|p| -p), [0, 0]);
    }
    let even = before.map(|p| (1 - p).div_euclid(2));
    (even.map(|e| e - 1), [0, 1].map(|a| (1 - before[a] - 2 * even[a]) as usize))
}
