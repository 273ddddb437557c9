//! Up to 256 colours for a frame.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use color_quant::NeuQuant;

use crate::buffer;

/// How many pixels one is looked at of when colours are chosen, from 1 to 30.
const SPEED: i32 = 10;

/// The most colours.
const MOST: usize = 256;

/// Chooses the colours of frames of red, green and blue.
pub(super) struct Colours {
    /// The pixels of a frame, as the quantiser reads them: with a fourth byte.
    quads: Vec<u8>,
    /// Which colour each pixel has.
    indices: Vec<u8>,
}

/// What is held for frames of so many pixels, in bytes.
pub(super) fn bytes(pixels: u64) -> u64 {
    pixels.saturating_mul(4).saturating_add(pixels)
}

impl Colours {
    /// For frames of so many pixels.
    ///
    /// # Errors
    /// That there is no memory for them.
    pub(super) fn new(pixels: u64) -> io::Result<Self> {
        let what = "the colours of a frame";
        let quads = buffer::reserve(pixels.saturating_mul(4), what)?;
        Ok(Self { quads, indices: buffer::reserve(pixels, what)? })
    }

    /// The colours of a frame, three bytes each, and which of them each pixel has: all that there are, if
    /// they are few enough, else those that come nearest.
    pub(super) fn choose(&mut self, frame: &[u8]) -> (Vec<u8>, &[u8]) {
        let (pixels, _) = frame.as_chunks::<3>();
        self.indices.clear();
        if let Some(colours) = few(pixels) {
            let palette = colours.iter().copied().flatten().collect();
            let places: BTreeMap<[u8; 3], u8> = colours.into_iter().zip(0..=u8::MAX).collect();
            self.indices.extend(pixels.iter().map(|pixel| places[pixel]));
            return (palette, &self.indices);
        }
        self.quads.clear();
        self.quads.extend(pixels.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]));
        let chosen = NeuQuant::new(SPEED, MOST, &self.quads);
        let (quads, _) = self.quads.as_chunks::<4>();
        self.indices.extend(quads.iter().map(|quad| chosen.index_of(quad) as u8));
        (chosen.color_map_rgb(), &self.indices)
    }
}

/// All colours, in order, unless there are too many.
fn few(pixels: &[[u8; 3]]) -> Option<BTreeSet<[u8; 3]>> {
    let mut colours = BTreeSet::new();
    let is_few = pixels.iter().all(|&pixel| {
        colours.insert(pixel);
        colours.len() <= MOST
    });
    is_few.then_some(colours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colours_are_exact_and_many_are_near() {
        const PIXELS: usize = 40_000;
        let mut colours = Colours::new(PIXELS as u64).unwrap();
        let capacities = |colours: &Colours| [colours.quads.capacity(), colours.indices.capacity()];
        let before = capacities(&colours);
        for (count, most) in [(1, 0.0), (255, 0.0), (256, 0.0), (257, 8.0), (PIXELS, 8.0)] {
            // Along a line through the cube of colours.
            let place = |i: usize| i * 7919 % count;
            let pixel = |i: usize| {
                let [p, all] = [place(i), count.max(2) - 1];
                [p * 255 / all, 255 - p * 255 / all, p * 510 / all % 256].map(|level| level as u8)
            };
            let frame: Vec<u8> = (0..PIXELS).flat_map(pixel).collect();
            let (palette, indices) = colours.choose(&frame);
            assert!(palette.len() <= 3 * MOST && indices.len() == PIXELS);
            let chosen = indices.iter().flat_map(|&index| &palette[3 * usize::from(index)..][..3]);
            let off: u64 = frame.iter().zip(chosen).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
            let mean = off as f64 / frame.len() as f64;
            assert!(mean <= most, "{count} colours: {mean} levels off");
        }
        assert_eq!(capacities(&colours), before);
    }
}
