//! What the files of a result are called: one name, a name for each image or video of a batch, or
//! one for each frame.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::OutputError;

/// The names of the files of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    path: PathBuf,
    frame: Option<Field>,
}

/// Where the number of a frame stands in the name of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    before: String,
    /// The fewest digits.
    digits: usize,
    after: String,
}

impl Names {
    /// A file for each image or video.
    pub(crate) fn of_videos(path: &Path) -> Self {
        Self { path: path.into(), frame: None }
    }

    /// A file for each frame if the name has a field for its number, such as `%05d`; else one for each
    /// image.
    ///
    /// # Errors
    /// [`OutputError::Fields`] for several fields.
    pub(crate) fn of_frames(path: &Path) -> Result<Self, OutputError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match fields(name) {
            Some(frame) => Ok(Self { path: path.into(), frame }),
            None => Err(OutputError::Fields { path: path.into() }),
        }
    }

    /// Whether each frame has a name of its own.
    pub(crate) fn has_frames(&self) -> bool {
        self.frame.is_some()
    }

    /// The name for a frame of the image or video `image` of `images`: `name.png` for one image,
    /// `name-0.png`, `name-1.png`, ... for several.
    pub(crate) fn get(&self, image: usize, images: usize, frame: usize) -> PathBuf {
        let path = match &self.frame {
            None => self.path.clone(),
            Some(Field { before, digits, after }) => {
                self.path.with_file_name(format!("{before}{frame:0digits$}{after}"))
            }
        };
        if images == 1 {
            return path;
        }
        let mut name = OsString::from(path.file_stem().unwrap_or_default());
        name.push(format!("-{image}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    }

    /// The name of the preview of a frame, beside its file: `name.preview-00007.png`, or
    /// `00007.preview.png` where each frame has a file.
    pub(crate) fn preview(&self, image: usize, images: usize, frame: usize) -> PathBuf {
        let path = self.get(image, images, frame);
        let mut name = OsString::from(path.file_stem().unwrap_or_default());
        match self.has_frames() {
            true => name.push(".preview.png"),
            false => name.push(format!(".preview-{frame:05}.png")),
        }
        path.with_file_name(name)
    }

    /// The name of a frame that would come behind the last, if there is a file of that name: players
    /// and encoders go on with it.
    pub(crate) fn frame_left_over(&self, images: usize, frames: usize) -> Option<PathBuf> {
        let behind = self.has_frames().then(|| self.get(0, images, frames));
        behind.filter(|path| path.is_file())
    }

    /// The names of all frames of all images or videos.
    pub(crate) fn all(&self, images: usize, frames: usize) -> Vec<PathBuf> {
        let frames = if self.has_frames() { frames } else { 1 };
        let places = (0..images).flat_map(|image| (0..frames).map(move |frame| (image, frame)));
        places.map(|(image, frame)| self.get(image, images, frame)).collect()
    }
}

/// The field in a name, if there is one; `None` for several. `%%` beside a field is a `%`.
fn fields(name: &str) -> Option<Option<Field>> {
    let mut found: Option<(String, usize)> = None;
    let (mut text, mut rest) = (String::new(), name);
    while let Some((plain, behind)) = rest.split_once('%') {
        text.push_str(plain);
        let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        // The number of digits is one or two digits itself.
        let digits = match &behind[..end] {
            "" => Some(0),
            digits => digits.parse().ok().filter(|&digits: &usize| digits < 100),
        };
        rest = match (behind[end..].strip_prefix('d').zip(digits), behind.strip_prefix('%')) {
            (Some((after, digits)), _) => {
                let before = (std::mem::take(&mut text), digits);
                if found.replace(before).is_some() {
                    return None;
                }
                after
            }
            (None, after) => {
                text.push('%');
                after.unwrap_or(behind)
            }
        };
    }
    text.push_str(rest);
    Some(found.map(|(before, digits)| Field { before, digits, after: text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_numbered() {
        let names = Names::of_frames(Path::new("folder/a.b.png")).unwrap();
        assert!(!names.has_frames());
        assert_eq!(names.get(0, 1, 0), Path::new("folder/a.b.png"));
        assert_eq!(names.get(0, 2, 0), Path::new("folder/a.b-0.png"));
        assert_eq!(names.get(11, 12, 0), Path::new("folder/a.b-11.png"));
        assert_eq!(names.all(2, 7).len(), 2);
    }

    #[test]
    fn frames_are_numbered_where_the_name_says_so() {
        let of = |name: &str, images, image, frame| {
            let names = Names::of_frames(&Path::new("folder").join(name)).unwrap();
            assert!(names.has_frames(), "{name}");
            let path = names.get(image, images, frame);
            path.strip_prefix("folder").unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(of("%05d.png", 1, 0, 7), "00007.png");
        assert_eq!(of("%05d.png", 1, 0, 123_456), "123456.png");
        assert_eq!(of("a-%d.b.png", 1, 0, 12), "a-12.b.png");
        assert_eq!(of("%3d.png", 1, 0, 1), "001.png");
        assert_eq!(of("100%%-%03d-%%d.png", 1, 0, 1), "100%-001-%d.png");
        assert_eq!(of("%05d.png", 2, 1, 7), "00007-1.png");
        let names = Names::of_frames(Path::new("%02d.png")).unwrap().all(2, 2);
        assert_eq!(names, ["00-0.png", "01-0.png", "00-1.png", "01-1.png"].map(PathBuf::from));
    }

    #[test]
    fn what_is_no_field_stays() {
        for name in ["50%.png", "%.png", "%%d.png", "%s.png", "%05", "%123d.png", "größe%x.png"] {
            let names = Names::of_frames(Path::new(name)).unwrap();
            assert!(!names.has_frames(), "{name}");
            assert_eq!(names.get(0, 1, 3), Path::new(name));
        }
        let folder = Names::of_frames(Path::new("%05d/a.png")).unwrap();
        assert!(!folder.has_frames());
        let two = Names::of_frames(Path::new("%d-%05d.png"));
        assert!(matches!(two, Err(OutputError::Fields { .. })));
    }
}
