//! An array as a file has it.

use std::ops::Range;

use super::error::LatentsError;
use super::layout::{Element, Layout, channels_last};
use super::values::Latents;

/// An array in the bytes of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) element: Element,
    /// Whether the first axis is the fastest.
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
    /// Exactly as many bytes as type and shape say.
    pub(super) data: Range<usize>,
    /// If ComfyUI wrote it: what its values are to be multiplied by.
    pub(super) comfy: Option<f32>,
}

impl Stored {
    /// The latents in it, if they are laid out as [`Layout::cells`] has them.
    pub(super) fn cells(
        &self,
        bytes: &[u8],
        video_channels: Option<usize>,
    ) -> Result<Latents, LatentsError> {
        self.read(bytes, &Layout::cells(&self.shape, self.fortran_order, video_channels)?)
    }

    /// The latents in it, if they lie so.
    pub(super) fn read(&self, bytes: &[u8], layout: &Layout) -> Result<Latents, LatentsError> {
        let data = channels_last(&bytes[self.data.clone()], self.element, layout)?;
        let [batch, channels, frames, height, width] = layout.extents;
        let mut latents = Latents { batch, channels, frames, height, width, data };
        if let Some(factor) = self.comfy.filter(|&factor| factor != 1.0) {
            latents.map_channels(|value, _| value * factor)?;
        }
        Ok(latents)
    }
}
