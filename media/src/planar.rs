//! Raw f32 in NCHW, or NCTHW of several frames: the whole batch in one file, written by seeking, so
//! that it is never in memory as a whole.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use halovae_engine::sink::{ROWS_AT_ONCE, RowsAt, Sink};
use halovae_engine::tensor::Shape;

use crate::buffer::{self, FIXED_BYTES};
use crate::disk_room;
use crate::error::about;
use crate::file_sink::FileSink;
use crate::temporary::Temporary;
use crate::unfit::Unfit;

/// Makes what precedes the values, from the shape `[N, C, H, W]` or `[N, C, T, H, W]` and the bytes of
/// the values.
pub(crate) type Header = fn(&[usize], u64) -> Vec<u8>;

/// Writes the decoder's values, not clamped.
pub(crate) struct Planar {
    path: PathBuf,
    header: Header,
    begun: Option<Begun>,
}

struct Begun {
    file: Temporary,
    shape: Shape,
    /// Where the values begin in the file.
    start: u64,
    rows_left: u64,
    plane: Vec<u8>,
}

impl Planar {
    pub(crate) fn new(path: PathBuf, header: Header) -> Self {
        Self { path, header, begun: None }
    }
}

/// Whether a file can hold the values of that shape, and in how many bytes; else why not.
pub(crate) fn check(shape: Shape) -> Result<u64, Unfit> {
    // `Shape::bytes` saturates, so what overflows is refused here as well.
    let bytes = shape.bytes();
    if bytes > i64::MAX as u64 / 2 {
        let extents: Vec<_> = channels_first(shape).iter().map(usize::to_string).collect();
        let what = format!("{} values", extents.join(" x "));
        return Err(Unfit::TooMany { what, holder: "a file" });
    }
    Ok(bytes)
}

/// Bytes that are held to write values of that shape: some rows of a channel.
pub(crate) fn bytes(shape: Shape) -> u64 {
    rows_bytes(shape).saturating_add(FIXED_BYTES)
}

/// Bytes of a channel of the rows that come together.
fn rows_bytes(shape: Shape) -> u64 {
    (4 * u64::from(ROWS_AT_ONCE)).saturating_mul(shape.width as u64)
}

/// The extents of an array of images or videos, in the order in which models have them: batch,
/// channels, frames where there are several, height, width.
pub fn channels_first(shape: Shape) -> Vec<usize> {
    let Shape { batch, frames, height, width, channels } = shape;
    match frames {
        1 => vec![batch, channels, height, width],
        _ => vec![batch, channels, frames, height, width],
    }
}

impl Sink for Planar {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        let bytes = check(shape)?;
        let header = (self.header)(&channels_first(shape), bytes);
        let create = || {
            let mut file = Temporary::create(&self.path)?;
            file.file()?.write_all(&header)?;
            let length = header.len() as u64 + bytes;
            file.file()?.set_len(length)?;
            disk_room::take(file.file()?, length)?;
            Ok(file)
        };
        let file = create().map_err(|error| about(&self.path, error))?;
        let rows_left = shape.images() as u64 * shape.height as u64;
        let start = header.len() as u64;
        let plane = buffer::reserve(rows_bytes(shape), "rows of a channel")?;
        self.begun = Some(Begun { file, shape, start, rows_left, plane });
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let begun = self.begun.as_mut().ok_or_else(|| io::Error::other("rows before begin"))?;
        begun.write_rows(at, rows).map_err(|error| about(&self.path, error))
    }
}

impl Begun {
    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let Shape { frames, height, width, channels, .. } = self.shape;
        for channel in 0..channels {
            self.plane.clear();
            let values = rows.iter().skip(channel).step_by(channels);
            self.plane.extend(values.flat_map(|value| value.to_le_bytes()));
            let frame = (at.image * channels + channel) * frames + at.frame;
            let row = frame as u64 * height as u64 + at.top as u64;
            let at = self.start + 4 * row * width as u64;
            self.file.file()?.seek(SeekFrom::Start(at))?;
            self.file.file()?.write_all(&self.plane)?;
        }
        let count = (rows.len() / (width * channels)) as u64;
        self.rows_left = self
            .rows_left
            .checked_sub(count)
            .ok_or_else(|| io::Error::other("more rows than the images have"))?;
        Ok(())
    }
}

impl FileSink for Planar {
    fn finish(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        match self.begun {
            Some(begun) if begun.rows_left == 0 => Ok(vec![begun.file]),
            _ => Err(io::Error::other("the decode ended before every frame was complete")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{npy, safetensors};

    const FRAMES: usize = 4;

    /// The shape of two images, or of two videos.
    fn shape(frames: usize) -> Shape {
        Shape::new(2, 5, 4, 3).over(frames)
    }

    /// The value at a place, so that a wrong place shows.
    fn value([n, c, t, y, x]: [usize; 5]) -> f32 {
        (n * 10000 + c * 1000 + t * 100 + y * 10 + x) as f32 - 15000.5
    }

    fn write(name: &str, header: Header, frames: usize) -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let shape = shape(frames);
        let mut sink = Box::new(Planar::new(folder.path().join(name), header));
        sink.begin(shape).unwrap();
        for (image, frame) in (0..shape.batch).flat_map(|n| (0..frames).map(move |t| (n, t))) {
            for rows in [0..2, 2..5] {
                let top = rows.start;
                let values: Vec<f32> = rows
                    .flat_map(|y| (0..shape.width).map(move |x| (y, x)))
                    .flat_map(|(y, x)| {
                        (0..shape.channels).map(move |c| value([image, c, frame, y, x]))
                    })
                    .collect();
                sink.write_rows(RowsAt { image, frame, top }, &values).unwrap();
            }
        }
        let files = Temporary::commit(sink.finish().unwrap()).unwrap();
        let bytes = std::fs::read(&files[0]).unwrap();
        (folder, bytes)
    }

    fn expected(frames: usize) -> Vec<f32> {
        let Shape { batch, height, width, channels, .. } = shape(frames);
        let mut values = Vec::new();
        for n in 0..batch {
            for c in 0..channels {
                for (t, y) in (0..frames).flat_map(|t| (0..height).map(move |y| (t, y))) {
                    values.extend((0..width).map(|x| value([n, c, t, y, x])));
                }
            }
        }
        values
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn npy_is_nchw_or_ncthw() {
        for (frames, shape) in [(1, "(2, 3, 5, 4)"), (FRAMES, "(2, 3, 4, 5, 4)")] {
            let (_folder, bytes) = write("a.npy", npy::header, frames);
            assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
            let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            assert_eq!((10 + length) % 64, 0);
            let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
            assert!(header.contains(&format!("'shape': {shape}")), "{header}");
            assert!(header.ends_with('\n'));
            assert_eq!(floats(&bytes[10 + length..]), expected(frames));
        }
    }

    #[test]
    fn safetensors_has_the_key_sample() {
        for frames in [1, FRAMES] {
            let (_folder, bytes) = write("a.safetensors", safetensors::header, frames);
            let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(file.names(), ["sample"]);
            let tensor = file.tensor("sample").unwrap();
            assert_eq!(tensor.shape(), channels_first(shape(frames)));
            assert_eq!(tensor.dtype(), ::safetensors::Dtype::F32);
            assert_eq!(floats(tensor.data()), expected(frames));
            assert_eq!((bytes.len() - tensor.data().len()) % 8, 0);
        }
    }

    /// A disk without that room would have said so.
    #[cfg(target_os = "linux")]
    #[test]
    fn room_is_taken_at_the_beginning() {
        use rustix::fs::{FallocateFlags, fallocate};
        use std::os::unix::fs::MetadataExt;
        const BYTES: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let can = tempfile::tempfile_in(folder.path()).unwrap();
        let can = fallocate(&can, FallocateFlags::empty(), 0, BYTES).is_ok();
        let mut sink = Planar::new(folder.path().join("a.npy"), npy::header);
        sink.begin(Shape::new(1, 512, 512, 1)).unwrap();
        let mut begun = sink.begun.unwrap();
        let taken = 512 * begun.file.file().unwrap().metadata().unwrap().blocks();
        assert!(!can || taken >= BYTES, "{taken}");
    }

    #[test]
    fn missing_rows_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = Box::new(Planar::new(folder.path().join("a.npy"), npy::header));
        sink.begin(Shape::new(1, 2, 2, 1)).unwrap();
        sink.write_rows(RowsAt::of_image(0, 0), &[1.0, 2.0]).unwrap();
        assert!(sink.finish().is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = Planar::new(folder.path().join("a.npy"), npy::header);
        let shape = Shape::new(usize::MAX, usize::MAX, usize::MAX, usize::MAX);
        assert_eq!(sink.begin(shape).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
