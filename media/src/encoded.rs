//! Formats whose encoders want the whole image: JPEG, WebP, TIFF.

use std::fs::File;
use std::io;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::buffer;
use crate::latch::Latch;
use crate::picture::{Colour, Extents, Picture};
use crate::temporary::Temporary;
use crate::tiff;

/// Visually lossless for photographs, at a third of the size of 100.
const JPEG_QUALITY: u8 = 95;

/// What the whole image is encoded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EncodedFormat {
    /// JPEG, quality 95.
    Jpeg,
    /// WebP, lossless.
    Webp,
    /// TIFF, uncompressed.
    Tiff,
}

impl EncodedFormat {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Webp => "WebP",
            Self::Tiff => "TIFF",
        }
    }

    pub(crate) fn max_extent(self) -> u64 {
        match self {
            Self::Jpeg => 65535,
            Self::Webp => 16383,
            Self::Tiff => i32::MAX as u64,
        }
    }

    pub(crate) fn max_bytes(self) -> u64 {
        match self {
            Self::Jpeg | Self::Webp => u64::MAX,
            // Offsets in a TIFF have 32 bits, and so must reach behind the pixels.
            Self::Tiff => u32::MAX as u64 - (1 << 20),
        }
    }
}

/// Collects the pixels of one image and encodes them at the end.
pub(crate) struct EncodedPicture {
    format: EncodedFormat,
    extents: Extents,
    file: File,
    pixels: Vec<u8>,
}

impl EncodedPicture {
    pub(crate) fn begin(
        format: EncodedFormat,
        file: &Temporary,
        extents: Extents,
    ) -> io::Result<Self> {
        let what =
            format!("the pixels of a {}; .png and .npy are written row by row", format.name());
        // The encoder allocates at the end: what it will take must be free at the beginning.
        buffer::check(bytes(format, extents), &what)?;
        let pixels = buffer::reserve(extents.bytes, &what)?;
        Ok(Self { format, extents, file: file.handle()?, pixels })
    }
}

/// Bytes that are held to encode an image: its pixels, and what the encoder makes of them.
pub(crate) fn bytes(format: EncodedFormat, extents: Extents) -> u64 {
    extents.bytes.saturating_add(encoder_bytes(format, extents))
}

/// What encoders hold beside the pixels. That of WebP has four channels of all of them, and its output, in
/// a buffer that grows by doubling; the others go through the pixels in parts.
fn encoder_bytes(format: EncodedFormat, extents: Extents) -> u64 {
    match format {
        EncodedFormat::Webp => {
            let pixels = u64::from(extents.height) * u64::from(extents.width);
            pixels.saturating_mul(4).saturating_add(extents.bytes.saturating_mul(2))
        }
        EncodedFormat::Jpeg => 0,
        // A strip, and the samples of it.
        EncodedFormat::Tiff => 4 << 20,
    }
}

impl Picture for EncodedPicture {
    fn write_rows(&mut self, rows: &[u8]) -> io::Result<()> {
        self.pixels.extend_from_slice(rows);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let Extents { height, width, colour, .. } = self.extents;
        let colour = match colour {
            Colour::Gray => ExtendedColorType::L8,
            Colour::Rgb => ExtendedColorType::Rgb8,
            Colour::Rgba => ExtendedColorType::Rgba8,
        };
        let pixels = &self.pixels;
        match self.format {
            EncodedFormat::Jpeg => {
                let out = Latch::new(self.file);
                JpegEncoder::new_with_quality(out.share(), JPEG_QUALITY)
                    .write_image(pixels, width, height, colour)
                    .map_err(into_io)
                    .and_then(|()| out.close())
            }
            EncodedFormat::Webp => {
                buffer::check(encoder_bytes(self.format, self.extents), "the encoder of WebP")?;
                let out = Latch::new(self.file);
                WebPEncoder::new_lossless(out.share())
                    .write_image(pixels, width, height, colour)
                    .map_err(into_io)
                    .and_then(|()| out.close())
            }
            EncodedFormat::Tiff => tiff::write(self.file, self.extents, pixels),
        }
    }
}

fn into_io(error: ImageError) -> io::Error {
    match error {
        ImageError::IoError(error) => error,
        error => io::Error::other(error),
    }
}
