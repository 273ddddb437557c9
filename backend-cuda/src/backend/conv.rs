//! Convs: a product that reads its input where it lies or, with a norm or a halo, bands of it that
//! are staged before.

use std::ops::Range;

use cudarc::driver::sys::CUdeviceptr;
use halovae_core::Margins;
use halovae_engine::backend::{BackendError, Halo, Operands, Surroundings};
use halovae_engine::program::{Conv2d, Reach};
use halovae_engine::tensor::Shape;

use super::stage::{Prologue, Window};
use super::{CudaBackend, CudaWeights};
use crate::params::Product;
use crate::store::{Block, Value, counted_bytes, wide};

/// Rows of output that a band makes, and the bytes of its staged input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bands {
    rows: usize,
    bytes: u64,
}

impl Bands {
    /// As many rows as fit into `most` bytes; one has to.
    fn new(conv: &Conv2d, out: Shape, element_bytes: u64, most: u64) -> Self {
        let columns = Reach::new(conv, 1, &(0..out.width)).len;
        let row = columns as u64 * wide(conv.in_channels as usize) as u64 * element_bytes;
        // Where a band begins within a cell can cost one row more.
        let of = |rows: usize| Reach::new(conv, 0, &(0..rows)).len as u64 * row + row;
        let (mut low, mut high) = (1, out.height.max(1) + 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if of(middle) <= most { low = middle } else { high = middle }
        }
        Self { rows: low, bytes: of(low) }
    }
}

/// What all products of a conv have in common.
#[derive(Clone, Copy)]
struct Common {
    params: Product,
    out: CUdeviceptr,
    /// What is added, or 0.
    residual: CUdeviceptr,
    /// Bytes of a row of the output.
    row_bytes: u64,
}

impl CudaBackend {
    /// Bytes that the conv needs beside its operands and its output, unless its input has a halo.
    pub(super) fn conv_workspace(&self, conv: &Conv2d, input: Shape) -> u64 {
        let Some(_) = conv.norm else { return 0 };
        let bands = self.bands(conv, conv.output_shape(input));
        counted_bytes(bands.bytes) + counted_bytes(super::norm::affine_bytes(input))
    }

    fn bands(&self, conv: &Conv2d, out: Shape) -> Bands {
        let limit = self.shared.options.limits.band_bytes;
        Bands::new(conv, out, self.store.element().bytes(), limit)
    }

    pub(super) fn conv(
        &self,
        name: &str,
        conv: &Conv2d,
        weights: &CudaWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let mut around = operands.take_surroundings();
        let result = self.run_conv(name, conv, weights, &mut operands, &mut around);
        // Somebody sends the halo, whether this conv reads it or not, and whatever went wrong.
        if let Some(around) = &mut around {
            let fetched = (around.fetch)();
            return result.and_then(|out| fetched.map(|_| out));
        }
        result
    }

    fn run_conv(
        &self,
        name: &str,
        conv: &Conv2d,
        weights: &CudaWeights,
        operands: &mut Operands<'_, Value>,
        around: &mut Option<Surroundings<'_, Value>>,
    ) -> Result<Value, BackendError> {
        let residual_at = 1 + usize::from(conv.norm.is_some());
        let shape = operands.get(0).shape;
        let owned = conv.residual.and_then(|_| operands.take_owned(residual_at));
        let (out, residual) = match owned {
            Some(owned) => {
                let out = self.owned_feature(name, owned)?;
                let there = out.pointer();
                (out, there)
            }
            None => (self.store.value(name, conv.output_shape(shape))?, 0),
        };
        let shared = match conv.residual {
            Some(_) if residual == 0 => Some(self.feature(name, operands.get(residual_at))?),
            _ => None,
        };
        let input = self.feature(name, operands.get(0))?;
        let common = Common {
            params: Product {
                right: weights.kernel(conv),
                bias: conv.bias.map_or(0, |id| weights.vector(id)),
                width: out.shape.width as u32,
                columns: out.wide() as u32,
                channels: input.wide() as u32,
                right_rows: input.wide() as u32,
                taps: conv.kernel[0] * conv.kernel[1],
                taps_x: conv.kernel[1],
                stride_y: conv.stride[0],
                stride_x: conv.stride[1],
                up: conv.upsample,
                ..Product::default()
            },
            out: out.pointer(),
            residual: shared.as_ref().map_or(residual, |shared| shared.pointer()),
            row_bytes: out.shape.width as u64 * out.position_bytes(),
        };
        let beyond = around.as_ref().is_some_and(|around| around.margins != Margins::default());
        if conv.norm.is_none() && !beyond {
            self.direct(conv, &common, &input, &out)?;
            return Ok(out);
        }
        let affine = match conv.norm {
            Some(norm) => Some(self.affine(name, &norm, weights, &input, operands.get(1))?),
            None => None,
        };
        let silu = conv.norm.is_some_and(|norm| norm.silu);
        let prologue = Prologue { affine: affine.as_ref(), silu };
        self.run_bands(name, conv, &common, &input, &prologue, around, out.shape)?;
        Ok(out)
    }

    /// All samples at once, from where the input lies.
    fn direct(
        &self,
        conv: &Conv2d,
        common: &Common,
        input: &Value,
        out: &Value,
    ) -> Result<(), BackendError> {
        let positions = out.positions();
        self.product(Product {
            left: input.pointer(),
            out: common.out,
            there: common.residual,
            left_sample: (input.positions() * input.wide()) as u64,
            rows: (out.shape.batch * positions) as u32,
            sample_rows: positions as u32,
            in_rows: input.shape.height as u32,
            in_width: input.shape.width as u32,
            offset_y: -(conv.padding.top as i32),
            offset_x: -(conv.padding.left as i32),
            ..common.params
        })
    }

    /// Band by band: first those that read no halo, then, while the device works on these, the halo
    /// is fetched.
    #[expect(clippy::too_many_arguments, reason = "the operands of a fused conv")]
    fn run_bands(
        &self,
        name: &str,
        conv: &Conv2d,
        common: &Common,
        input: &Value,
        prologue: &Prologue<'_>,
        around: &mut Option<Surroundings<'_, Value>>,
        out: Shape,
    ) -> Result<(), BackendError> {
        let bands = self.bands(conv, out);
        let margins = around.as_ref().map_or(Margins::default(), |around| around.margins);
        let beside = margins.left + margins.right > 0;
        let reads_halo = |rows: &Range<usize>| {
            let reach = Reach::new(conv, 0, rows);
            let below = reach.low + reach.len as i64 > input.shape.height as i64;
            beside || (margins.top > 0 && reach.low < 0) || (margins.bottom > 0 && below)
        };
        let band = self.store.block(name, bands.bytes)?;
        let run = |halo, (sample, rows)| {
            self.run_band(conv, common, input, prologue, halo, &band, sample, rows, out)
        };
        let mut late = Vec::new();
        for sample in 0..out.batch {
            for start in (0..out.height).step_by(bands.rows) {
                let rows = start..(start + bands.rows).min(out.height);
                match reads_halo(&rows) {
                    true => late.push((sample, rows)),
                    false => run(None, (sample, rows))?,
                }
            }
        }
        let halo = match around.take() {
            Some(around) => Some((margins, self.features(name, (around.fetch)()?)?)),
            None => None,
        };
        late.into_iter().try_for_each(|item| run(halo.as_ref(), item))
    }

    fn features(&self, name: &str, halo: Halo<Value>) -> Result<Halo<Value>, BackendError> {
        let feature =
            |strip: Option<Value>| strip.map(|strip| self.owned_feature(name, strip)).transpose();
        let Halo { above, below, before, behind } = halo;
        Ok(Halo {
            above: feature(above)?,
            below: feature(below)?,
            before: feature(before)?,
            behind: feature(behind)?,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the operands of a fused conv and a band")]
    fn run_band(
        &self,
        conv: &Conv2d,
        common: &Common,
        input: &Value,
        prologue: &Prologue<'_>,
        halo: Option<&(Margins, Halo<Value>)>,
        band: &Block,
        sample: usize,
        rows: Range<usize>,
        out: Shape,
    ) -> Result<(), BackendError> {
        let [y, x] = [(0, &rows), (1, &(0..out.width))]
            .map(|(axis, outputs)| Reach::new(conv, axis, outputs));
        let window = Window { top: y.low, left: x.low, height: y.len, width: x.len };
        self.stage(prologue, input, sample, window, halo, band)?;
        let at = (sample * out.height + rows.start) as u64 * common.row_bytes;
        let positions = (rows.len() * out.width) as u32;
        self.product(Product {
            left: band.pointer(),
            out: common.out + at,
            there: if common.residual == 0 { 0 } else { common.residual + at },
            rows: positions,
            sample_rows: positions,
            in_rows: y.len as u32,
            in_width: x.len as u32,
            offset_y: y.offset as i32,
            offset_x: x.offset as i32,
            ..common.params
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv() -> Conv2d {
        let mut builder = halovae_engine::program::ProgramBuilder::new(4).unwrap();
        let latents = builder.latents();
        let out = builder.conv("conv", latents, 8, 3).unwrap();
        let program = builder.finish(out).unwrap();
        let halovae_engine::program::Op::Conv2d(conv) = program.ops()[0] else { panic!() };
        conv
    }

    #[test]
    fn bands_fit_or_are_one_row() {
        let out = Shape::new(1, 100, 50, 8);
        // Two more columns, eight channels of four bytes.
        let row = 52 * 8 * 4;
        assert_eq!(Bands::new(&conv(), out, 4, 1), Bands { rows: 1, bytes: 4 * row });
        assert_eq!(Bands::new(&conv(), out, 4, 10 * row), Bands { rows: 7, bytes: 10 * row });
        assert_eq!(Bands::new(&conv(), out, 4, 1 << 40), Bands { rows: 100, bytes: 103 * row });
    }
}
