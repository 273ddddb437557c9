//! Some frames of a video as pictures, while the others are decoded.

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;

use halovae_engine::sink::{RowsAt, Sink};
use halovae_engine::tensor::Shape;

use crate::buffer::{self, FIXED_BYTES};
use crate::error::about;
use crate::file_sink::FileSink;
use crate::names::Names;
use crate::picture::{Extents, Picture};
use crate::pictures::{self, PictureFormat};
use crate::pixel::{self, Depth};
use crate::png::{self, PngPicture};
use crate::temporary::Temporary;
use crate::unfit::Unfit;

/// Writes each frame whose number is a multiple of `every` as a PNG of 8 bits beside the output. Each
/// has its name as soon as it is complete, and keeps it whatever becomes of the rest.
pub(crate) struct Preview {
    sink: Box<dyn FileSink>,
    names: Names,
    every: NonZeroU32,
    begun: Option<Begun>,
}

struct Begun {
    shape: Shape,
    extents: Extents,
    current: Option<Current>,
    bytes: Vec<u8>,
}

struct Current {
    file: Temporary,
    picture: PngPicture,
    rows_left: usize,
}

/// The names of all previews of a result of that shape.
///
/// # Errors
/// That there are none.
pub(crate) fn names(names: &Names, every: NonZeroU32, shape: Shape) -> Result<Vec<PathBuf>, Unfit> {
    if shape.frames == 1 {
        return Err(Unfit::PreviewOfImages);
    }
    PictureFormat::Png.check(shape, Depth::Eight)?;
    let frames = (0..shape.frames).step_by(every.get() as usize);
    let places = (0..shape.batch).flat_map(|image| frames.clone().map(move |frame| (image, frame)));
    Ok(places.map(|(image, frame)| names.preview(image, shape.batch, frame)).collect())
}

/// Bytes that are held to write previews of that shape.
pub(crate) fn bytes(shape: Shape) -> u64 {
    let Ok(extents) = PictureFormat::Png.check(shape, Depth::Eight) else { return 0 };
    pictures::rows_bytes(extents).saturating_add(png::bytes(extents)).saturating_add(FIXED_BYTES)
}

impl Preview {
    /// Hands all rows on to `sink`, the writer of the output that has these names.
    pub(crate) fn new(sink: Box<dyn FileSink>, names: Names, every: NonZeroU32) -> Self {
        Self { sink, names, every, begun: None }
    }
}

impl Sink for Preview {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        self.sink.begin(shape)?;
        let extents = PictureFormat::Png.check(shape, Depth::Eight)?;
        let bytes = buffer::reserve(pictures::rows_bytes(extents), "rows of a preview")?;
        self.begun = Some(Begun { shape, extents, current: None, bytes });
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        self.sink.write_rows(at, rows)?;
        if !at.frame.is_multiple_of(self.every.get() as usize) {
            return Ok(());
        }
        let begun = self.begun.as_mut().ok_or_else(|| io::Error::other("rows before begin"))?;
        let path = self.names.preview(at.image, begun.shape.batch, at.frame);
        let begin = || {
            let file = Temporary::create(&path)?;
            let picture = PngPicture::begin(&file, begun.extents)?;
            Ok(Current { file, picture, rows_left: begun.shape.height })
        };
        let current = match begun.current.take() {
            Some(current) => Ok(current),
            None => begin(),
        };
        let left = current.and_then(|current| current.write(rows, begun.shape, &mut begun.bytes));
        begun.current = left.map_err(|error| about(&path, error))?;
        Ok(())
    }
}

impl Current {
    /// Writes rows; gives itself back unless they were the last.
    fn write(
        mut self,
        rows: &[f32],
        shape: Shape,
        bytes: &mut Vec<u8>,
    ) -> io::Result<Option<Self>> {
        bytes.clear();
        pixel::extend(bytes, rows, Depth::Eight);
        self.picture.write_rows(bytes)?;
        // The sink that has had them before has refused what does not fit.
        self.rows_left = self.rows_left.saturating_sub(rows.len() / (shape.width * shape.channels));
        if self.rows_left > 0 {
            return Ok(Some(self));
        }
        Box::new(self.picture).finish()?;
        self.file.close();
        Temporary::commit(vec![self.file]).map(|_| None)
    }
}

impl FileSink for Preview {
    fn finish(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        self.sink.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::frame_rate::FrameRate;
    use crate::video::y4m::Y4m;

    fn listing(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Each is there as soon as its frame is, and stays without the rest.
    #[test]
    fn previews_come_with_their_frames_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let shape = Shape::new(2, 5, 4, 3).over(4);
        let every = NonZeroU32::new(3).unwrap();
        let of_videos = Names::of_videos(&folder.path().join("a.y4m"));
        let all = names(&of_videos, every, shape).unwrap();
        let sink = Y4m::new(Some(of_videos.clone()), FrameRate::DEFAULT, Depth::Eight);
        let mut sink = Preview::new(Box::new(sink), of_videos, every);
        sink.begin(shape).unwrap();
        let value = |image: usize, frame: usize, at: usize| (image * 90 + frame * 20 + at) as u8;
        let mut expected = Vec::new();
        for (image, frame) in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)] {
            let levels: Vec<u8> = (0..60).map(|at| value(image, frame, at)).collect();
            let rows: Vec<f32> =
                levels.iter().map(|&level| f32::from(level) / 255.0 * 2.0 - 1.0).collect();
            for (top, rows) in [(0, &rows[..24]), (2, &rows[24..])] {
                let are_there = || all.iter().filter(|path| path.exists()).count();
                assert_eq!(are_there(), expected.len());
                sink.write_rows(RowsAt { image, frame, top }, rows).unwrap();
            }
            if frame % 3 == 0 {
                let path = &all[expected.len()];
                assert!(image::open(path).unwrap().to_rgb8().into_raw() == levels);
                expected.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
        let names = ["a-0.preview-00000.png", "a-0.preview-00003.png", "a-1.preview-00000.png"];
        assert_eq!(expected, names);
        drop(sink);
        assert_eq!(listing(folder.path()), names);
    }

    #[test]
    fn names_say_which_frame_it_is() {
        let shape = Shape::new(1, 5, 4, 3).over(5);
        let every = NonZeroU32::new(2).unwrap();
        let of = |name: &str, shape| {
            let of_frames = Names::of_frames(Path::new(name)).unwrap();
            names(&of_frames, every, shape).map(|names| {
                names.iter().map(|name| name.to_str().unwrap().to_owned()).collect::<Vec<_>>()
            })
        };
        let names = ["b/0.preview.png", "b/2.preview.png", "b/4.preview.png"].map(str::to_owned);
        assert_eq!(of("b/%d.tiff", shape), Ok(names.into()));
        let two = Shape { batch: 2, ..shape.over(2) };
        let names = ["c-0.preview-00000.png", "c-1.preview-00000.png"].map(str::to_owned);
        assert_eq!(of("c.npy", two), Ok(names.into()));
        assert!(of("c.npy", shape.over(1)).unwrap_err().to_string().contains("images"));
        assert!(
            of("c.npy", Shape::new(1, 5, 4, 5).over(3))
                .unwrap_err()
                .to_string()
                .contains("5 channels")
        );
    }
}
