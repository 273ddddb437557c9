//! The weights of a convolution through transforms, as the products read them.

use rayon::ThreadPool;

use super::super::pack::panel_width;
use super::super::{Algorithm, Conv};
use super::blocks::PRODUCTS;
use crate::pool::{Shared, for_each};

/// Transformed weights, `[panel][position][tap in time][in channel][column]`.
pub(super) struct Weights {
    base: Shared<f32>,
    in_channels: usize,
    positions: usize,
    /// For each tap its place among those that are there.
    taps: Vec<usize>,
    /// How many are there.
    present: usize,
}

impl Weights {
    /// Those that the convolution keeps.
    pub(super) fn packed(conv: &Conv) -> Self {
        let time = conv.shape.kernel[0];
        Self {
            base: Shared(conv.packed.data.const_ptr().cast_mut()),
            in_channels: conv.shape.in_channels,
            positions: conv.shape.positions(conv.packing) / time,
            taps: (0..time).collect(),
            present: time,
        }
    }

    /// Makes the 36 positions of each panel out of its nine taps, for those taps in time that a run
    /// reads (`[outputs][time]`), in `to`, which has room for all.
    pub(super) fn transform(
        conv: &Conv,
        pool: &ThreadPool,
        read: &[Option<usize>],
        to: Shared<f32>,
    ) -> Self {
        let (table, shape) = (conv.table, &conv.shape);
        let time = shape.kernel[0];
        debug_assert_eq!(conv.packing, Algorithm::Direct);
        let present: Vec<usize> = (0..time)
            .filter(|tap| read.iter().skip(*tap).step_by(time).any(Option::is_some))
            .collect();
        let mut taps = vec![0; time];
        for (place, &tap) in present.iter().enumerate() {
            taps[tap] = place;
        }
        let weights = Self {
            base: to,
            in_channels: shape.in_channels,
            positions: PRODUCTS,
            taps,
            present: present.len(),
        };
        let from = Shared(conv.packed.data.const_ptr().cast_mut());
        let panels = shape.out_channels.div_ceil(table.panel);
        // Input channels of a task; they are contiguous in each position.
        let step = 64;
        let steps = shape.in_channels.div_ceil(step);
        for_each(pool, panels * present.len() * steps, |i, _| {
            let (rest, ic) = (i / steps, i % steps * step);
            let (oc, tap) = (rest / present.len() * table.panel, present[rest % present.len()]);
            let width = panel_width(table, shape.out_channels, oc);
            let rows = step.min(shape.in_channels - ic);
            let plane = shape.in_channels * width;
            // SAFETY: `from` holds nine and `to` holds 36 planes for each tap of this panel, and no
            // other task writes these input channels of this tap.
            unsafe {
                (table.f43_weights)(
                    from.get().add(oc * conv.packed.rows + tap * 9 * plane + ic * width),
                    weights.rows(oc, width, 0, tap).cast_mut().add(ic * width),
                    [plane, weights.present * plane],
                    rows * width / table.lanes,
                );
            }
        });
        weights
    }

    /// Taps that are there.
    pub(super) fn taps(&self) -> usize {
        self.present
    }

    /// The rows of tap `tap` at position `position`, in the panel of `width` columns that starts at
    /// output channel `oc`. One position more than there are is where the next panel begins.
    pub(super) fn rows(&self, oc: usize, width: usize, position: usize, tap: usize) -> *const f32 {
        let panel = oc * self.positions * self.present * self.in_channels;
        let row = (position * self.present + self.taps[tap]) * self.in_channels;
        self.base.get().wrapping_add(panel + row * width).cast_const()
    }
}
