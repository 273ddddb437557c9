//! Where finished rows go.

use std::io;

use crate::backend::BackendError;
use crate::tensor::{HostTensor, Shape};

/// Takes finished rows, top to bottom, image by image, so that nobody holds a whole picture.
pub trait Sink {
    /// Called once before any row, with the extents of the whole result (`batch` images).
    ///
    /// # Errors
    /// That the result cannot be written there, for example because its format has no such size.
    fn begin(&mut self, shape: Shape) -> io::Result<()>;

    /// Takes rows `top..` of `image`: f32 as the decoder gave them (not clamped), channels last,
    /// `rows.len() / (width * channels)` rows. Rows of an image come in order without gaps, and
    /// the images in order.
    ///
    /// # Errors
    /// What the file system says.
    fn write_rows(&mut self, image: usize, top: usize, rows: &[f32]) -> io::Result<()>;
}

/// Keeps the result in memory.
#[derive(Debug, Default)]
pub struct MemorySink {
    picture: Option<HostTensor>,
}

impl MemorySink {
    /// The result, once a decode has begun writing to this sink.
    pub fn into_picture(self) -> Option<HostTensor> {
        self.picture
    }
}

impl Sink for MemorySink {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        let out_of_memory = |e: BackendError| io::Error::new(io::ErrorKind::OutOfMemory, e);
        self.picture = Some(HostTensor::zeros(shape).map_err(out_of_memory)?);
        Ok(())
    }

    fn write_rows(&mut self, image: usize, top: usize, rows: &[f32]) -> io::Result<()> {
        let picture = self.picture.as_mut().ok_or_else(|| io::Error::other("rows before begin"))?;
        let Shape { height, width, channels, .. } = picture.shape();
        let from = (image * height + top) * width * channels;
        picture.data_mut()[from..][..rows.len()].copy_from_slice(rows);
        Ok(())
    }
}
