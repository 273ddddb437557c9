//! `.y4m` files, read by the letter of the format: a line of parameters, then for each frame a line and
//! its planes.

/// A video.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// All parameters but width and height, in their order, such as `F16:1`.
    pub parameters: Vec<String>,
    /// Luma, and of colour both planes of chroma at half the resolution.
    pub frames: Vec<[Vec<u8>; 3]>,
}

impl Video {
    /// Reads a file of `C420jpeg` or `Cmono`.
    ///
    /// # Panics
    /// If it is anything else, or has bytes behind its last frame.
    pub fn read(bytes: &[u8]) -> Self {
        let (header, mut rest) = line(bytes);
        let mut words = header.split(' ');
        assert_eq!(words.next(), Some("YUV4MPEG2"));
        let (mut width, mut height, mut parameters) = (0usize, 0usize, Vec::new());
        for word in words {
            match word.split_at(1) {
                ("W", extent) => width = extent.parse().expect("a width"),
                ("H", extent) => height = extent.parse().expect("a height"),
                _ => parameters.push(word.to_owned()),
            }
        }
        let has_colour = parameters.iter().any(|word| word == "C420jpeg");
        assert!(has_colour || parameters.iter().any(|word| word == "Cmono"), "{header}");
        let chroma = usize::from(has_colour) * width.div_ceil(2) * height.div_ceil(2);
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (of_frame, planes) = line(rest);
            assert_eq!(of_frame, "FRAME");
            let (luma, planes) = planes.split_at(width * height);
            let (cb, planes) = planes.split_at(chroma);
            let (cr, planes) = planes.split_at(chroma);
            frames.push([luma, cb, cr].map(<[u8]>::to_vec));
            rest = planes;
        }
        Self { width, height, parameters, frames }
    }
}

/// A line without its end, and what follows.
fn line(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').expect("the end of a line");
    (std::str::from_utf8(&bytes[..end]).expect("ASCII"), &bytes[end + 1..])
}
