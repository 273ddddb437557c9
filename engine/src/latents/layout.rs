//! From an array of any element type and axis order to f32, channels last.

use half::{bf16, f16};

use super::error::{LatentsError, Place};
use super::packing::{Packing, TokenContent};
use crate::files::text;

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
    /// Batch, channels, frames, height, width.
    pub(super) extents: [usize; 5],
    /// Elements of the array, those of `extents` and others.
    stored: usize,
    /// Elements before the first.
    origin: usize,
    /// From sample to sample, in elements.
    sample: usize,
    /// From channel to channel.
    channel: usize,
    /// From frame to frame.
    frame: usize,
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
    /// That of `[batch, channels, height, width]` or `[channels, height, width]`, and of videos with
    /// `frames` behind the channels where a decoder of so many `video_channels` takes them; one of images
    /// takes a single frame. Of four axes the second are frames of one video only if they cannot be
    /// channels.
    pub(super) fn cells(
        shape: &[usize],
        fortran_order: bool,
        video_channels: Option<usize>,
    ) -> Result<Self, LatentsError> {
        let is_video = |channels: usize| video_channels == Some(channels);
        let extents = match *shape {
            [channels, height, width] => [1, channels, 1, height, width],
            [channels, frames, height, width] if is_video(channels) && !is_video(frames) => {
                [1, channels, frames, height, width]
            }
            [batch, channels, height, width] => [batch, channels, 1, height, width],
            [batch, channels, frames, height, width] => {
                if video_channels.is_none() && frames > 1 {
                    return Err(LatentsError::Frames { frames, shape: text::shape(shape) });
                }
                [batch, channels, frames, height, width]
            }
            _ => {
                let expected = match video_channels {
                    None => "[batch, channels, height, width] or [channels, height, width]",
                    Some(_) => {
                        "[batch, channels, frames, height, width] or one frame without `frames`"
                    }
                };
                let hint = match shape.len() {
                    2 => "; packed latents of a transformer must be unpacked first",
                    _ => "",
                };
                let (axes, shape) = (shape.len(), text::shape(shape));
                return Err(LatentsError::Axes { axes, shape, expected, hint });
            }
        };
        check_extents(shape)?;
        let [sample, channel, frame, row, column] = strides(extents, fortran_order);
        let [row, column] = [row, column].map(Steps::even);
        let stored = extents.iter().product();
        Ok(Self { extents, stored, origin: 0, sample, channel, frame, row, column })
    }

    /// That of `[batch, values, rows, columns]` or `[values, rows, columns]`, where values are those of
    /// tokens of cells with so many `channels`.
    pub(super) fn in_place(
        shape: &[usize],
        fortran_order: bool,
        packing: Packing,
        channels: usize,
    ) -> Result<Self, LatentsError> {
        let cells = Self::cells(shape, fortran_order, None)?;
        let [batch, values, _, rows, columns] = cells.extents;
        assert_eq!(values, packing.token_len(channels));
        let [channel, row, column] = packing.strides(channels).map(|stride| stride * cells.channel);
        let Packing { patch_height, patch_width, .. } = packing;
        Ok(Self {
            extents: [batch, channels, 1, rows * patch_height, columns * patch_width],
            channel,
            row: Steps { patch: patch_height, token: cells.row.token, cell: row },
            column: Steps { patch: patch_width, token: cells.column.token, cell: column },
            ..cells
        })
    }

    /// That of `[batch, tokens, values]` or `[tokens, values]`, where an image has the `grid` (rows,
    /// columns) of tokens, as many as the shape says, and a token the values of so many `channels`. Layers
    /// are frames.
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
        let picture = rows * columns;
        assert_eq!((tokens % picture, values), (0, packing.token_len(channels)));
        let (skipped, frames) = match packing.content {
            TokenContent::Picture | TokenContent::Video => (0, tokens / picture),
            TokenContent::Layers => (1, tokens / picture - 1),
        };
        let [sample, _, _, token, value] = strides([batch, 1, 1, tokens, values], fortran_order);
        let [channel, row, column] = packing.strides(channels).map(|stride| stride * value);
        let Packing { patch_height, patch_width, .. } = packing;
        let frame = picture * token;
        Ok(Self {
            extents: [batch, channels, frames, rows * patch_height, columns * patch_width],
            stored: batch * tokens * values,
            origin: skipped * frame,
            sample,
            channel,
            frame,
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

/// Distance between neighbours along each of five axes, in elements of an array that exists. Where it
/// has fewer axes the missing ones are 1, so their strides never count.
fn strides(extents: [usize; 5], fortran_order: bool) -> [usize; 5] {
    let mut strides = [0; 5];
    let mut stride = 1;
    let mut step = |axis: usize| {
        strides[axis] = stride;
        stride *= extents[axis];
    };
    match fortran_order {
        true => (0..5).for_each(&mut step),
        false => (0..5).rev().for_each(&mut step),
    }
    strides
}

/// Reads `data`, which holds exactly the elements of an array, where `layout` has them, as f32, sample by sample, frame by
/// frame, row by row, channels fastest.
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
    let [batch, channels, frames, height, width] = layout.extents;
    let elements = batch * channels * frames * height * width;
    assert_eq!(source.len(), layout.stored, "readers pass as many bytes as the shape has");
    let mut out = Vec::new();
    out.try_reserve_exact(elements)
        .map_err(|_| LatentsError::OutOfMemory { bytes: elements.saturating_mul(4) })?;

    for sample in 0..batch {
        for frame in 0..frames {
            let image = layout.origin + sample * layout.sample + frame * layout.frame;
            for row in 0..height {
                for column in 0..width {
                    let start = image + layout.row.to(row) + layout.column.to(column);
                    for channel in 0..channels {
                        let value = decode(source[start + channel * layout.channel]);
                        if !value.is_finite() {
                            let frame = (frames > 1).then_some(frame);
                            return Err(LatentsError::NotFinite {
                                value,
                                at: Place { batch: sample, channel, frame, row, column },
                                hint: "; the model that made them overflowed, or the file is damaged",
                            });
                        }
                        out.push(value);
                    }
                }
            }
        }
    }
    Ok(out)
}
