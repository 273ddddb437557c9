//! YUV4MPEG2: frames one behind the other, uncompressed, as encoders and players read them from a
//! file or a pipe.
//!
//! BT.709, limited range, chroma at half the resolution ([`super::planes`]): the format that every
//! encoder takes and every player plays, at half the bytes of full chroma. 8 bits, or 16 for readers that
//! are as ffmpeg, which has given `C420p16` and `Cmono16` their meaning: little endian, chroma where
//! decoders take it to be if nothing else is said.

use std::io::{self, Write};

use halovae_engine::sink::{RowsAt, Sink};
use halovae_engine::tensor::Shape;

use super::check_colours;
use super::planes::{Planes, Samples, Siting};
use crate::buffer::FIXED_BYTES;
use crate::disk_room;
use crate::error::about;
use crate::file_sink::FileSink;
use crate::frame_rate::FrameRate;
use crate::names::Names;
use crate::pixel::Depth;
use crate::temporary::Stages;
use crate::temporary::Temporary;
use crate::unfit::Unfit;

/// What every frame begins with.
const FRAME: &[u8] = b"FRAME\n";

/// Writes each video of a batch to a file, or the only one to standard output.
pub(crate) struct Y4m {
    /// Without names it goes to standard output.
    names: Option<Names>,
    rate: FrameRate,
    depth: Depth,
    begun: Option<Begun>,
}

struct Begun {
    shape: Shape,
    header: Vec<u8>,
    /// Bytes of a file.
    length: u64,
    planes: Planes,
    current: Option<Current>,
    videos_left: usize,
    complete: Vec<Temporary>,
    stages: Stages,
}

struct Current {
    to: To,
    frames_left: usize,
}

enum To {
    Stdout,
    File(Temporary),
}

impl Y4m {
    pub(crate) fn new(names: Option<Names>, rate: FrameRate, depth: Depth) -> Self {
        Self { names, rate, depth, begun: None }
    }

    /// An error with where it was to be written in front.
    fn about(&self, image: usize, images: usize, error: io::Error) -> io::Error {
        match &self.names {
            Some(names) => about(&names.get(image, images, 0), error),
            None => {
                let message = format!("cannot write to standard output: {error}");
                io::Error::new(error.kind(), message)
            }
        }
    }
}

/// Whether a file can hold a video of that shape, and in how many bytes behind its header; else why
/// not.
pub(crate) fn check(shape: Shape, depth: Depth) -> Result<u64, Unfit> {
    let Shape { frames, height, width, .. } = shape;
    check_colours(shape, ".y4m")?;
    let bytes = samples(depth)
        .frame_bytes(shape)
        .and_then(|planes| planes.checked_add(FRAME.len() as u64))
        .and_then(|frame| frame.checked_mul(frames as u64))
        .filter(|&bytes| bytes <= i64::MAX as u64 / 2);
    bytes.ok_or_else(|| Unfit::TooMany {
        what: format!("{frames} frames of {height} x {width} pixels"),
        holder: "a file",
    })
}

/// Bytes that are held to write a video of that shape.
pub(crate) fn bytes(shape: Shape, depth: Depth) -> u64 {
    samples(depth).frame_bytes(shape).unwrap_or(u64::MAX).saturating_add(FIXED_BYTES)
}

/// How planes are made for it.
fn samples(depth: Depth) -> Samples {
    let (bits, siting) = match depth {
        Depth::Eight => (8, Siting::Centre),
        Depth::Sixteen => (16, Siting::Left),
    };
    Samples { bits, siting, fills_gray: false }
}

/// The line that a file begins with.
fn header(shape: Shape, rate: FrameRate, depth: Depth) -> Vec<u8> {
    let Shape { height, width, channels, .. } = shape;
    let colours = match (channels, depth) {
        (1, Depth::Eight) => "mono",
        (1, Depth::Sixteen) => "mono16",
        (_, Depth::Eight) => "420jpeg",
        (_, Depth::Sixteen) => "420p16",
    };
    let ratio = rate.ratio();
    format!("YUV4MPEG2 W{width} H{height} F{ratio} Ip A1:1 C{colours} XCOLORRANGE=LIMITED\n").into()
}

impl Sink for Y4m {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        let bytes = check(shape, self.depth)?;
        let header = header(shape, self.rate, self.depth);
        let length = header.len() as u64 + bytes;
        let planes = Planes::new(shape, samples(self.depth));
        let planes = planes.map_err(|error| self.about(0, shape.batch, error))?;
        let mut begun = Begun {
            shape,
            header,
            length,
            planes,
            current: None,
            videos_left: shape.batch,
            complete: Vec::new(),
            stages: Stages::default(),
        };
        // Whether there is room for a video shows now, and not when some of it has been decoded.
        let first = begun.next(self.names.as_ref(), 0);
        begun.current = Some(first.map_err(|error| self.about(0, shape.batch, error))?);
        self.begun = Some(begun);
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let mut begun = self.begun.take().ok_or_else(|| io::Error::other("rows before begin"))?;
        let written = begun.write_rows(self.names.as_ref(), at.image, rows);
        let images = begun.shape.batch;
        self.begun = Some(begun);
        written.map_err(|error| self.about(at.image, images, error))
    }
}

impl Begun {
    /// Begins the next video.
    fn next(&mut self, names: Option<&Names>, image: usize) -> io::Result<Current> {
        let images = self.shape.batch;
        let mut to = match names.map(|names| names.get(image, images, 0)) {
            None => To::Stdout,
            Some(path) if images == 1 => To::File(Temporary::create(&path)?),
            Some(path) => To::File(Temporary::create_in(&mut self.stages, &path)?),
        };
        if let To::File(file) = &mut to {
            disk_room::take(file.file()?, self.length)?;
        }
        to.write(&[&self.header])?;
        Ok(Current { to, frames_left: self.shape.frames })
    }

    fn write_rows(&mut self, names: Option<&Names>, image: usize, rows: &[f32]) -> io::Result<()> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None if self.videos_left > 0 => self.next(names, image)?,
            None => return Err(io::Error::other("more videos than the batch has")),
        };
        let frame = self.planes.push(rows);
        let frame = frame.ok_or_else(|| io::Error::other("more rows than the frame has"))?;
        if let Some(planes) = frame {
            current.to.write(&[FRAME, planes])?;
            current.frames_left -= 1;
        }
        match current {
            Current { to, frames_left: 0 } => {
                self.complete.extend(to.finish());
                self.videos_left -= 1;
            }
            unfinished => self.current = Some(unfinished),
        }
        Ok(())
    }
}

impl To {
    /// Writes all parts; a reader of standard output has them then.
    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        match self {
            Self::File(file) => {
                let file = file.file()?;
                parts.iter().try_for_each(|part| file.write_all(part))
            }
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                parts.iter().try_for_each(|part| stdout.write_all(part))?;
                stdout.flush()
            }
        }
    }

    /// The file, if it is one.
    fn finish(self) -> Option<Temporary> {
        match self {
            Self::Stdout => None,
            Self::File(mut file) => {
                file.close();
                Some(file)
            }
        }
    }
}

impl FileSink for Y4m {
    fn finish(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        match self.begun {
            Some(begun) if begun.videos_left == 0 => Ok(begun.complete),
            _ => Err(io::Error::other("the decode ended before every frame was complete")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const RATE: &str = "30000/1001";

    fn sink(path: &Path) -> Box<Y4m> {
        sink_of(path, Depth::Eight)
    }

    fn sink_of(path: &Path, depth: Depth) -> Box<Y4m> {
        Box::new(Y4m::new(Some(Names::of_videos(path)), RATE.parse().unwrap(), depth))
    }

    /// Rows of a frame that is like no other.
    fn rows(shape: Shape, image: usize, frame: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 31 + image * 57 + frame * 11) % 101) as f32 / 50.0 - 1.0;
        (0..shape.frame_len()).map(value).collect()
    }

    #[test]
    fn videos_are_written_frame_by_frame() {
        for (channels, colours, depth) in [
            (1, "mono", Depth::Eight),
            (3, "420jpeg", Depth::Eight),
            (1, "mono16", Depth::Sixteen),
            (3, "420p16", Depth::Sixteen),
        ] {
            for videos in [1, 2] {
                let folder = tempfile::tempdir().unwrap();
                let shape = Shape::new(videos, 5, 7, channels).over(3);
                let mut sink = sink_of(&folder.path().join("a.y4m"), depth);
                sink.begin(shape).unwrap();
                for (image, frame) in (0..videos).flat_map(|v| (0..3).map(move |t| (v, t))) {
                    let rows = rows(shape, image, frame);
                    let (upper, lower) = rows.split_at(2 * 7 * channels);
                    for (top, rows) in [(0, upper), (2, lower)] {
                        sink.write_rows(RowsAt { image, frame, top }, rows).unwrap();
                    }
                }
                let files = Temporary::commit(sink.finish().unwrap()).unwrap();
                assert_eq!(files.len(), videos);
                for (image, file) in files.iter().enumerate() {
                    let mut expected = format!(
                        "YUV4MPEG2 W7 H5 F30000:1001 Ip A1:1 C{colours} XCOLORRANGE=LIMITED\n"
                    )
                    .into_bytes();
                    for frame in 0..3 {
                        let mut planes = Planes::new(shape, samples(depth)).unwrap();
                        expected.extend(FRAME);
                        expected.extend(planes.push(&rows(shape, image, frame)).unwrap().unwrap());
                    }
                    assert!(std::fs::read(file).unwrap() == expected, "{file:?}");
                    let header = expected.iter().position(|&byte| byte == b'\n').unwrap() + 1;
                    assert_eq!(check(shape, depth), Ok((expected.len() - header) as u64));
                }
            }
        }
    }

    #[test]
    fn missing_frames_leave_no_file() {
        for videos in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let shape = Shape::new(videos, 2, 2, 3).over(2);
            let mut sink = sink(&folder.path().join("a.y4m"));
            sink.begin(shape).unwrap();
            for (frame, image) in [(0, 0), (1, 0), (0, 1)].into_iter().take(2 * videos - 1) {
                let at = RowsAt { image, frame, top: 0 };
                sink.write_rows(at, &rows(shape, image, frame)).unwrap();
            }
            assert!(sink.finish().is_err());
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_it_cannot_hold_is_refused() {
        let refused = |shape: Shape| check(shape, Depth::Eight).unwrap_err().to_string();
        assert!(refused(Shape::new(1, 8, 8, 4).over(5)).contains("%05d.png"));
        assert!(refused(Shape::new(1, 8, 8, 2)).contains(".npy"));
        assert!(refused(Shape::new(1, 1 << 40, 1 << 40, 1)).contains("exceed"));
        let folder = tempfile::tempdir().unwrap();
        let begun = sink(&folder.path().join("a.y4m")).begin(Shape::new(1, 8, 8, 4));
        assert_eq!(begun.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A disk without that room would have said so.
    #[cfg(target_os = "linux")]
    #[test]
    fn room_is_taken_at_the_beginning() {
        use std::os::unix::fs::MetadataExt;
        const FRAMES: usize = 16;
        let folder = tempfile::tempdir().unwrap();
        let can = tempfile::tempfile_in(folder.path()).unwrap();
        let has_room = |file: &std::fs::File| 512 * file.metadata().unwrap().blocks() >= 1 << 20;
        disk_room::take(&can, 1 << 20).unwrap();
        let mut sink = sink(&folder.path().join("a.y4m"));
        sink.begin(Shape::new(1, 256, 256, 1).over(FRAMES)).unwrap();
        let Some(Current { to: To::File(mut file), .. }) = sink.begun.unwrap().current else {
            panic!("a video has begun");
        };
        assert!(!has_room(&can) || has_room(file.file().unwrap()));
    }
}
