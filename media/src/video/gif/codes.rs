//! The pixels of a frame as codes of LZW.

use std::io;

use weezl::encode::Encoder;
use weezl::{BitOrder, LzwStatus};

use crate::buffer;

/// The most bits of a code, and of the pixels that it begins with at the least.
const MOST_BITS: u64 = 12;
const LEAST_SIZE: u8 = 2;

/// Encodes frames, one after the other.
pub(super) struct Codes {
    bytes: Vec<u8>,
    /// With its size of codes.
    encoder: Option<(u8, Encoder)>,
}

/// What is held for frames of so many pixels, in bytes: a code has a pixel at least, and the table is
/// begun again when it is full.
pub(super) fn bytes(pixels: u64) -> u64 {
    let full = (1 << MOST_BITS) - 258;
    let codes = pixels.saturating_add(pixels / full).saturating_add(8);
    codes.saturating_mul(MOST_BITS).div_ceil(8).saturating_add(1)
}

impl Codes {
    /// For frames of so many pixels.
    ///
    /// # Errors
    /// That there is no memory for them.
    pub(super) fn new(pixels: u64) -> io::Result<Self> {
        let mut room = buffer::reserve(bytes(pixels), "the codes of a frame")?;
        // Within what is reserved.
        room.resize(room.capacity(), 0);
        Ok(Self { bytes: room, encoder: None })
    }

    /// The pixels, each of them the number of one of `colours`, as a frame of a GIF has them: behind a byte
    /// that tells the size of the first codes.
    ///
    /// # Errors
    /// That a pixel has a higher number, or that there are more pixels than was said.
    pub(super) fn encode(&mut self, indices: &[u8], colours: usize) -> io::Result<&[u8]> {
        let size = colours.max(1).next_power_of_two().trailing_zeros() as u8;
        let size = size.max(LEAST_SIZE);
        match &mut self.encoder {
            Some((known, encoder)) if *known == size => encoder.reset(),
            other => *other = Some((size, Encoder::new(BitOrder::Lsb, size))),
        }
        let Some((_, encoder)) = &mut self.encoder else { unreachable!("set above") };
        let [first, codes @ ..] = &mut self.bytes[..] else { return Err(too_long()) };
        *first = size;
        let (mut read, mut written) = (0, 0);
        loop {
            if read == indices.len() {
                encoder.finish();
            }
            let step = encoder.encode_bytes(&indices[read..], &mut codes[written..]);
            read += step.consumed_in;
            written += step.consumed_out;
            match step.status {
                Ok(LzwStatus::Done) => return Ok(&self.bytes[..=written]),
                Ok(_) if step.consumed_in + step.consumed_out > 0 => {}
                Ok(_) if read == indices.len() && written < codes.len() => {}
                Ok(_) => return Err(too_long()),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

fn too_long() -> io::Error {
    io::Error::other("more pixels than the frame has")
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever the pixels are, their codes fit, and a reader gets them back.
        #[test]
        fn pixels_come_back(
            seed: u64,
            pixels in 1usize..30_000,
            bits in 0u32..=8,
            frames in 1usize..3,
        ) {
            let mut codes = Codes::new(pixels as u64).unwrap();
            let mut state = seed | 1;
            for _ in 0..frames {
                let next = |_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 56) as u8 & ((1u32 << bits) - 1) as u8
                };
                let indices: Vec<u8> = (0..pixels).map(next).collect();
                let encoded = codes.encode(&indices, 1 << bits).unwrap();
                let mut decoder = weezl::decode::Decoder::new(BitOrder::Lsb, encoded[0]);
                proptest::prop_assert_eq!(decoder.decode(&encoded[1..]).unwrap(), indices);
            }
        }
    }

    #[test]
    fn what_was_not_announced_is_an_error() {
        let mut codes = Codes::new(10).unwrap();
        let noise: Vec<u8> = (0..=255).collect();
        assert!(codes.encode(&noise, 256).is_err());
        assert!(codes.encode(&[4], 4).is_err());
        assert!(codes.encode(&[3; 10], 4).is_ok());
    }
}
