//! One image on its way to a file.

use std::io;

use crate::pixel::Depth;

/// The channels of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Gray,
    Rgb,
    Rgba,
}

/// An image whose size a format can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) colour: Colour,
    pub(crate) depth: Depth,
    /// All pixels.
    pub(crate) bytes: u64,
}

impl Extents {
    /// Bytes of a row.
    pub(crate) fn row_bytes(self) -> u64 {
        self.bytes / u64::from(self.height.max(1))
    }
}

/// Writes the rows of one image.
pub(crate) trait Picture {
    /// Takes the next rows: a byte a channel, or two in big endian.
    fn write_rows(&mut self, rows: &[u8]) -> io::Result<()>;

    /// Ends the file.
    fn finish(self: Box<Self>) -> io::Result<()>;
}
