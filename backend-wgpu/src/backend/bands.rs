//! How a conv that stages its input is cut into bands of rows, each small enough.

use std::ops::Range;

use halovae_core::Axis;
use halovae_engine::program::{Conv, Reach};

use crate::layout::Layout;
use crate::store::block_bytes;
use crate::transform::Transform;

/// The most bytes of a band. Large enough to fill a GPU, small enough to stay in its cache.
pub(super) const BAND_BYTES: u64 = 32 << 20;

/// How a conv that stages its input goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// One product, each row of which is gathered from the band.
    Direct,
    /// Products of transformed windows.
    Winograd(Transform),
}

/// Rows of output that a band makes, and the bytes that this takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bands {
    pub(super) rows: usize,
    /// The staged input.
    pub(super) stage: u64,
    /// Winograd's transformed windows and products, or nothing.
    pub(super) windows: u64,
    pub(super) products: u64,
}

impl Bands {
    pub(super) fn new(
        conv: &Conv,
        method: Method,
        input: &Layout,
        out: &Layout,
        most: u64,
    ) -> Self {
        let columns = method.reach(conv, Axis::Width, &(0..out.width));
        let row = columns.len as u64 * input.quads as u64 * input.quad_bytes();
        let of = |rows: usize| {
            // Where a band begins within a cell can cost one row more.
            let stage = (method.reach(conv, Axis::Height, &(0..rows)).len as u64 + 1) * row;
            let windows = match method {
                Method::Direct => 0,
                Method::Winograd(transform) => {
                    let [down, across] = [rows, out.width].map(|n| n.div_ceil(transform.outputs()));
                    (transform.matrices() * down * across) as u64
                }
            };
            Self {
                rows,
                stage,
                windows: windows * input.quads as u64 * input.quad_bytes(),
                products: windows * out.quads as u64 * 16,
            }
        };
        let fits = |bands: Self| bands.stage.max(bands.windows).max(bands.products) <= most;
        let all = out.height.min(out.chunk_rows).max(1);
        if fits(of(all)) {
            return of(all);
        }
        // The most rows that fit; one has to.
        let (mut low, mut high) = (1, all);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if fits(of(middle)) { low = middle } else { high = middle }
        }
        let whole = match method {
            Method::Direct => 1,
            Method::Winograd(transform) => transform.outputs(),
        };
        // A window takes the same room however many of its rows are wanted.
        of((low - low % whole).max(whole).min(all))
    }

    pub(super) fn bytes(&self) -> u64 {
        [self.stage, self.windows, self.products]
            .into_iter()
            .filter(|&n| n > 0)
            .map(block_bytes)
            .sum()
    }
}

impl Method {
    /// How often cells are repeated while staging.
    pub(super) fn staged(self, conv: &Conv) -> u32 {
        match self {
            Method::Direct => 1,
            Method::Winograd(_) => conv.upsample(),
        }
    }

    pub(super) fn reach(self, conv: &Conv, axis: Axis, outputs: &Range<usize>) -> Reach {
        match self {
            Method::Direct => Reach::new(conv, axis, outputs),
            // Whole windows, staged as they are read: one of an upsampled image has no simpler
            // transform.
            Method::Winograd(transform) => {
                let before = conv.windows[axis].before;
                let low = outputs.start as i64 - i64::from(before);
                Reach {
                    low,
                    len: outputs.len().next_multiple_of(transform.outputs()) + 2,
                    offset: 0,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use halovae_engine::program::{Op, ProgramBuilder};
    use halovae_engine::tensor::Shape;

    use super::*;
    use crate::layout::Element;

    #[test]
    fn bands_are_whole_windows_and_as_large_as_they_may_be() {
        let mut builder = ProgramBuilder::new(64).unwrap();
        let latents = builder.latents();
        let out = builder.conv("conv", latents, 32, 3).unwrap();
        let program = builder.finish(out).unwrap();
        let Op::Conv(conv) = &program.ops()[0] else { panic!() };
        for (method, whole) in [
            (Method::Direct, 1),
            (Method::Winograd(Transform::F2), 2),
            (Method::Winograd(Transform::F4), 4),
        ] {
            for (height, width) in [(1, 1), (3, 50), (64, 37), (65, 128)] {
                let layout = |channels| {
                    Layout::new(Shape::new(1, height, width, channels), Element::F32, 1 << 30)
                };
                let (input, out) = (layout(64), layout(32));
                let bands = |most| Bands::new(conv, method, &input, &out, most);
                let largest = |b: Bands| b.stage.max(b.windows).max(b.products);
                let all = bands(u64::MAX);
                assert_eq!(all.rows, height);
                let smallest = bands(0);
                assert_eq!(smallest.rows, whole.min(height), "{method:?}");
                let mut before = 0;
                for most in (0..20).map(|shift| 1000 << shift) {
                    let some = bands(most);
                    assert!(some.rows == height || some.rows % whole == 0, "{some:?}");
                    assert!(largest(some) <= most.max(largest(smallest)), "{some:?}, {most}");
                    // With more room as many rows or more, with just as much the same.
                    assert!(some.rows >= before, "{some:?}, {most}");
                    before = some.rows;
                    assert_eq!(bands(largest(some)), some);
                }
            }
        }
    }
}
