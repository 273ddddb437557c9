//! From an array of any element type and axis order to f32, channels last.

use half::{bf16, f16};

use super::error::LatentsError;
use super::packing::Packing;
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

/// Where the elements of latents lie in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Batch, channels, height, width.
    pub(super) extents: [usize; 4],
    /// From image to image, in elements.
    image: usize,
    /// From channel to channel.
    channel: usize,
    row: Steps,
    column: Steps,
}

/// Distances along an axis of cells, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Steps {
    /// Cells of a token.
    patch: usize,
    /// From token to token.
    token: usize,
    /// From cell to cell within a token.
    cell: usize,
}

impl Steps {
    fn even(stride: usize) -> Self {
        Self { patch: 1, token: stride, cell: 0 }
    }

    fn to(self, cell: usize) -> usize {
        cell / self.patch * self.token + cell % self.patch * self.cell
    }
}

impl Layout {
    /// That of `[batch, channels, height, width]` or `[channels, height, width]`.
    pub(super) fn cells(shape: &[usize], fortran_order: bool) -> Result<Self, LatentsError> {
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
        check_extents(shape)?;
        let [image, channel, row, column] = strides(extents, fortran_order);
        let [row, column] = [row, column].map(Steps::even);
        Ok(Self { extents, image, channel, row, column })
    }

    /// That of `[batch, tokens, values]` or `[tokens, values]`, where an image has the `grid` (rows,
    /// columns) of tokens, as many as the shape says, and a token the values of so many `channels`.
    pub(super) fn tokens(
        shape: &[usize],
        fortran_order: bool,
        packing: Packing,
        channels: usize,
        grid: [usize; 2],
    ) -> Result<Self, LatentsError> {
        check_extents(shape)?;
        let [batch, tokens, values] = match *shape {
            [batch, tokens, values] => [batch, tokens, values],
            [tokens, values] => [1, tokens, values],
            _ => unreachable!("packed latents have two or three axes"),
        };
        let [rows, columns] = grid;
        assert_eq!((tokens, values), (rows * columns, packing.token_len(channels)));
        let [image, _, token, value] = strides([batch, 1, tokens, values], fortran_order);
        let [channel, row, column] = packing.strides(channels).map(|stride| stride * value);
        let Packing { patch_height, patch_width, .. } = packing;
        Ok(Self {
            extents: [batch, channels, rows * patch_height, columns * patch_width],
            image,
            channel,
            row: Steps { patch: patch_height, token: columns * token, cell: row },
            column: Steps { patch: patch_width, token, cell: column },
        })
    }
}

fn check_extents(shape: &[usize]) -> Result<(), LatentsError> {
    let valid = |&extent: &usize| extent > 0 && u32::try_from(extent).is_ok();
    if shape.iter().all(valid) {
        return Ok(());
    }
    Err(LatentsError::Extent { shape: text::shape(shape) })
}

/// Distance between neighbours along each of four axes, in elements of an array that exists.
fn strides([first, second, third, fourth]: [usize; 4], fortran_order: bool) -> [usize; 4] {
    if fortran_order {
        // Where an array has fewer axes the missing ones are 1, so their strides never count.
        [1, first, first * second, first * second * third]
    } else {
        [second * third * fourth, third * fourth, fourth, 1]
    }
}

/// Reads `data`, which holds exactly the elements of `layout`, as f32, batch by batch, row by row,
/// channels fastest.
pub(super) fn channels_last(
    data: &[u8],
    element: Element,
    layout: &Layout,
) -> Result<Vec<f32>, LatentsError> {
    macro_rules! with {
        ($size:literal, $decode:expr) => {{
            let (elements, _) = data.as_chunks::<$size>();
            gather(elements, layout, $decode)
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
    layout: &Layout,
    decode: impl Fn([u8; SIZE]) -> f32,
) -> Result<Vec<f32>, LatentsError> {
    let [batch, channels, height, width] = layout.extents;
    let elements = batch * channels * height * width;
    assert_eq!(source.len(), elements, "readers pass as many bytes as the shape has");
    let mut out = Vec::new();
    out.try_reserve_exact(elements)
        .map_err(|_| LatentsError::OutOfMemory { bytes: elements.saturating_mul(4) })?;

    for sample in 0..batch {
        for row in 0..height {
            for column in 0..width {
                let start = sample * layout.image + layout.row.to(row) + layout.column.to(column);
                for channel in 0..channels {
                    let value = decode(source[start + channel * layout.channel]);
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
