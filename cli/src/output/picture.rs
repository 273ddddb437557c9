//! One image on its way to a file.

use std::io;

use super::pixel::Depth;

/// The channels of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Gray,
    Rgb,
    Rgba,
}

/// An image whose size a format can hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) height: u32,
    pub(super) width: u32,
    pub(super) colour: Colour,
    pub(super) depth: Depth,
    /// All pixels.
    pub(super) bytes: u64,
}

/// Writes the rows of one image.
pub(super) trait Picture {
    /// Takes the next rows: a byte a channel, or two in big endian.
    fn write_rows(&mut self, rows: &[u8]) -> io::Result<()>;

    /// Ends the file.
    fn finish(self: Box<Self>) -> io::Result<()>;
}
