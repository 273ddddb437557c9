//! How far two backends are apart, on a decoder that is small enough to ask before every decode.

use halovae_core::Size;

use super::{SmallDecoder, relative_rms};
use crate::backend::{Backend, BackendError};

/// No multiples of tiles.
const LATENTS: Size = Size::new(9, 7);

/// How often an image of the same size is decoded: a backend that [repeats](Backend::repeat) decodes
/// may do so in another way each time up to the third.
const TIMES: u64 = 3;

/// Decodes small images with random weights on both: the relative rms of their difference. It has
/// every kind of op, is the same each time, and takes the CPU some hundredths of a second an image.
///
/// # Errors
/// What a backend says.
pub fn deviation(reference: &impl Backend, tested: &impl Backend) -> Result<f64, BackendError> {
    let [expected, got] = [pixels(reference)?, pixels(tested)?];
    Ok(relative_rms(&got, &expected))
}

/// All pixels of the images; the decoder is wide enough that kernels for many channels run, and those for
/// few.
fn pixels<B: Backend>(backend: &B) -> Result<Vec<f32>, BackendError> {
    let decoder = SmallDecoder::new(&[128, 160], 32, 4, LATENTS);
    let (program, weights) = decoder.prepare(backend)?;
    let mut pixels = Vec::new();
    for seed in 0..TIMES {
        pixels.extend(decoder.decode_with(backend, (&program, &weights), seed)?.into_data());
    }
    Ok(pixels)
}
