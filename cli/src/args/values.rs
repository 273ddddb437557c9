//! Values of flags that are more than a number or a word.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a text or a video goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `-`; a file of that name is `./-`.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl Destination {
    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File(path) => Some(path),
        }
    }
}

impl From<OsString> for Destination {
    fn from(text: OsString) -> Self {
        if text == "-" { Self::Stdout } else { Self::File(text.into()) }
    }
}

/// The grid of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShardGridArg {
    /// The planner's choice.
    Auto,
    /// Slices of frames, rows and columns.
    Given {
        /// Bands of frames.
        slices: u32,
        /// Bands of rows.
        rows: u32,
        /// Bands of columns.
        cols: u32,
    },
}

impl FromStr for ShardGridArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let bands: Result<Vec<u32>, _> = text.split(['x', 'X']).map(str::parse).collect();
        match bands.as_deref() {
            Ok(bands) if bands.contains(&0) => Err("expected at least 1 along each axis".into()),
            Ok(&[rows, cols]) => Ok(Self::Given { slices: 1, rows, cols }),
            Ok(&[slices, rows, cols]) => Ok(Self::Given { slices, rows, cols }),
            _ => Err("expected auto, ROWSxCOLUMNS such as 2x3, or SLICESxROWSxCOLUMNS".into()),
        }
    }
}

/// N, where every Nth frame is shown.
///
/// # Errors
/// What was expected.
pub(super) fn frames_apart(text: &str) -> Result<NonZeroU32, &'static str> {
    let expected = "expected a whole number from 1 on, such as 8 for the frames 0, 8, 16 and so on";
    text.parse().map_err(|_| expected)
}

/// A number of bytes: `4GiB`, `512MiB`, `2G` (powers of 1024), or plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

impl FromStr for ByteSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let expected = "expected bytes, such as 4GiB, 512MiB or 1.5G";
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let letter = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
        let power = ["", "k", "m", "g", "t"].iter().position(|&known| known == letter);
        let factor = 1024f64.powi(power.ok_or(expected)? as i32);
        let bytes = number.parse::<f64>().map_err(|_| expected)? * factor;
        // `as` saturates, and what is that large is no limit anyway.
        (bytes.is_finite() && bytes >= 1.0).then_some(Self(bytes as u64)).ok_or(expected)
    }
}

/// One value per axis: `256` for both, `256x512` for height and width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair<T> {
    pub(crate) height: T,
    pub(crate) width: T,
}

/// Text that is no [`Pair`].
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("expected {expected}, or two as HEIGHTxWIDTH")]
pub(crate) struct PairError {
    expected: &'static str,
}

/// A number that a [`Pair`] may hold.
pub(crate) trait PairValue: FromStr + Copy {
    /// For the error.
    const EXPECTED: &'static str;

    /// Whether a parsed value is one.
    fn accept(self) -> bool;
}

impl PairValue for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn accept(self) -> bool {
        true
    }
}

impl PairValue for f64 {
    const EXPECTED: &'static str = "a number such as 0.25";

    fn accept(self) -> bool {
        self.is_finite()
    }
}

impl<T: PairValue> FromStr for Pair<T> {
    type Err = PairError;

    fn from_str(text: &str) -> Result<Self, PairError> {
        let wrong = PairError { expected: T::EXPECTED };
        let parse = |part: &str| part.trim().parse().ok().filter(|value: &T| value.accept());
        let (height, width) = match text.split_once(['x', 'X']) {
            Some((height, width)) => (parse(height), parse(width)),
            None => (parse(text), parse(text)),
        };
        height.zip(width).map(|(height, width)| Self { height, width }).ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes() {
        let bytes = |text: &str| text.parse::<ByteSize>().map(|size| size.0);
        assert_eq!(bytes("4GiB"), Ok(4 << 30));
        assert_eq!(bytes("1.5g"), Ok(3 << 29));
        assert_eq!(bytes("512 MB"), Ok(512 << 20));
        assert_eq!(bytes("100"), Ok(100));
        for wrong in ["", "0", "GiB", "-1", "4XiB", "4..5", "1e999"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn frames_apart_are_counted_from_one() {
        assert_eq!(frames_apart("1").map(NonZeroU32::get), Ok(1));
        assert_eq!(frames_apart("4294967295").map(NonZeroU32::get), Ok(u32::MAX));
        for wrong in ["", "0", "-1", "1.5", "4294967296", "all"] {
            assert!(frames_apart(wrong).is_err_and(|error| error.contains("from 1")), "{wrong}");
        }
    }

    #[test]
    fn shard_grids() {
        let grid = |text: &str| text.parse::<ShardGridArg>();
        assert_eq!(grid("auto"), Ok(ShardGridArg::Auto));
        assert_eq!(grid("2x3"), Ok(ShardGridArg::Given { slices: 1, rows: 2, cols: 3 }));
        assert_eq!(grid("4X2x3"), Ok(ShardGridArg::Given { slices: 4, rows: 2, cols: 3 }));
        assert!(grid("1x2x3x4").is_err() && grid("x2x3").is_err());
        assert!(grid("2").is_err() && grid("2x").is_err() && grid("-1x2").is_err());
        assert!(grid("0x1x1").is_err() && grid("1x0").is_err());
    }

    #[test]
    fn pair_takes_one_or_two_numbers() {
        let pair = |height, width| Ok(Pair { height, width });
        assert_eq!("256".parse::<Pair<u32>>(), pair(256, 256));
        assert_eq!("256x512".parse::<Pair<u32>>(), pair(256, 512));
        assert_eq!("256X512".parse::<Pair<u32>>(), pair(256, 512));
        assert_eq!("0.25x0.5".parse::<Pair<f64>>(), Ok(Pair { height: 0.25, width: 0.5 }));
    }

    #[test]
    fn pair_refuses_everything_else() {
        for text in ["", "x", "1x", "x1", "1x2x3", "-1", "1.5", "4294967296", "a", "1 2"] {
            assert!(text.parse::<Pair<u32>>().is_err(), "{text:?}");
        }
        for text in ["", "nan", "inf", "0.5x", "1e999", "a"] {
            assert!(text.parse::<Pair<f64>>().is_err(), "{text:?}");
        }
    }
}
