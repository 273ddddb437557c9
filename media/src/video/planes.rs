//! From the decoder's values to the frames of a video file: luma, and chroma at half the resolution.
//!
//! BT.709, limited range, 8 to 16 bits; samples of more than 8 bits are two bytes in little endian.

use std::io;

use halovae_engine::tensor::Shape;

use crate::buffer;

/// The weights of red, green and blue in luma.
const LUMA: [f32; 3] = [0.2126, 0.7152, 0.0722];
/// Levels of luma and chroma at 8 bits, and where those of luma begin and those of chroma have their
/// middle. Each bit more doubles them.
const LUMA_LEVELS: f32 = 219.0;
const LUMA_BLACK: f32 = 16.0;
const CHROMA_LEVELS: f32 = 224.0;
const CHROMA_MIDDLE: f32 = 128.0;

/// How the planes of a frame are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    /// Bits of a sample, 8 to 16.
    pub(crate) bits: u8,
    pub(crate) siting: Siting,
    /// Whether a gray frame has chroma too, of the middle level, for encoders without gray.
    pub(crate) fills_gray: bool,
}

/// Where a sample of chroma stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Siting {
    /// In the middle of four pixels: it is their mean; at odd sides, of those that there are.
    Centre,
    /// Between two pixels of the even column, where decoders take it to be if nothing else is said. It
    /// is the mean of six pixels, of which those of the even column weigh twice.
    Left,
}

impl Samples {
    /// Bytes of a sample.
    fn bytes(self) -> usize {
        if self.bits > 8 { 2 } else { 1 }
    }

    /// How much larger than at 8 bits the levels are.
    fn factor(self) -> f32 {
        (1u32 << (self.bits - 8)) as f32
    }

    fn has_chroma(self, channels: usize) -> bool {
        channels == 3 || self.fills_gray
    }

    /// Bytes of the planes of a frame, if they can be counted.
    pub(crate) fn frame_bytes(self, shape: Shape) -> Option<u64> {
        let samples = |height: usize, width: usize| (height as u64).checked_mul(width as u64);
        let luma = samples(shape.height, shape.width)?;
        let chroma = match self.has_chroma(shape.channels) {
            true => samples(shape.height.div_ceil(2), shape.width.div_ceil(2))?.checked_mul(2)?,
            false => 0,
        };
        luma.checked_add(chroma)?.checked_mul(self.bytes() as u64)
    }
}

/// The planes of a frame, which come row by row.
#[derive(Debug)]
pub(crate) struct Planes {
    samples: Samples,
    height: usize,
    width: usize,
    channels: usize,
    /// Luma, and both planes of chroma if there are any.
    bytes: Vec<u8>,
    rows: usize,
    /// Weighted sums of chroma over the pixels that share a sample, along a row of samples.
    sums: Vec<[f32; 2]>,
}

impl Planes {
    /// Those of a gray (1 channel) or coloured (3 channels) frame of that shape.
    ///
    /// # Errors
    /// That there is no memory for them.
    pub(crate) fn new(shape: Shape, samples: Samples) -> io::Result<Self> {
        let Shape { height, width, channels, .. } = shape;
        let columns = if samples.has_chroma(channels) { width.div_ceil(2) } else { 0 };
        let len = height * width + 2 * height.div_ceil(2) * columns;
        let sums = vec![[0.0; 2]; columns];
        let mut bytes = buffer::reserve((len * samples.bytes()) as u64, "the planes of a frame")?;
        // Within what is reserved.
        bytes.resize(len * samples.bytes(), 0);
        if channels != 3 {
            let middle = level(CHROMA_MIDDLE * samples.factor());
            for at in height * width..len {
                put(&mut bytes, at, middle, samples);
            }
        }
        Ok(Self { samples, height, width, channels, bytes, rows: 0, sums })
    }

    /// Takes rows from top to bottom. Returns the frame when it is complete; the next rows are the
    /// next frame's. `None` within the result if there were more rows than it has.
    pub(crate) fn push(&mut self, rows: &[f32]) -> Option<Option<&[u8]>> {
        let row_values = self.width * self.channels;
        if rows.len() > (self.height - self.rows) * row_values {
            return None;
        }
        for row in rows.chunks_exact(row_values) {
            self.push_row(row);
        }
        if self.rows < self.height {
            return Some(None);
        }
        self.rows = 0;
        Some(Some(&self.bytes))
    }

    fn push_row(&mut self, row: &[f32]) {
        let Self { samples, width, .. } = *self;
        let (first, factor) = (self.rows * width, samples.factor());
        let mut put_luma = |x: usize, y: f32| {
            let luma = level((LUMA_BLACK + LUMA_LEVELS * y) * factor);
            put(&mut self.bytes, first + x, luma, samples);
        };
        self.rows += 1;
        if self.channels != 3 {
            row.iter().enumerate().for_each(|(x, &value)| put_luma(x, unit(value)));
            return;
        }
        let (pixels, _) = row.as_chunks::<3>();
        for (x, pixel) in pixels.iter().enumerate() {
            let [red, green, blue] = pixel.map(unit);
            let y = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue;
            put_luma(x, y);
            let chroma =
                [(blue - y) / (2.0 * (1.0 - LUMA[2])), (red - y) / (2.0 * (1.0 - LUMA[0]))];
            let mut add = |column: usize, weight: f32| {
                // Behind the last column there is none that an odd pixel could be left of.
                if let Some(sums) = self.sums.get_mut(column) {
                    sums.iter_mut().zip(chroma).for_each(|(sum, chroma)| *sum += weight * chroma);
                }
            };
            match (samples.siting, x % 2) {
                (Siting::Centre, _) => add(x / 2, 1.0),
                (Siting::Left, 0) => add(x / 2, 2.0),
                (Siting::Left, _) => {
                    add(x / 2, 1.0);
                    add(x / 2 + 1, 1.0);
                }
            }
        }
        if self.rows.is_multiple_of(2) || self.rows == self.height {
            self.end_chroma_row();
        }
    }

    /// The weights of all pixels of a row that share the sample of a column.
    fn weight(&self, column: usize) -> usize {
        let right = usize::from(2 * column + 1 < self.width);
        match self.samples.siting {
            Siting::Centre => 1 + right,
            Siting::Left => 2 + right + usize::from(column > 0),
        }
    }

    /// Writes the row of chroma that is complete, and begins the next.
    fn end_chroma_row(&mut self) {
        let (samples, factor) = (self.samples, self.samples.factor());
        let rows = if self.rows.is_multiple_of(2) { 2 } else { 1 };
        let columns = self.sums.len();
        let plane = self.height.div_ceil(2) * columns;
        let first = self.height * self.width + (self.rows.div_ceil(2) - 1) * columns;
        for x in 0..columns {
            let weight = (rows * self.weight(x)) as f32;
            let sums = std::mem::take(&mut self.sums[x]);
            for (sum, at) in sums.into_iter().zip([first + x, first + plane + x]) {
                let chroma = level((CHROMA_MIDDLE + CHROMA_LEVELS * sum / weight) * factor);
                put(&mut self.bytes, at, chroma, samples);
            }
        }
    }
}

/// Writes the sample of that index.
fn put(bytes: &mut [u8], index: usize, level: u16, samples: Samples) {
    let [low, high] = level.to_le_bytes();
    if samples.bits > 8 {
        bytes[2 * index..][..2].copy_from_slice(&[low, high]);
    } else {
        bytes[index] = low;
    }
}

/// `x` in -1..1 in 0..=1.
fn unit(x: f32) -> f32 {
    (x * 0.5 + 0.5).clamp(0.0, 1.0)
}

/// The nearest level; the limited range keeps within those of its bits.
fn level(x: f32) -> u16 {
    x.round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: Samples = Samples { bits: 8, siting: Siting::Centre, fills_gray: false };

    /// A frame of one colour, as bytes in 0..=255.
    fn flat(height: usize, width: usize, colour: [f32; 3]) -> Vec<u8> {
        let values = colour.map(|level| level / 255.0 * 2.0 - 1.0);
        let rows: Vec<f32> = values.iter().copied().cycle().take(height * width * 3).collect();
        let mut planes = Planes::new(Shape::new(1, height, width, 3), EIGHT).unwrap();
        planes.push(&rows).unwrap().unwrap().to_vec()
    }

    #[test]
    fn colours_are_bt709_in_limited_range() {
        // ITU-R BT.709, by its own table for 8 bits.
        for (colour, expected) in [
            ([0.0, 0.0, 0.0], [16, 128, 128]),
            ([255.0, 255.0, 255.0], [235, 128, 128]),
            ([255.0, 0.0, 0.0], [63, 102, 240]),
            ([0.0, 255.0, 0.0], [173, 42, 26]),
            ([0.0, 0.0, 255.0], [32, 240, 118]),
        ] {
            assert_eq!(flat(1, 1, colour), expected, "{colour:?}");
            let [y, cb, cr] = expected;
            let even = [[y; 8].as_slice(), &[cb; 2], &[cr; 2]].concat();
            assert_eq!(flat(2, 4, colour), even, "{colour:?}");
            // Odd sides have as many samples of chroma as pixels of the next even ones, of the same
            // colour.
            let odd = [[y; 15].as_slice(), &[cb; 6], &[cr; 6]].concat();
            assert_eq!(flat(3, 5, colour), odd, "{colour:?}");
        }
    }

    #[test]
    fn values_beyond_the_range_are_cut_off() {
        let mut planes = Planes::new(Shape::new(1, 1, 4, 1), EIGHT).unwrap();
        let row = [-7.0, 7.0, f32::NEG_INFINITY, f32::INFINITY];
        assert_eq!(planes.push(&row), Some(Some([16, 235, 16, 235].as_slice())));
    }

    #[test]
    fn rows_come_in_any_portions() {
        let shape = Shape::new(1, 7, 5, 3);
        let values: Vec<f32> = (0..7 * 15).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let whole = Planes::new(shape, EIGHT).unwrap().push(&values).unwrap().unwrap().to_vec();
        let mut planes = Planes::new(shape, EIGHT).unwrap();
        for _ in 0..2 {
            for (from, to) in [(0, 1), (1, 2), (2, 5)] {
                assert_eq!(planes.push(&values[from * 15..to * 15]), Some(None));
            }
            assert_eq!(planes.push(&values[5 * 15..]), Some(Some(whole.as_slice())));
        }
        assert_eq!(planes.push(&values[..15]), Some(None));
        assert_eq!(planes.push(&values), None);
    }

    /// Every sample, from its definition: a weight for each pixel of the frame.
    fn by_definition(values: &[f32], [h, w, c]: [usize; 3], samples: Samples) -> Vec<f64> {
        let scale = f64::from(1u32 << (samples.bits - 8));
        let unit = |at: usize| (f64::from(values[at]) / 2.0 + 0.5).clamp(0.0, 1.0);
        let pixel = |y: usize, x: usize| [0, 1, 2].map(|n| unit((y * w + x) * c + n.min(c - 1)));
        let luma = |[r, g, b]: [f64; 3]| 0.2126 * r + 0.7152 * g + 0.0722 * b;
        let places = (0..h).flat_map(|y| (0..w).map(move |x| (y, x)));
        let mut planes: Vec<f64> =
            places.clone().map(|(y, x)| (16.0 + 219.0 * luma(pixel(y, x))) * scale).collect();
        if c == 1 && !samples.fills_gray {
            return planes;
        }
        for (channel, divisor) in [(2, 1.8556), (0, 1.5748)] {
            for (row, column) in
                (0..h.div_ceil(2)).flat_map(|row| (0..w.div_ceil(2)).map(move |x| (row, x)))
            {
                let weight = |y: usize, x: usize| {
                    let distance = x as f64 - 2.0 * column as f64;
                    let along = match samples.siting {
                        Siting::Centre => f64::from(distance == 0.0 || distance == 1.0),
                        Siting::Left => (2.0 - distance.abs()).max(0.0),
                    };
                    f64::from(y / 2 == row) * along
                };
                let (mut sum, mut total) = (0.0, 0.0);
                for (y, x) in places.clone() {
                    let pixel = pixel(y, x);
                    sum += weight(y, x) * (pixel[channel] - luma(pixel)) / divisor;
                    total += weight(y, x);
                }
                planes.push((128.0 + 224.0 * sum / total) * scale);
            }
        }
        planes
    }

    proptest::proptest! {
        #[test]
        fn samples_are_as_defined(
            height in 1usize..6,
            width in 1usize..8,
            channels in proptest::sample::select(vec![1usize, 3]),
            bits in 8u8..=16,
            is_left: bool,
            fills_gray: bool,
            seed in proptest::collection::vec(-1.2f32..1.2, 6 * 8 * 3),
        ) {
            let siting = if is_left { Siting::Left } else { Siting::Centre };
            let samples = Samples { bits, siting, fills_gray };
            let shape = Shape::new(1, height, width, channels);
            let values = &seed[..shape.frame_len()];
            let mut planes = Planes::new(shape, samples).unwrap();
            // A frame before it leaves nothing behind.
            planes.push(&vec![0.7; values.len()]).unwrap().unwrap();
            let bytes = planes.push(values).unwrap().unwrap();
            proptest::prop_assert_eq!(Some(bytes.len() as u64), samples.frame_bytes(shape));
            let levels: Vec<u16> = match bits {
                8 => bytes.iter().map(|&byte| byte.into()).collect(),
                _ => bytes.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect(),
            };
            let expected = by_definition(values, [height, width, channels], samples);
            proptest::prop_assert_eq!(levels.len(), expected.len());
            for (level, expected) in levels.into_iter().zip(expected) {
                proptest::prop_assert!((f64::from(level) - expected).abs() < 0.55);
            }
        }
    }
}
