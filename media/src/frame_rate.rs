//! How many frames of a video there are in a second.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Frames in so many seconds, both at least one: `24`, `30000/1001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    frames: NonZeroU32,
    seconds: NonZeroU32,
}

impl FrameRate {
    /// That of cinema, where nothing tells another one.
    pub const DEFAULT: Self = Self::whole(NonZeroU32::new(24).unwrap());

    /// A whole number of frames in a second.
    pub const fn whole(frames: NonZeroU32) -> Self {
        Self { frames, seconds: NonZeroU32::MIN }
    }

    /// Frames in [`seconds`](Self::seconds).
    pub const fn frames(self) -> u32 {
        self.frames.get()
    }

    /// Seconds that [`frames`](Self::frames) take.
    pub const fn seconds(self) -> u32 {
        self.seconds.get()
    }

    /// Frames in a second, rounded.
    pub fn hertz(self) -> f32 {
        (f64::from(self.frames()) / f64::from(self.seconds())) as f32
    }

    /// As the header of a YUV4MPEG2 file has it.
    pub(crate) fn ratio(self) -> String {
        format!("{}:{}", self.frames, self.seconds)
    }
}

/// Text that is no [`FrameRate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected frames in a second as a whole number or a fraction, such as 24, or 30000/1001 for 29.97"
)]
#[non_exhaustive]
pub struct FrameRateError;

impl FromStr for FrameRate {
    type Err = FrameRateError;

    fn from_str(text: &str) -> Result<Self, FrameRateError> {
        let number = |text: &str| text.parse().map_err(|_| FrameRateError);
        let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
        Ok(Self { frames: number(frames)?, seconds: number(seconds)? })
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            NonZeroU32::MIN => write!(f, "{}", self.frames),
            seconds => write!(f, "{}/{seconds}", self.frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_and_fractions_are_taken() {
        for (text, ratio) in [("24", "24:1"), ("30000/1001", "30000:1001"), ("1/2", "1:2")] {
            let rate: FrameRate = text.parse().unwrap();
            assert_eq!((rate.ratio().as_str(), rate.to_string().as_str()), (ratio, text));
        }
        for text in ["", "0", "24/0", "-1", "29.97", "24/", "/1", "1/2/3", "4294967296", "a"] {
            assert!(text.parse::<FrameRate>() == Err(FrameRateError), "{text}");
        }
    }
}
