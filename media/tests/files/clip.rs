//! Frames of a photograph that is panned over, and what comes back of them.

use halovae_engine::sink::RowsAt;
use halovae_engine::tensor::Shape;
use halovae_media::{FrameRate, Options, OutputFile, Temporary};
use std::path::{Path, PathBuf};

/// A batch of videos: of each frame the pixels, 16 bits a channel.
pub(crate) struct Clip {
    pub(crate) shape: Shape,
    levels: Vec<u16>,
}

impl Clip {
    /// Pans over a photograph by two pixels a frame; other videos begin elsewhere.
    pub(crate) fn new(shape: Shape) -> Self {
        let photograph = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/images/chelsea.png");
        let photograph = image::open(photograph).expect("a photograph").to_rgb16();
        let Shape { batch, frames, height, width, channels } = shape;
        let mut levels = Vec::new();
        for (video, frame) in (0..batch).flat_map(|video| (0..frames).map(move |t| (video, t))) {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let place = |at: usize, extent: u32| (at % extent as usize) as u32;
                let x = place(x + 2 * frame + 31 * video, photograph.width());
                let pixel = photograph.get_pixel(x, place(y + frame, photograph.height())).0;
                match channels {
                    1 => levels.push(pixel[1]),
                    // Alpha that is like no colour.
                    4 => levels.extend([pixel[0], pixel[1], pixel[2], !pixel[0] / 2]),
                    _ => levels.extend(pixel),
                }
            }
        }
        Self { shape, levels }
    }

    /// The worst there is to encode: noise in every channel.
    #[cfg(feature = "mp4")]
    pub(crate) fn noise(shape: Shape) -> Self {
        let mut state = 1u64;
        let next = move |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            if state >> 63 == 0 { u16::MIN } else { u16::MAX }
        };
        let len = shape.elements().expect("a small clip");
        Self { shape, levels: (0..len).map(next).collect() }
    }

    /// Writes it as a decode does, and gives the files.
    pub(crate) fn write(&self, path: &Path, options: Options) -> Result<Vec<PathBuf>, String> {
        // As the command line tells it.
        let told = |error: &dyn std::fmt::Display| format!("{error:#}");
        let output = OutputFile::check(Some(path), options).map_err(|error| told(&error))?;
        let names = output.files(self.shape).map_err(|error| told(&error))?;
        output.probe(self.shape, FrameRate::DEFAULT).map_err(|error| told(&error))?;
        let mut sink = output.sink(FrameRate::DEFAULT);
        let written = || {
            sink.begin(self.shape)?;
            let Shape { frames, width, channels, .. } = self.shape;
            let to_value = |&level: &u16| f32::from(level) / 65535.0 * 2.0 - 1.0;
            for (number, frame) in self.levels.chunks(self.shape.frame_len()).enumerate() {
                let (image, frame_number) = (number / frames, number % frames);
                let values: Vec<f32> = frame.iter().map(to_value).collect();
                // In portions that end nowhere in particular.
                for (part, rows) in values.chunks(7 * width * channels).enumerate() {
                    let at = RowsAt { image, frame: frame_number, top: 7 * part };
                    sink.write_rows(at, rows)?;
                }
            }
            Ok(())
        };
        let mut written = written;
        written().map_err(|error: std::io::Error| told(&error))?;
        let files = sink.finish().and_then(Temporary::commit).map_err(|error| told(&error))?;
        assert_eq!(files, names);
        Ok(files)
    }

    /// The pixels of a video as bytes, padded to `width` x `height` by its edges.
    pub(crate) fn bytes(&self, video: usize, [height, width]: [usize; 2]) -> Vec<u8> {
        let words = self.words(video, [height, width]);
        words.into_iter().map(|level| (f64::from(level) / 257.0).round() as u8).collect()
    }

    /// The same, as words.
    pub(crate) fn words(&self, video: usize, [height, width]: [usize; 2]) -> Vec<u16> {
        let Shape { frames, channels, .. } = self.shape;
        let mut words = Vec::new();
        for frame in 0..frames {
            let start = (video * frames + frame) * self.shape.frame_len();
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let (y, x) = (y.min(self.shape.height - 1), x.min(self.shape.width - 1));
                let at = start + (y * self.shape.width + x) * channels;
                words.extend(&self.levels[at..at + channels]);
            }
        }
        words
    }
}

/// The ratio of the largest level's square to the mean square of differences, in dB.
#[track_caller]
pub(crate) fn psnr(got: &[u8], expected: &[u8]) -> f64 {
    let differences = got.iter().zip(expected).map(|(&a, &b)| f64::from(a.abs_diff(b)));
    ratio(differences, [got.len(), expected.len()], 255.0)
}

/// The same of 16 bits.
#[track_caller]
pub(crate) fn psnr_of_words(got: &[u16], expected: &[u16]) -> f64 {
    let differences = got.iter().zip(expected).map(|(&a, &b)| f64::from(a.abs_diff(b)));
    ratio(differences, [got.len(), expected.len()], 65535.0)
}

#[track_caller]
fn ratio(differences: impl Iterator<Item = f64>, [got, expected]: [usize; 2], most: f64) -> f64 {
    assert_eq!(got, expected);
    let squares: f64 = differences.map(|difference| difference * difference).sum();
    10.0 * (most * most * got as f64 / squares).log10()
}
