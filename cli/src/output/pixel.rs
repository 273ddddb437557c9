//! From the decoder's values to 8 bits a channel.

/// `x` in -1..1 as a byte: `clamp(x / 2 + 0.5, 0, 1) * 255`, halves rounded to even, as diffusers'
/// `VaeImageProcessor` and numpy's `round` have it.
pub(super) fn byte(x: f32) -> u8 {
    // `as` keeps 0..=255 exactly, and the clamp leaves nothing else.
    ((x * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Appends the bytes of `values` to `out`.
pub(super) fn extend(out: &mut Vec<u8>, values: &[f32]) {
    out.extend(values.iter().map(|&value| byte(value)));
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
}
