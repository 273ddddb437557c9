//! The chunks of an animated PNG: those of a PNG for each frame, with those between them that tell of the
//! animation (PNG, third edition, 11.2 and 11.3.6).
//!
//! Frames are compressed as they are written, row by row, in chunks of some size: of none is more held than
//! that.

use std::io::{self, Write};

use ::png::chunk::{ChunkType, IDAT, acTL, fcTL, fdAT};
use ::png::{Compression, Encoder as PngEncoder, Writer};

use crate::picture::Extents;
use crate::png::{bit_depth, color_type, into_io};

/// The most bytes of a chunk of pixels.
pub(super) const CHUNK: usize = 1 << 16;

/// Bytes before the first chunk of a PNG, and around the content of each.
const SIGNATURE: usize = 8;
const AROUND: usize = 12;

/// Writes the frames of one file.
pub(super) struct Animation<W: Write> {
    out: Writer<W>,
    extents: Extents,
    /// How long each frame is shown, in seconds, as a fraction.
    delay: [u16; 2],
    /// The number of the next chunk of the animation.
    number: u32,
    frames: u32,
    /// What of a frame's file has come, up to a chunk.
    pending: Vec<u8>,
}

fn encoder<W: Write>(out: W, extents: Extents) -> PngEncoder<'static, W> {
    let mut encoder = PngEncoder::new(out, extents.width, extents.height);
    encoder.set_compression(Compression::Fast);
    encoder.set_depth(bit_depth(extents.depth));
    encoder.set_color(color_type(extents.colour));
    encoder
}

impl<W: Write> Animation<W> {
    /// Begins a file of so many frames, that is shown again and again.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn begin(
        out: W,
        extents: Extents,
        frames: u32,
        delay: [u16; 2],
    ) -> io::Result<Self> {
        let mut out = encoder(out, extents).write_header().map_err(into_io)?;
        let control = [frames.to_be_bytes(), 0u32.to_be_bytes()].concat();
        out.write_chunk(acTL, &control).map_err(into_io)?;
        let pending = Vec::with_capacity(CHUNK + AROUND + SIGNATURE);
        Ok(Self { out, extents, delay, number: 0, frames: 0, pending })
    }

    /// Writes the next frame.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let Extents { height, width, .. } = self.extents;
        let mut control = self.next_number().to_be_bytes().to_vec();
        control.extend([width, height, 0, 0].into_iter().flat_map(u32::to_be_bytes));
        control.extend(self.delay.into_iter().flat_map(u16::to_be_bytes));
        // It stays until the next comes, which takes its place and does not lie on it.
        control.extend([0, 0]);
        self.out.write_chunk(fcTL, &control).map_err(into_io)?;
        let extents = self.extents;
        self.pending.clear();
        let file = OneFrame { animation: self, is_begun: false };
        let mut file = encoder(file, extents).write_header().map_err(into_io)?;
        let mut rows = file.stream_writer_with_size(CHUNK).map_err(into_io)?;
        rows.write_all(frame)?;
        rows.finish().map_err(into_io)?;
        drop(file);
        self.frames += 1;
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn finish(self) -> io::Result<()> {
        self.out.finish().map_err(into_io)
    }

    fn next_number(&mut self) -> u32 {
        self.number += 1;
        self.number - 1
    }
}

/// The file of a frame alone, of which only the pixels go on.
struct OneFrame<'a, W: Write> {
    animation: &'a mut Animation<W>,
    /// Whether the signature is behind.
    is_begun: bool,
}

impl<W: Write> OneFrame<'_, W> {
    /// Passes on all chunks that are complete.
    fn pass_on(&mut self) -> io::Result<()> {
        let animation = &mut *self.animation;
        let mut rest = &animation.pending[..];
        if !self.is_begun {
            let Some((_, behind)) = rest.split_at_checked(SIGNATURE) else { return Ok(()) };
            (rest, self.is_begun) = (behind, true);
        }
        while let Some((&length, [a, b, c, d, content @ ..])) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(length) as usize;
            let Some(content) = content.get(..length) else { break };
            let Some(behind) = rest.get(length + AROUND..) else { break };
            rest = behind;
            if ChunkType([*a, *b, *c, *d]) != IDAT {
                continue;
            }
            let written = match animation.frames {
                0 => animation.out.write_chunk(IDAT, content),
                _ => {
                    let number = animation.number.to_be_bytes();
                    animation.number += 1;
                    animation.out.write_chunk(fdAT, &[&number, content].concat())
                }
            };
            written.map_err(into_io)?;
        }
        let left = rest.len();
        let done = animation.pending.len() - left;
        animation.pending.drain(..done);
        Ok(())
    }
}

impl<W: Write> Write for OneFrame<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.animation.pending.extend_from_slice(bytes);
        self.pass_on()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
