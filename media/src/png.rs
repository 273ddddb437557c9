//! PNG, row by row: the image is never in memory as a whole.

use std::fs::File;
use std::io::{self, Write};

use ::png::{BitDepth, ColorType, Compression, Encoder, EncodingError, StreamWriter};

use crate::latch::Latch;
use crate::picture::{Colour, Extents, Picture};
use crate::pixel::Depth;
use crate::temporary::Temporary;

pub(crate) struct PngPicture {
    rows: StreamWriter<'static, Latch<File>>,
    out: Latch<File>,
}

/// Rows that its writer holds: this one and the one before, as they are and filtered.
const ROWS: u64 = 4;

/// Bytes that its writer holds, beside a chunk of what comes of them.
pub(crate) fn bytes(extents: Extents) -> u64 {
    extents.row_bytes().saturating_mul(ROWS)
}

impl PngPicture {
    pub(crate) fn begin(file: &Temporary, extents: Extents) -> io::Result<Self> {
        let out = Latch::new(file.handle()?);
        let mut encoder = Encoder::new(out.share(), extents.width, extents.height);
        // Ranks wait for a stitcher that writes slowly, and this is several times as fast as the
        // default for files a little larger.
        encoder.set_compression(Compression::Fast);
        encoder.set_depth(bit_depth(extents.depth));
        encoder.set_color(color_type(extents.colour));
        let rows = encoder.write_header().and_then(png::Writer::into_stream_writer);
        Ok(Self { rows: rows.map_err(into_io)?, out })
    }
}

impl Picture for PngPicture {
    fn write_rows(&mut self, rows: &[u8]) -> io::Result<()> {
        self.rows.write_all(rows)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.rows.finish().map_err(into_io)?;
        self.out.close()
    }
}

/// The format's own word for a depth.
pub(crate) fn bit_depth(depth: Depth) -> BitDepth {
    match depth {
        Depth::Eight => BitDepth::Eight,
        Depth::Sixteen => BitDepth::Sixteen,
    }
}

/// The format's own word for colours.
pub(crate) fn color_type(colour: Colour) -> ColorType {
    match colour {
        Colour::Gray => ColorType::Grayscale,
        Colour::Rgb => ColorType::Rgb,
        Colour::Rgba => ColorType::Rgba,
    }
}

pub(crate) fn into_io(error: EncodingError) -> io::Error {
    match error {
        EncodingError::IoError(error) => error,
        error => io::Error::other(error),
    }
}
