//! TIFF, uncompressed, 8 or 16 bits a channel.

use std::fs::File;
use std::io;

use tiff::TiffError;
use tiff::encoder::colortype::{ColorType, Gray8, Gray16, RGB8, RGB16};
use tiff::encoder::{TiffEncoder, TiffValue};
use tiff::tags::ExtraSamples;

use crate::picture::{Colour, Extents};
use crate::pixel::Depth;

/// Writes all pixels of an image: bytes, or words in big endian.
pub(crate) fn write(file: File, extents: Extents, pixels: &[u8]) -> io::Result<()> {
    let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u16::from(byte));
    let written = match (extents.colour, extents.depth) {
        (Colour::Gray, Depth::Eight) => write_as::<Gray8>(file, extents, pixels, |byte| byte[0]),
        (Colour::Gray, Depth::Sixteen) => write_as::<Gray16>(file, extents, pixels, word),
        (_, Depth::Eight) => write_as::<RGB8>(file, extents, pixels, |byte| byte[0]),
        (_, Depth::Sixteen) => write_as::<RGB16>(file, extents, pixels, word),
    };
    written.map_err(|error| match error {
        TiffError::IoError(error) => error,
        error => io::Error::other(error),
    })
}

fn write_as<C: ColorType>(
    // It seeks, and pixels are written in large strips: a buffer would gain nothing.
    file: File,
    extents: Extents,
    pixels: &[u8],
    sample: impl Fn(&[u8]) -> C::Inner,
) -> Result<(), TiffError>
where
    [C::Inner]: TiffValue,
{
    let Extents { height, width, colour, depth, .. } = extents;
    let mut encoder = TiffEncoder::new(file)?;
    let mut image = encoder.new_image::<C>(width, height)?;
    if colour == Colour::Rgba {
        // Without that the fourth channel is something that readers may take for anything.
        image.extra_samples(&[ExtraSamples::UnassociatedAlpha])?;
    }
    let mut samples = pixels.chunks_exact(depth.bytes()).map(sample);
    loop {
        let count = image.next_strip_sample_count();
        if count == 0 {
            return image.finish();
        }
        // A strip is about a megabyte.
        let strip: Vec<C::Inner> = samples.by_ref().take(count as usize).collect();
        image.write_strip(&strip)?;
    }
}
