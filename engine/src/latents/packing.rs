//! How pipelines pack latents into the tokens of a transformer.

/// How a pipeline packs latents: a token holds a patch of cells, and tokens follow each other row
/// by row, `[batch, tokens, patch height * patch width * channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Rows of cells in a token, at least one.
    pub patch_height: usize,
    /// Columns of cells in a token, at least one.
    pub patch_width: usize,
    /// What is slowest among the values of a token.
    pub order: TokenOrder,
    /// Of what the tokens are.
    pub content: TokenContent,
    /// Whether there are pipelines that leave tokens where they lie in the picture, with their values
    /// in the place of the channels: `[batch, values, rows, columns]`.
    pub in_place: bool,
}

/// Of what the tokens of one sample are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenContent {
    /// Of one picture.
    Picture,
    /// Of a picture and then of each of the layers that it was taken apart into, all of its size. The
    /// layers alone are decoded, each as a picture of its own.
    Layers,
    /// Of all frames of a video, one after the other.
    Video,
}

/// The order of values within a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrder {
    /// All cells of one channel, then those of the next: `[channels, patch height, patch width]`.
    ChannelsFirst,
    /// All channels of one cell, then those of the next: `[patch height, patch width, channels]`.
    ChannelsLast,
}

impl Packing {
    /// Values of a token of latents with so many channels.
    pub fn token_len(self, channels: usize) -> usize {
        self.patch_height.saturating_mul(self.patch_width).saturating_mul(channels)
    }

    /// Which value of its token is the channel of the cell in this row and column of the picture.
    pub(super) fn value_of(
        self,
        channels: usize,
        channel: usize,
        [row, column]: [usize; 2],
    ) -> usize {
        let [of_channel, of_row, of_column] = self.strides(channels);
        channel * of_channel
            + row % self.patch_height * of_row
            + column % self.patch_width * of_column
    }

    /// Distances within a token, in values: from channel to channel, row to row, column to column.
    pub(super) fn strides(self, channels: usize) -> [usize; 3] {
        match self.order {
            TokenOrder::ChannelsFirst => {
                [self.patch_height * self.patch_width, self.patch_width, 1]
            }
            TokenOrder::ChannelsLast => [1, self.patch_width * channels, channels],
        }
    }
}
