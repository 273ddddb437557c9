//! From the decoder's values to whole numbers of 8 or 16 bits a channel.

pub(crate) use halovae_engine::sink::byte;

/// Bits a channel of a picture or video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Depth {
    /// A byte.
    #[default]
    Eight,
    /// Two bytes.
    Sixteen,
}

impl Depth {
    /// Bytes a channel.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Eight => 1,
            Self::Sixteen => 2,
        }
    }
}

/// `x` in -1..1 as 16 bits: `clamp(x / 2 + 0.5, 0, 1) * 65535`, rounded once, halves to even.
pub(crate) fn word(x: f32) -> u16 {
    // The level is `half + 32767.5`, where `half` is exact and the sum need not be. So it is rounded
    // up from `half`'s integer below, but for a tie that is even below.
    let half = f64::from(x.clamp(-1.0, 1.0)) * 32767.5;
    let below = half.floor();
    let up = (below + 32768.0) as i32;
    let is_tie_to_below = half == below && up & 1 == 1;
    (up - i32::from(is_tie_to_below)) as u16
}

/// Appends the bytes of `values` to `out`; two bytes of a channel in big endian.
pub(crate) fn extend(out: &mut Vec<u8>, values: &[f32], depth: Depth) {
    match depth {
        Depth::Eight => out.extend(values.iter().map(|&value| byte(value))),
        Depth::Sixteen => {
            let start = out.len();
            out.resize(start + 2 * values.len(), 0);
            for (to, &value) in out[start..].chunks_exact_mut(2).zip(values) {
                to.copy_from_slice(&word(value).to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_bytes() {
        for (value, expected) in [
            (-1.0, 0),
            (1.0, 255),
            (-7.0, 0),
            (7.0, 255),
            // 127.5 and its neighbour 128.5: halves go to the even byte.
            (0.0, 128),
            (2.0 / 255.0, 128),
            (-1.0 + 2.0 * 10.4 / 255.0, 10),
            (-1.0 + 2.0 * 10.6 / 255.0, 11),
        ] {
            assert_eq!(byte(value), expected, "{value}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for expected in 0..=255u8 {
            assert_eq!(byte(f32::from(expected) / 255.0 * 2.0 - 1.0), expected);
        }
    }

    #[test]
    fn values_become_words() {
        for (value, expected) in [
            (-1.0, 0),
            (1.0, 65535),
            (-7.0, 0),
            (7.0, 65535),
            (f32::INFINITY, 65535),
            (f32::NEG_INFINITY, 0),
            // 32767.5: the half goes to the even word, and whatever is beside it to its own side.
            (0.0, 32768),
            (-0.0, 32768),
            (f32::MIN_POSITIVE, 32768),
            (-f32::MIN_POSITIVE, 32767),
            (-1e-30, 32767),
            (1e-30, 32768),
            // 49151.25 and 16383.75.
            (0.5, 49151),
            (-0.5, 16384),
            // The next below 1 is 65534.998.
            (1.0 - f32::EPSILON / 2.0, 65535),
        ] {
            assert_eq!(word(value), expected, "{value}");
        }
    }

    #[test]
    fn every_word_comes_back() {
        for expected in 0..=65535u16 {
            assert_eq!(word((f64::from(expected) / 65535.0 * 2.0 - 1.0) as f32), expected);
        }
    }

    /// The level of a value `mantissa * 2^-exponent` is a fraction of whole numbers; it is rounded as
    /// such.
    #[test]
    fn words_are_rounded_once() {
        let rounded = |value: f32| {
            let bits = value.to_bits();
            let exponent = 150 - (bits >> 23 & 0xff) as i32;
            assert!((0..100).contains(&exponent), "for values that are not tiny");
            let mantissa = i128::from(bits & 0x7f_ffff | 0x80_0000);
            let signed = if value < 0.0 { -mantissa } else { mantissa };
            // (value + 1) * 65535 / 2 as numerator / denominator.
            let numerator = (signed + (1 << exponent)) * 65535;
            let denominator = 1i128 << (exponent + 1);
            let (whole, rest) = (numerator / denominator, numerator % denominator);
            let up = match (2 * rest).cmp(&denominator) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => whole & 1,
                std::cmp::Ordering::Greater => 1,
            };
            (whole + up) as u16
        };
        // Every exponent that matters with mantissas that end in anything, both signs; steps of a
        // prime do not keep to a pattern.
        for exponent in 100..127u32 {
            for mantissa in (0..0x80_0000u32).step_by(4999) {
                for sign in [0, 1 << 31] {
                    let value = f32::from_bits(sign | exponent << 23 | mantissa);
                    assert_eq!(word(value), rounded(value), "{value:e}");
                }
            }
        }
        // Beside each half between two words.
        for level in 0..65535u32 {
            let half = ((f64::from(level) + 0.5) / 65535.0 * 2.0 - 1.0) as f32;
            for value in [half.next_down(), half, half.next_up()] {
                if (1e-20..1.0).contains(&value.abs()) {
                    assert_eq!(word(value), rounded(value), "{value:e}");
                }
            }
        }
    }
}
