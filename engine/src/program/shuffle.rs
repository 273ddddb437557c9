//! Cells that lie in the channels of others.

use super::{FrameRepeat, ValueId};

/// A pixel shuffle: each cell of the input becomes a block of cells, whose values are in its channels.
///
/// Value `c` of the cell in frame `i`, row `j` and column `k` of its block is channel
/// `(first + channel * (c % period) + frame * i + row * j + column * k) / copies` of the input's cell,
/// rounded down. Where the first frame stands alone, its block has the last of those frames only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// What is read.
    pub input: ValueId,
    /// What is written.
    pub output: ValueId,
    /// Channels written.
    pub channels: u32,
    /// Rows of a block, and as many columns.
    pub space: u32,
    /// Frames of a block.
    pub frames: FrameRepeat,
    /// In which channel a value lies.
    pub order: ChannelOrder,
}

/// In which channel of a cell the values of a block lie: see [`Shuffle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelOrder {
    /// Place of the first value.
    pub first: u32,
    /// Places from channel to channel.
    pub channel: u32,
    /// Places from frame to frame.
    pub frame: u32,
    /// Places from row to row.
    pub row: u32,
    /// Places from column to column.
    pub column: u32,
    /// Places that lie in one channel of the input, one behind the other: it is repeated as often.
    pub copies: u32,
    /// Channels after which they begin again from the first: all of the input's are repeated, one after
    /// the other. As many as are written, or more, for none that are.
    pub period: u32,
}

impl ChannelOrder {
    /// Channel by channel all frames of a block, of each frame all rows, of each row all columns; each
    /// channel of the input counts `copies` times. No channel begins again.
    pub const fn nested(frames: u32, space: u32, copies: u32) -> Self {
        let row = space;
        let frame = row.saturating_mul(space);
        let channel = frame.saturating_mul(frames);
        Self { first: 0, channel, frame, row, column: 1, copies, period: u32::MAX }
    }

    /// The channel of the input that is value `channel` of the cell at `[frame, row, column]` of a block.
    pub fn of(&self, channel: u32, [frame, row, column]: [u32; 3]) -> u64 {
        let channel = channel % self.period.max(1);
        let steps =
            [(self.channel, channel), (self.frame, frame), (self.row, row), (self.column, column)];
        let product = |(step, count): (u32, u32)| u64::from(step) * u64::from(count);
        // Sums of five products of u32 fit but for absurd ones, which the builder refuses.
        let place = steps.map(product).into_iter().fold(u64::from(self.first), u64::saturating_add);
        place / u64::from(self.copies.max(1))
    }
}

impl Shuffle {
    /// The channels of the input's cell that are the values of the cell at `[frame, row, column]` of its
    /// block.
    pub fn channels_at(&self, at: [u32; 3]) -> impl Iterator<Item = usize> {
        (0..self.channels).map(move |channel| self.order.of(channel, at) as usize)
    }

    /// For each output frame the frame of its block, from the input frames that they are read of: where
    /// fewer frames are read of one than lie in its block, they are the last ones of it.
    pub fn frames_in_blocks(&self, read: &[usize]) -> Vec<u32> {
        let mut frames = Vec::with_capacity(read.len());
        for block in read.chunk_by(|a, b| a == b) {
            let len = block.len() as u32;
            let skipped = self.frames.factor.saturating_sub(len);
            frames.extend(skipped..skipped + len);
        }
        frames
    }

    /// The same for latents of one frame, whose block has one.
    pub(crate) fn of_one_frame(self) -> Self {
        let last = self.frames.factor.saturating_sub(1);
        let first = self.order.first.saturating_add(self.order.frame.saturating_mul(last));
        Self { frames: FrameRepeat::NONE, order: ChannelOrder { first, ..self.order }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shuffle(factor: u32, order: ChannelOrder) -> Shuffle {
        let frames = FrameRepeat { factor, first_alone: true };
        Shuffle { input: ValueId(0), output: ValueId(1), channels: 2, space: 2, frames, order }
    }

    /// diffusers' `DupUp3D` of 4 channels to 2, with twice the frames: 16 values of 4 channels.
    #[test]
    fn values_lie_in_repeated_channels() {
        let shuffle = shuffle(2, ChannelOrder::nested(2, 2, 4));
        let at = |place| shuffle.channels_at(place).collect::<Vec<_>>();
        assert_eq!(at([0, 0, 0]), [0, 2]);
        assert_eq!(at([0, 1, 1]), [0, 2]);
        assert_eq!(at([1, 0, 0]), [1, 3]);
        let alone = shuffle.of_one_frame();
        assert_eq!(alone.frames, FrameRepeat::NONE);
        assert_eq!(alone.channels_at([0, 0, 1]).collect::<Vec<_>>(), [1, 3]);
    }

    /// The shortcut of LTX-2's upsampler, 8 channels to 2 with twice the frames, rows and columns: one
    /// block, whose values are repeated.
    #[test]
    fn channels_begin_again() {
        let shuffle = shuffle(2, ChannelOrder { period: 1, ..ChannelOrder::nested(2, 2, 1) });
        let at = |place| shuffle.channels_at(place).collect::<Vec<_>>();
        assert_eq!(at([0, 0, 0]), [0, 0]);
        assert_eq!(at([0, 1, 0]), [2, 2]);
        assert_eq!(at([1, 1, 1]), [7, 7]);
        assert_eq!(shuffle.of_one_frame().channels_at([0, 1, 0]).collect::<Vec<_>>(), [6, 6]);
    }

    #[test]
    fn the_first_frame_is_the_last_of_its_block() {
        let frames = |factor, read: &[usize]| {
            shuffle(factor, ChannelOrder::nested(factor, 2, 1)).frames_in_blocks(read)
        };
        assert_eq!(frames(2, &[0, 1, 1, 2, 2]), [1, 0, 1, 0, 1]);
        assert_eq!(frames(3, &[0]), [2]);
        assert_eq!(frames(2, &[4, 4, 5, 5]), [0, 1, 0, 1]);
        assert!(frames(2, &[]).is_empty());
    }
}
