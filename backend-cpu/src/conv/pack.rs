//! Weights in the order in which the kernels read them.

use crate::buffer::Buffer;
use crate::error::KernelError;
use crate::table::Table;

/// Weights in panels of `Table::panel` output channels: `[panel][position][in channel][column]`.
/// The last panel is only as wide as its channels need, rounded up to whole vectors.
#[derive(Debug)]
pub(crate) struct Packed {
    pub data: Buffer,
    /// Rows of a panel: positions times input channels.
    pub rows: usize,
}

/// Width in memory of the panel that starts at output channel `oc`.
pub(crate) fn panel_width(table: &Table, out_channels: usize, oc: usize) -> usize {
    (out_channels - oc).min(table.panel).next_multiple_of(table.lanes)
}

/// Floats of a packed set of weights.
pub(crate) fn packed_len(table: &Table, rows: usize, out_channels: usize) -> usize {
    rows * out_channels.next_multiple_of(table.lanes)
}

/// Packs weights given as `taps` floats for each output and input channel (`[out][in][tap]`);
/// `transform` makes `N` positions of the taps of one pair of channels.
pub(crate) fn pack(
    table: &Table,
    weight: &[f32],
    [out_channels, in_channels]: [usize; 2],
    positions: usize,
    mut transform: impl FnMut(&[f32], &mut [f32]),
) -> Result<Packed, KernelError> {
    let rows = positions * in_channels;
    let mut data = Buffer::new(packed_len(table, rows, out_channels))?;
    let taps = weight.len() / (out_channels * in_channels);
    let mut at = vec![0.0f32; positions];
    let base = data.uninit();
    for oc in (0..out_channels).step_by(table.panel) {
        let width = panel_width(table, out_channels, oc);
        let panel = &mut base[oc * rows..][..rows * width];
        for column in 0..width {
            for ic in 0..in_channels {
                if oc + column < out_channels {
                    let pair = (oc + column) * in_channels + ic;
                    transform(&weight[pair * taps..][..taps], &mut at);
                } else {
                    at.fill(0.0);
                }
                for (position, value) in at.iter().enumerate() {
                    panel[(position * in_channels + ic) * width + column].write(*value);
                }
            }
        }
    }
    Ok(Packed { data, rows })
}

/// Transforms the 3x3 kernels of all taps in time: all taps of the first position, then all of the
/// second, so that a position's sum over time and channels is one stretch of a panel.
pub(crate) fn planes(taps: &[f32], out: &mut [f32], transform: impl Fn(&[f32], &mut [f32])) {
    let time = taps.len() / 9;
    let mut positions = [0.0; 36];
    let positions = &mut positions[..out.len() / time];
    for (tap, plane) in taps.chunks_exact(9).enumerate() {
        transform(plane, positions);
        for (position, value) in positions.iter().enumerate() {
            out[position * time + tap] = *value;
        }
    }
}

/// The weight transform of F(4x4, 3x3), in double precision and rounded once. See [`super::tiles`].
pub(crate) fn f43(taps: &[f32], out: &mut [f32]) {
    let axis = |g: [f64; 3]| {
        let (a, b) = (std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::SQRT_2);
        let (even_a, even_b) = (g[0] + 0.5 * g[2], g[0] + 2.0 * g[2]);
        [
            g[0],
            -2.0 / 3.0 * (even_a + a * g[1]),
            -2.0 / 3.0 * (even_a - a * g[1]),
            (even_b + b * g[1]) / 6.0,
            (even_b - b * g[1]) / 6.0,
            g[2],
        ]
    };
    two_axes::<6>(taps, out, axis);
}

/// The weights s = w0 + w1 + w2, w0, w2 on each axis. See [`super::tiles`].
pub(crate) fn doubled(taps: &[f32], out: &mut [f32]) {
    two_axes::<3>(taps, out, |g| [g[0] + g[1] + g[2], g[0], g[2]]);
}

fn two_axes<const N: usize>(taps: &[f32], out: &mut [f32], axis: impl Fn([f64; 3]) -> [f64; N]) {
    let tap = |y: usize, x: usize| f64::from(taps[y * 3 + x]);
    let columns: [[f64; N]; 3] = std::array::from_fn(|x| axis([tap(0, x), tap(1, x), tap(2, x)]));
    for y in 0..N {
        let row = axis([columns[0][y], columns[1][y], columns[2][y]]);
        for x in 0..N {
            out[y * N + x] = row[x] as f32;
        }
    }
}
