//! Where finished rows go.

use std::io;

use crate::backend::BackendError;
use crate::tensor::{HostTensor, Shape};

/// The most rows that go to a sink together; bounds the memory of unfinished rows.
pub const ROWS_AT_ONCE: u32 = 32;

/// A value from -1 to 1 as a byte: `clamp(x / 2 + 0.5, 0, 1) * 255`, halves rounded to even, as diffusers'
/// `VaeImageProcessor` and numpy's `round` have it.
pub fn byte(x: f32) -> u8 {
    // `as` keeps 0..=255 exactly, and the clamp leaves nothing else.
    ((x * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// That there is no memory for the rows that go to a sink together.
pub(crate) fn no_room_for_rows() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "no memory for rows of the result")
}

/// Where rows lie in the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsAt {
    /// The image or video of the batch.
    pub image: usize,
    /// The frame; 0 in an image.
    pub frame: usize,
    /// The first row.
    pub top: usize,
}

impl RowsAt {
    /// Rows of an image.
    pub const fn of_image(image: usize, top: usize) -> Self {
        Self { image, frame: 0, top }
    }
}

/// Takes finished rows, frame by frame and top to bottom, image by image, so that the whole result
/// need not be in memory.
pub trait Sink {
    /// Called once before any row, with the extents of the whole result (`batch` images or videos).
    ///
    /// # Errors
    /// That the result cannot be written there, for example because its format has no such size.
    fn begin(&mut self, shape: Shape) -> io::Result<()>;

    /// Takes rows: f32 as the decoder gave them (not clamped), channels last,
    /// `rows.len() / (width * channels)` rows, at most [`ROWS_AT_ONCE`] of a decode. Rows of a frame come in order without gaps, the frames
    /// in order, and the images in order.
    ///
    /// # Errors
    /// What the file system says.
    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()>;
}

/// Hands rows on, with their values cut off at both ends where there is a range.
pub struct Clamped<'a> {
    sink: &'a mut dyn Sink,
    range: Option<[f32; 2]>,
    rows: Vec<f32>,
}

impl<'a> Clamped<'a> {
    /// Values below and above `range` are replaced by its ends on their way to `sink`.
    pub fn new(sink: &'a mut dyn Sink, range: Option<[f32; 2]>) -> Self {
        Self { sink, range, rows: Vec::new() }
    }
}

impl Sink for Clamped<'_> {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        if self.range.is_some() {
            let most = shape.width * shape.channels * ROWS_AT_ONCE as usize;
            self.rows.try_reserve_exact(most).map_err(|_| no_room_for_rows())?;
        }
        self.sink.begin(shape)
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let Some([low, high]) = self.range else { return self.sink.write_rows(at, rows) };
        self.rows.clear();
        self.rows.extend(rows.iter().map(|value| value.clamp(low, high)));
        self.sink.write_rows(at, &self.rows)
    }
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

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let picture = self.picture.as_mut().ok_or_else(|| io::Error::other("rows before begin"))?;
        let Shape { frames, height, width, channels, .. } = picture.shape();
        let from = ((at.image * frames + at.frame) * height + at.top) * width * channels;
        picture.data_mut()[from..][..rows.len()].copy_from_slice(rows);
        Ok(())
    }
}
