//! From an array of any element type and axis order to f32, channels last.

use half::{bf16, f16};

use super::error::LatentsError;
use crate::checkpoint::text;

/// The kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F16,
    Bf16,
    F32,
    F64,
}

impl Kind {
    pub(super) fn size(self) -> usize {
        match self {
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
        }
    }
}

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) kind: Kind,
    pub(super) big_endian: bool,
}

/// Batch, channels, height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extents(pub(super) [usize; 4]);

impl Extents {
    /// Takes `[batch, channels, height, width]` or `[channels, height, width]`.
    pub(super) fn new(shape: &[usize]) -> Result<Self, LatentsError> {
        let extents = match *shape {
            [channels, height, width] => [1, channels, height, width],
            [batch, channels, height, width] => [batch, channels, height, width],
            _ => {
                let hint = match shape.len() {
                    2 => "; packed latents of a transformer must be unpacked first",
                    5 => "; of latents of a video take one frame, as in latents[:, :, 0]",
                    _ => "",
                };
                let shown = text::shape(shape);
                return Err(LatentsError::Axes { axes: shape.len(), shape: shown, hint });
            }
        };
        let valid = |&extent: &usize| extent > 0 && u32::try_from(extent).is_ok();
        if !extents.iter().all(valid) {
            return Err(LatentsError::Extent { shape: text::shape(shape) });
        }
        Ok(Self(extents))
    }

    /// Elements; `None` where that overflows.
    fn elements(self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
    }

    /// Distance between neighbours along each axis, in elements.
    fn strides(self, fortran_order: bool) -> [usize; 4] {
        let [batch, channels, height, width] = self.0;
        if fortran_order {
            // Of a 3-d array the batch is 1, so its stride never counts.
            [1, batch, batch * channels, batch * channels * height]
        } else {
            [channels * height * width, height * width, width, 1]
        }
    }
}

/// Reads `data`, which holds exactly the elements of `extents`, as f32, batch by batch, row by row,
/// channels fastest.
pub(super) fn channels_last(
    data: &[u8],
    element: Element,
    fortran_order: bool,
    extents: Extents,
) -> Result<Vec<f32>, LatentsError> {
    macro_rules! with {
        ($size:literal, $decode:expr) => {{
            let (elements, _) = data.as_chunks::<$size>();
            gather(elements, fortran_order, extents, $decode)
        }};
    }
    match (element.kind, element.big_endian) {
        (Kind::F16, false) => with!(2, |bytes| f16::from_le_bytes(bytes).to_f32()),
        (Kind::F16, true) => with!(2, |bytes| f16::from_be_bytes(bytes).to_f32()),
        (Kind::Bf16, false) => with!(2, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        (Kind::Bf16, true) => with!(2, |bytes| bf16::from_be_bytes(bytes).to_f32()),
        (Kind::F32, false) => with!(4, f32::from_le_bytes),
        (Kind::F32, true) => with!(4, f32::from_be_bytes),
        (Kind::F64, false) => with!(8, |bytes| f64::from_le_bytes(bytes) as f32),
        (Kind::F64, true) => with!(8, |bytes| f64::from_be_bytes(bytes) as f32),
    }
}

fn gather<const SIZE: usize>(
    source: &[[u8; SIZE]],
    fortran_order: bool,
    extents: Extents,
    decode: impl Fn([u8; SIZE]) -> f32,
) -> Result<Vec<f32>, LatentsError> {
    let [batch, channels, height, width] = extents.0;
    let elements = extents.elements().unwrap_or(usize::MAX);
    assert_eq!(source.len(), elements, "readers pass as many bytes as the shape has");
    let mut out = Vec::new();
    out.try_reserve_exact(elements)
        .map_err(|_| LatentsError::OutOfMemory { bytes: elements.saturating_mul(4) })?;

    let [by_batch, by_channel, by_row, by_column] = extents.strides(fortran_order);
    for sample in 0..batch {
        for row in 0..height {
            for column in 0..width {
                let start = sample * by_batch + row * by_row + column * by_column;
                for channel in 0..channels {
                    let value = decode(source[start + channel * by_channel]);
                    if !value.is_finite() {
                        let hint = "; the model that made them overflowed, or the file is damaged";
                        return Err(LatentsError::NotFinite {
                            value,
                            batch: sample,
                            channel,
                            row,
                            column,
                            hint,
                        });
                    }
                    out.push(value);
                }
            }
        }
    }
    Ok(out)
}
