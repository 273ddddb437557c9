//! What a message holds, and how long it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most bytes of a message of [bytes](Payload::Bytes): a line for each of some thousand ranks.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// What a message holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Feature maps, statistics, pieces of pictures: as many as the plan says. They move from
    /// thread to thread, and to and from a transport, without a copy.
    Values(Vec<f32>),
    /// Anything else, at most [`MAX_MESSAGE_BYTES`]: [objects](super::Objects), as a rule.
    Bytes(Vec<u8>),
}

impl Payload {
    /// How long it is.
    pub fn length(&self) -> Length {
        match self {
            Self::Values(values) => Length::Values(values.len()),
            Self::Bytes(bytes) => Length::Bytes(bytes.len()),
        }
    }

    /// As it lies in memory.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Values(values) => bytemuck::cast_slice(values),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// What a message holds, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Length {
    /// So many values.
    Values(usize),
    /// So many bytes.
    Bytes(usize),
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Values(count) => write!(f, "{count} values"),
            Self::Bytes(count) => write!(f, "{count} bytes"),
        }
    }
}

/// What a receiver expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// So many values.
    Values(usize),
    /// Bytes, at most [`MAX_MESSAGE_BYTES`].
    Bytes,
}

impl Expected {
    /// Whether a message of this length is what is expected.
    pub fn admits(self, length: Length) -> bool {
        match (self, length) {
            (Self::Values(expected), Length::Values(got)) => got == expected,
            (Self::Bytes, Length::Bytes(got)) => got <= MAX_MESSAGE_BYTES,
            _ => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Values(count) => Length::Values(*count).fmt(f),
            Self::Bytes => write!(f, "at most {MAX_MESSAGE_BYTES} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_length_must_be_as_expected() {
        let expected = Expected::Values(3);
        assert!(expected.admits(Payload::Values(vec![0.0; 3]).length()));
        for other in [Length::Values(2), Length::Values(4), Length::Bytes(3), Length::Bytes(12)] {
            assert!(!expected.admits(other), "{other}");
        }
        for (length, is_admitted) in [
            (Length::Bytes(0), true),
            (Length::Bytes(MAX_MESSAGE_BYTES), true),
            (Length::Bytes(MAX_MESSAGE_BYTES + 1), false),
            (Length::Values(0), false),
        ] {
            assert_eq!(Expected::Bytes.admits(length), is_admitted, "{length}");
        }
    }
}
