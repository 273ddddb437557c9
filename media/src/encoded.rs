//! Formats whose encoders want the whole image: JPEG, WebP, TIFF.

use std::fs::File;
use std::io;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

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
        let no_room = || {
            let needed = halovae_engine::format_bytes(extents.bytes);
            let message = format!(
                "no memory for the pixels of a {} ({needed}); .png and .npy are written row by row",
                format.name()
            );
            io::Error::new(io::ErrorKind::OutOfMemory, message)
        };
        let mut pixels = Vec::new();
        let bytes = usize::try_from(extents.bytes).map_err(|_| no_room())?;
        pixels.try_reserve_exact(bytes).map_err(|_| no_room())?;
        Ok(Self { format, extents, file: file.handle()?, pixels })
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
