//! A batch as one image file each, and videos as one for each frame.

use std::io;
use std::path::Path;

use halovae_engine::sink::{ROWS_AT_ONCE, RowsAt, Sink};
use halovae_engine::tensor::Shape;

use crate::buffer::{self, FIXED_BYTES};
use crate::encoded::{self, EncodedFormat, EncodedPicture};
use crate::error::about;
use crate::file_sink::FileSink;
use crate::names::Names;
use crate::picture::{Colour, Extents, Picture};
use crate::pixel::{self, Depth};
use crate::png::{self, PngPicture};
use crate::temporary::{Stages, Temporary};
use crate::unfit::Unfit;

/// What images are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PictureFormat {
    /// PNG, row by row.
    Png,
    /// A format whose encoder wants the whole image.
    Encoded(EncodedFormat),
}

impl PictureFormat {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Encoded(format) => format.name(),
        }
    }

    /// The most pixels along an axis.
    fn max_extent(self) -> u64 {
        match self {
            Self::Png => i32::MAX as u64,
            Self::Encoded(format) => format.max_extent(),
        }
    }

    /// The most bytes of pixels in a file.
    fn max_bytes(self) -> u64 {
        match self {
            Self::Png => u64::MAX,
            Self::Encoded(format) => format.max_bytes(),
        }
    }

    /// Whether the format can hold that many bits a channel.
    pub(crate) fn holds(self, depth: Depth) -> bool {
        let holds_words = matches!(self, Self::Png | Self::Encoded(EncodedFormat::Tiff));
        depth == Depth::Eight || holds_words
    }

    /// Whether the format can hold an image of that shape; else why not.
    pub(crate) fn check(self, shape: Shape, depth: Depth) -> Result<Extents, Unfit> {
        let colour = match shape.channels {
            1 => Colour::Gray,
            3 => Colour::Rgb,
            4 if self == Self::Encoded(EncodedFormat::Jpeg) => {
                return Err(Unfit::Transparency { format: self.name(), is_video: false });
            }
            4 => Colour::Rgba,
            channels => return Err(Unfit::Channels { channels, video: None }),
        };
        let max = self.max_extent();
        let [height, width] = [shape.height, shape.width].map(|extent| {
            u32::try_from(extent).ok().filter(|&extent| (1..=max).contains(&u64::from(extent)))
        });
        let bytes = (shape.height as u64)
            .checked_mul(shape.width as u64)
            .and_then(|pixels| pixels.checked_mul((shape.channels * depth.bytes()) as u64))
            .filter(|&bytes| bytes <= self.max_bytes());
        let (Some(height), Some(width), Some(bytes)) = (height, width, bytes) else {
            return Err(Unfit::ImageSides {
                format: self.name(),
                sides: [shape.height, shape.width],
                max,
                max_bytes: Some(self.max_bytes()).filter(|&bytes| bytes != u64::MAX),
                instead: if self == Self::Png { ".npy or .safetensors" } else { ".png or .npy" },
            });
        };
        Ok(Extents { height, width, colour, depth, bytes })
    }

    fn begin(self, file: &Temporary, extents: Extents) -> io::Result<Box<dyn Picture>> {
        Ok(match self {
            Self::Png => Box::new(PngPicture::begin(file, extents)?),
            Self::Encoded(format) => Box::new(EncodedPicture::begin(format, file, extents)?),
        })
    }
}

/// What the name of a finished file takes, in bytes.
const NAME_BYTES: u64 = 512;

/// Bytes that are held to write images of that shape, which the format holds: some rows, what its encoder
/// holds, and the names of all files.
pub(crate) fn bytes(shape: Shape, format: PictureFormat, depth: Depth) -> u64 {
    let Ok(extents) = format.check(shape, depth) else { return 0 };
    let of_format = match format {
        PictureFormat::Png => png::bytes(extents),
        PictureFormat::Encoded(format) => encoded::bytes(format, extents),
    };
    let names = (shape.images() as u64).saturating_mul(NAME_BYTES);
    rows_bytes(extents).saturating_add(of_format).saturating_add(names).saturating_add(FIXED_BYTES)
}

/// Bytes of the rows that come together.
pub(crate) fn rows_bytes(extents: Extents) -> u64 {
    extents.row_bytes().saturating_mul(ROWS_AT_ONCE.into())
}

/// Writes all frames of a batch as images.
pub(crate) struct Pictures {
    names: Names,
    format: PictureFormat,
    depth: Depth,
    begun: Option<Begun>,
}

struct Begun {
    /// Images or videos.
    batch: usize,
    /// The files of all of them.
    pictures: usize,
    row_values: usize,
    extents: Extents,
    current: Option<Current>,
    complete: Vec<Temporary>,
    stages: Stages,
    bytes: Vec<u8>,
}

struct Current {
    file: Temporary,
    picture: Box<dyn Picture>,
    rows_left: usize,
}

impl Pictures {
    pub(crate) fn new(names: Names, format: PictureFormat, depth: Depth) -> Self {
        Self { names, format, depth, begun: None }
    }
}

impl Sink for Pictures {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        let extents = self.format.check(shape, self.depth)?;
        let mut begun = Begun {
            batch: shape.batch,
            pictures: shape.images(),
            row_values: shape.width * shape.channels,
            extents,
            current: None,
            complete: Vec::new(),
            stages: Stages::default(),
            bytes: buffer::reserve(rows_bytes(extents), "rows of a picture")?,
        };
        if begun.pictures > 0 {
            // Whether there is room for pixels shows now, and not when some have been decoded.
            let path = self.names.get(0, shape.batch, 0);
            let first = begun.next(self.format, &path);
            begun.current = Some(first.map_err(|error| about(&path, error))?);
        }
        self.begun = Some(begun);
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let begun = self.begun.as_mut().ok_or_else(|| io::Error::other("rows before begin"))?;
        let path = self.names.get(at.image, begun.batch, at.frame);
        begun.write_rows(self.format, &path, rows).map_err(|error| about(&path, error))
    }
}

impl Begun {
    /// Begins the next image.
    fn next(&mut self, format: PictureFormat, path: &Path) -> io::Result<Current> {
        let file = match self.pictures {
            1 => Temporary::create(path)?,
            _ => Temporary::create_in(&mut self.stages, path)?,
        };
        let picture = format.begin(&file, self.extents)?;
        Ok(Current { file, picture, rows_left: self.extents.height as usize })
    }

    fn write_rows(&mut self, format: PictureFormat, path: &Path, rows: &[f32]) -> io::Result<()> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.next(format, path)?,
        };
        self.bytes.clear();
        pixel::extend(&mut self.bytes, rows, self.extents.depth);
        current.picture.write_rows(&self.bytes)?;
        let count = rows.len() / self.row_values;
        current.rows_left = current
            .rows_left
            .checked_sub(count)
            .ok_or_else(|| io::Error::other("more rows than the image has"))?;
        if current.rows_left > 0 {
            self.current = Some(current);
        } else {
            current.picture.finish()?;
            current.file.close();
            self.complete.push(current.file);
        }
        Ok(())
    }
}

impl FileSink for Pictures {
    fn finish(self: Box<Self>) -> io::Result<Vec<Temporary>> {
        match self.begun {
            Some(begun) if begun.complete.len() == begun.pictures => Ok(begun.complete),
            _ => Err(io::Error::other("the decode ended before every image was complete")),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::ColorType;

    use super::*;

    const FORMATS: [(PictureFormat, &str); 4] = [
        (PictureFormat::Png, "png"),
        (PictureFormat::Encoded(EncodedFormat::Jpeg), "jpg"),
        (PictureFormat::Encoded(EncodedFormat::Webp), "webp"),
        (PictureFormat::Encoded(EncodedFormat::Tiff), "tiff"),
    ];

    /// A ramp that every level of many occurs in, and its levels.
    fn ramp(shape: Shape, depth: Depth) -> (Vec<f32>, Vec<u16>) {
        let (step, max) = match depth {
            Depth::Eight => (5, 255u16),
            Depth::Sixteen => (1237, 65535),
        };
        let count = shape.height * shape.width * shape.channels;
        let levels = (0..count).map(|index| (index * step % (usize::from(max) + 1)) as u16);
        let levels: Vec<u16> = levels.collect();
        let value = |&level| (f64::from(level) / f64::from(max) * 2.0 - 1.0) as f32;
        (levels.iter().map(value).collect(), levels)
    }

    #[test]
    fn lossless_formats_give_back_what_was_written() {
        for (format, extension) in FORMATS {
            for (channels, depth) in
                [1, 3, 4].into_iter().flat_map(|c| [(c, Depth::Eight), (c, Depth::Sixteen)])
            {
                if format == PictureFormat::Encoded(EncodedFormat::Jpeg) || !format.holds(depth) {
                    continue;
                }
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("a").with_extension(extension);
                let shape = Shape::new(2, 9, 7, channels);
                let (values, levels) = ramp(shape, depth);
                let mut sink = Box::new(Pictures::new(Names::of_videos(&path), format, depth));
                sink.begin(shape).unwrap();
                let cut = 4 * 7 * channels;
                for image in 0..2 {
                    sink.write_rows(RowsAt::of_image(image, 0), &values[..cut]).unwrap();
                    sink.write_rows(RowsAt::of_image(image, 4), &values[cut..]).unwrap();
                }
                let files = Temporary::commit(sink.finish().unwrap()).unwrap();
                assert_eq!(files.len(), 2);
                for file in files {
                    let read = image::open(&file).unwrap();
                    assert_eq!((read.width(), read.height()), (7, 9));
                    let is_deep = matches!(
                        read.color(),
                        ColorType::L16 | ColorType::Rgb16 | ColorType::Rgba16
                    );
                    assert_eq!(is_deep, depth == Depth::Sixteen, "{extension} {channels}");
                    assert_eq!(read.color().has_alpha(), channels == 4, "{extension} {channels}");
                    let wide = |bytes: Vec<u8>| bytes.into_iter().map(u16::from).collect();
                    // A WebP keeps gray as three equal channels.
                    let read: Vec<u16> = match (channels, depth) {
                        (1, Depth::Eight) => wide(read.to_luma8().into_raw()),
                        (3, Depth::Eight) => wide(read.to_rgb8().into_raw()),
                        (_, Depth::Eight) => wide(read.to_rgba8().into_raw()),
                        (1, Depth::Sixteen) => read.to_luma16().into_raw(),
                        (3, Depth::Sixteen) => read.to_rgb16().into_raw(),
                        (_, Depth::Sixteen) => read.to_rgba16().into_raw(),
                    };
                    assert_eq!(read, levels, "{extension} {channels} {depth:?}");
                }
            }
        }
    }

    #[test]
    fn every_frame_is_a_file_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::of_frames(&folder.path().join("%03d.png")).unwrap();
        let shape = Shape::new(2, 9, 7, 1).over(3);
        let mut sink = Box::new(Pictures::new(names.clone(), PictureFormat::Png, Depth::Eight));
        sink.begin(shape).unwrap();
        let level = |image, frame| (50 * image + 10 * frame) as u8;
        for (image, frame) in (0..2).flat_map(|image| (0..3).map(move |t| (image, t))) {
            let value = f32::from(level(image, frame)) / 127.5 - 1.0;
            for top in [0, 4] {
                let rows = if top == 0 { 4 } else { 5 };
                sink.write_rows(RowsAt { image, frame, top }, &vec![value; rows * 7]).unwrap();
            }
        }
        let files = Temporary::commit(sink.finish().unwrap()).unwrap();
        assert_eq!(files, names.all(2, 3));
        for (image, frame) in (0..2).flat_map(|image| (0..3).map(move |t| (image, t))) {
            let read = image::open(names.get(image, 2, frame)).unwrap().to_luma8().into_raw();
            assert_eq!(read, [level(image, frame); 9 * 7]);
        }
    }

    /// Readers other than ours go by the tag.
    #[test]
    fn alpha_of_a_tiff_is_called_alpha() {
        use ::tiff::decoder::Decoder;
        use ::tiff::tags::Tag;
        for (channels, expected) in [(3, None), (4, Some(vec![2]))] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.tiff");
            let shape = Shape::new(1, 9, 7, channels);
            let mut sink =
                Box::new(Pictures::new(Names::of_videos(&path), FORMATS[3].0, Depth::Eight));
            sink.begin(shape).unwrap();
            sink.write_rows(RowsAt::of_image(0, 0), &ramp(shape, Depth::Eight).0).unwrap();
            Temporary::commit(sink.finish().unwrap()).unwrap();
            let mut file = Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
            let extra = file.find_tag(Tag::ExtraSamples).unwrap();
            assert_eq!(extra.map(|value| value.into_u16_vec().unwrap()), expected);
        }
    }

    #[test]
    fn jpeg_is_close() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let shape = Shape::new(1, 32, 32, 3);
        let values: Vec<f32> = (0..32 * 32 * 3).map(|i| (i / 3 % 32) as f32 / 32.0 - 0.5).collect();
        let mut sink = Box::new(Pictures::new(Names::of_videos(&path), FORMATS[1].0, Depth::Eight));
        sink.begin(shape).unwrap();
        sink.write_rows(RowsAt::of_image(0, 0), &values).unwrap();
        Temporary::commit(sink.finish().unwrap()).unwrap();
        let read = image::open(path).unwrap().into_bytes();
        for (read, value) in read.iter().zip(values) {
            assert!(read.abs_diff(pixel::byte(value)) <= 6);
        }
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused_at_the_beginning() {
        let refused = |format: PictureFormat, height, width, channels| {
            let shape = Shape::new(1, height, width, channels);
            format.check(shape, Depth::Eight).unwrap_err().to_string()
        };
        let [png, jpeg, webp, tiff] = FORMATS.map(|(format, _)| format);
        assert!(refused(jpeg, 65536, 8, 3).contains("65535"));
        assert!(refused(webp, 8, 16384, 3).contains("16383"));
        assert!(refused(tiff, 65536, 65536, 1).contains("TIFF"));
        assert!(refused(png, 1 << 31, 1, 1).contains("PNG"));
        assert!(refused(jpeg, 8, 8, 4).contains("transparency"));
        assert!(refused(png, 8, 8, 2).contains(".npy"));
        assert!(refused(png, 0, 8, 3).contains("0 x 8"));
        assert!(jpeg.check(Shape::new(1, 65535, 1, 3), Depth::Eight).is_ok());
        assert!(webp.check(Shape::new(1, 1, 16383, 3), Depth::Eight).is_ok());
        // 3.2 GB of bytes fit into a TIFF, twice as many do not.
        let large = Shape::new(1, 32768, 32768, 3);
        assert!(tiff.check(large, Depth::Eight).is_ok());
        assert!(tiff.check(large, Depth::Sixteen).unwrap_err().to_string().contains("TIFF"));
        assert!(png.check(large, Depth::Sixteen).is_ok());
    }

    #[test]
    fn an_incomplete_batch_leaves_no_file() {
        for (format, extension) in FORMATS {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a").with_extension(extension);
            let shape = Shape::new(2, 9, 7, 3);
            let (values, _) = ramp(shape, Depth::Eight);
            let mut sink = Box::new(Pictures::new(Names::of_videos(&path), format, Depth::Eight));
            sink.begin(shape).unwrap();
            sink.write_rows(RowsAt::of_image(0, 0), &values).unwrap();
            sink.write_rows(RowsAt::of_image(1, 0), &values[..7 * 3]).unwrap();
            assert!(sink.finish().is_err());
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{extension}");
        }
    }
}
