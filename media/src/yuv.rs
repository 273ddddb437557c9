//! From the decoder's values to the frames of a video file: luma, and chroma at half the resolution.
//!
//! BT.709, limited range, 8 bits. A chroma sample stands in the middle of four pixels and is their
//! mean; at odd sides, of those that there are.

use halovae_engine::tensor::Shape;

/// The weights of red, green and blue in luma.
const LUMA: [f32; 3] = [0.2126, 0.7152, 0.0722];
/// Levels of luma and chroma, and where those of luma begin and those of chroma have their middle.
const LUMA_LEVELS: f32 = 219.0;
const LUMA_BLACK: f32 = 16.0;
const CHROMA_LEVELS: f32 = 224.0;
const CHROMA_MIDDLE: f32 = 128.0;

/// The planes of a frame, which come row by row.
#[derive(Debug)]
pub(crate) struct Planes {
    height: usize,
    width: usize,
    channels: usize,
    /// Luma, and both planes of chroma if there is colour.
    bytes: Vec<u8>,
    rows: usize,
    /// Sums of chroma over the rows and columns that share a sample, along a row of samples.
    sums: Vec<[f32; 2]>,
}

impl Planes {
    /// Those of a gray (1 channel) or coloured (3 channels) frame.
    pub(crate) fn new(shape: Shape) -> Self {
        let Shape { height, width, channels, .. } = shape;
        let chroma = if channels == 3 { width.div_ceil(2) } else { 0 };
        let len = height * width + 2 * height.div_ceil(2) * chroma;
        Self { height, width, channels, bytes: vec![0; len], rows: 0, sums: vec![[0.0; 2]; chroma] }
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
        let luma = &mut self.bytes[self.rows * self.width..][..self.width];
        self.rows += 1;
        if self.channels != 3 {
            for (luma, &value) in luma.iter_mut().zip(row) {
                *luma = level(LUMA_BLACK + LUMA_LEVELS * unit(value));
            }
            return;
        }
        let (pixels, _) = row.as_chunks::<3>();
        for (x, (luma, pixel)) in luma.iter_mut().zip(pixels).enumerate() {
            let [red, green, blue] = pixel.map(unit);
            let y = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue;
            *luma = level(LUMA_BLACK + LUMA_LEVELS * y);
            let [cb, cr] = &mut self.sums[x / 2];
            *cb += (blue - y) / (2.0 * (1.0 - LUMA[2]));
            *cr += (red - y) / (2.0 * (1.0 - LUMA[0]));
        }
        if self.rows.is_multiple_of(2) || self.rows == self.height {
            self.end_chroma_row();
        }
    }

    /// Writes the row of chroma that is complete, and begins the next.
    fn end_chroma_row(&mut self) {
        let rows = if self.rows.is_multiple_of(2) { 2 } else { 1 };
        let columns = self.sums.len();
        let row = self.rows.div_ceil(2) - 1;
        let (cb, cr) =
            self.bytes[self.height * self.width..].split_at_mut(self.height.div_ceil(2) * columns);
        let samples = cb[row * columns..].iter_mut().zip(&mut cr[row * columns..]);
        for (x, ((cb, cr), sum)) in samples.zip(&mut self.sums).enumerate() {
            let pixels = rows * (self.width - 2 * x).min(2);
            let [blue, red] = std::mem::take(sum).map(|sum| sum / pixels as f32);
            *cb = level(CHROMA_MIDDLE + CHROMA_LEVELS * blue);
            *cr = level(CHROMA_MIDDLE + CHROMA_LEVELS * red);
        }
    }
}

/// `x` in -1..1 in 0..=1.
fn unit(x: f32) -> f32 {
    (x * 0.5 + 0.5).clamp(0.0, 1.0)
}

/// The nearest of 256 levels; `as` keeps within them.
fn level(x: f32) -> u8 {
    x.round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one colour, as bytes in 0..=255.
    fn flat(height: usize, width: usize, colour: [f32; 3]) -> Vec<u8> {
        let values = colour.map(|level| level / 255.0 * 2.0 - 1.0);
        let rows: Vec<f32> = values.iter().copied().cycle().take(height * width * 3).collect();
        let mut planes = Planes::new(Shape::new(1, height, width, 3));
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
        let mut planes = Planes::new(Shape::new(1, 1, 4, 1));
        let row = [-7.0, 7.0, f32::NEG_INFINITY, f32::INFINITY];
        assert_eq!(planes.push(&row), Some(Some([16, 235, 16, 235].as_slice())));
    }

    #[test]
    fn rows_come_in_any_portions() {
        let shape = Shape::new(1, 7, 5, 3);
        let values: Vec<f32> = (0..7 * 15).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let whole = Planes::new(shape).push(&values).unwrap().unwrap().to_vec();
        let mut planes = Planes::new(shape);
        for _ in 0..2 {
            for (from, to) in [(0, 1), (1, 2), (2, 5)] {
                assert_eq!(planes.push(&values[from * 15..to * 15]), Some(None));
            }
            assert_eq!(planes.push(&values[5 * 15..]), Some(Some(whole.as_slice())));
        }
        assert_eq!(planes.push(&values[..15]), Some(None));
        assert_eq!(planes.push(&values), None);
    }
}
