//! Convs: a product that reads its input where it lies or, with a norm or a halo, areas of it that
//! are staged before.

use cudarc::driver::sys::CUdeviceptr;
use halovae_core::{Axis, Margins};
use halovae_engine::backend::{BackendError, Halo, Operands, Surroundings};
use halovae_engine::program::{Conv, Reach};
use halovae_engine::tensor::Shape;

use super::areas::{Area, Edges, areas, even};
use super::phase::{phases, taps};
use super::shrink::shrinks;
use super::stage::{Prologue, Window};
use super::weights::phase_elements;
use super::{CudaBackend, CudaWeights};
use crate::kernels::{PRODUCT_COLUMNS, PRODUCT_ROWS};
use crate::params::Product;
use crate::product::Right;
use crate::store::{Block, counted_bytes};
use crate::value::{Value, padded};

/// Bytes of the staged input of so many outputs. Where they begin within an upsampled cell can cost
/// one row more.
fn band_bytes(conv: &Conv, [rows, columns]: [usize; 2], element_bytes: u64) -> u64 {
    let across = Reach::new(conv, Axis::Width, &(0..columns)).len as u64;
    let row = across * padded(conv.in_channels as usize) as u64 * element_bytes;
    Reach::new(conv, Axis::Height, &(0..rows)).len as u64 * row + row
}

/// As many rows of so many outputs as `most` bytes hold; one has to.
fn band_rows(conv: &Conv, [height, columns]: [usize; 2], element_bytes: u64, most: u64) -> usize {
    let (mut low, mut high) = (1, height.max(1) + 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if band_bytes(conv, [middle, columns], element_bytes) <= most {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Outputs along each side that read beyond `input`, where `margins` say that there is a halo.
fn edges(conv: &Conv, input: Shape, out: Shape, margins: Margins) -> Edges {
    let along = |axis, cells: usize, outputs: usize| {
        let margins = margins.along(axis);
        let reads = |at: usize| Reach::new(conv, axis, &(at..at + 1));
        let before = |&at: &usize| margins[0] > 0 && reads(at).low < 0;
        let behind =
            |&at: &usize| margins[1] > 0 && reads(at).low + reads(at).len as i64 > cells as i64;
        let first = (0..outputs).take_while(before).count();
        [first, (0..outputs).rev().take_while(behind).count()]
    };
    let [top, bottom] = along(Axis::Height, input.height, out.height);
    let [left, right] = along(Axis::Width, input.width, out.width);
    Edges { top, bottom, left, right }
}

/// What all products of a conv have in common.
#[derive(Clone, Copy)]
struct Common {
    params: Product,
    out: CUdeviceptr,
    /// What is added, or 0.
    residual: CUdeviceptr,
    out_shape: Shape,
    /// Bytes of a position of the output.
    position_bytes: u64,
}

/// Cells that are read where they lie.
#[derive(Clone, Copy, Debug)]
struct Source {
    left: CUdeviceptr,
    /// Elements from one sample to the next.
    sample: u64,
    rows: usize,
    columns: usize,
    /// Where the first tap of the first output reads, in cells repeated as the conv repeats them.
    offset: [i64; 2],
}

/// Outputs of some samples: of each the same rectangle.
#[derive(Clone, Copy, Debug)]
struct Outputs {
    /// The first, counted over all samples.
    first: usize,
    samples: usize,
    rows: usize,
    columns: usize,
}

impl CudaBackend {
    /// Whether a conv's input is brought together before it is multiplied even if it has no halo: for a norm,
    /// and where taps are to read cells that are all there.
    fn is_staged(&self, conv: &Conv) -> bool {
        conv.norm.is_some() || (self.shared.uses_hopper && conv.kernel() != [1, 1])
    }

    /// Bytes that the conv needs beside its operands and its output, unless its input has a halo.
    pub(super) fn conv_workspace(&self, conv: &Conv, input: Shape) -> u64 {
        if shrinks(conv) {
            return self.shrink_workspace(input);
        }
        if !self.is_staged(conv) {
            return 0;
        }
        let out = conv.output_shape(input);
        let element_bytes = self.store.element().bytes();
        let rows = band_rows(
            conv,
            [out.height, out.width],
            element_bytes,
            self.shared.options.limits.band_bytes,
        );
        let band = band_bytes(conv, [even(out.height, rows), out.width], element_bytes);
        let affine = conv.norm.map_or(0, |_| counted_bytes(super::norm::affine_bytes(input)));
        counted_bytes(band) + affine
    }

    pub(super) fn conv(
        &self,
        name: &str,
        conv: &Conv,
        weights: &CudaWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let mut around = operands.take_surroundings();
        let result = self.run_conv(name, conv, weights, &mut operands, &mut around);
        // A neighbour sends the halo, whether this conv reads it or not, and whatever went wrong.
        if let Some(around) = &mut around {
            let fetched = (around.fetch)();
            return result.and_then(|out| fetched.map(|_| out));
        }
        result
    }

    fn run_conv(
        &self,
        name: &str,
        conv: &Conv,
        weights: &CudaWeights,
        operands: &mut Operands<'_, Value>,
        around: &mut Option<Surroundings<'_, Value>>,
    ) -> Result<Value, BackendError> {
        // What lies around is for others to read from the input, too.
        if shrinks(conv)
            && around.is_none()
            && let Some(input) = operands.take_owned(0)
        {
            let input = self.owned_feature(name, input)?;
            return self.shrink(name, conv, weights, input);
        }
        let residual_at = conv.residual_operand();
        let shape = operands.get(0).shape;
        let owned = residual_at.and_then(|at| operands.take_owned(at));
        let (out, residual) = match owned {
            Some(owned) => {
                let out = self.owned_feature(name, owned)?;
                let residual = out.pointer();
                (out, residual)
            }
            None => (self.store.value(name, conv.output_shape(shape))?, 0),
        };
        let shared = match residual_at {
            Some(at) if residual == 0 => Some(self.feature(name, operands.get(at))?),
            _ => None,
        };
        let input = self.feature(name, operands.get(0))?;
        let [taps_y, taps_x] = taps(conv);
        let common = Common {
            params: Product {
                right: weights.kernel(conv),
                bias: conv.bias.map_or(0, |id| weights.vector(id)),
                columns: out.padded() as u32,
                right_valid: out.padded() as u32,
                channels: input.padded() as u32,
                taps: taps_y * taps_x,
                taps_x,
                stride_y: conv.stride()[0],
                stride_x: conv.stride()[1],
                ..Product::default()
            },
            out: out.pointer(),
            residual: shared.as_ref().map_or(residual, |shared| shared.pointer()),
            out_shape: out.shape,
            position_bytes: out.position_bytes(),
        };
        let beyond = around.as_ref().is_some_and(|around| around.margins != Margins::default());
        if !self.is_staged(conv) && !beyond {
            self.direct(conv, &common, &input)?;
            return Ok(out);
        }
        let affine = match conv.norm {
            Some(norm) => Some(self.affine(name, &norm, weights, &input, operands.get(1))?),
            None => None,
        };
        let silu = conv.norm.is_some_and(|norm| norm.silu);
        let prologue = Prologue { affine: affine.as_ref(), silu };
        self.run_areas(name, conv, &common, &input, &prologue, around)?;
        Ok(out)
    }

    /// All samples at once, from where the input lies.
    fn direct(&self, conv: &Conv, common: &Common, input: &Value) -> Result<(), BackendError> {
        let Shape { batch, height, width, .. } = common.out_shape;
        let source = Source {
            left: input.pointer(),
            sample: (input.positions() * input.padded()) as u64,
            rows: input.shape.height,
            columns: input.shape.width,
            offset: [conv.padding().top, conv.padding().left].map(|padding| -i64::from(padding)),
        };
        let outputs = Outputs { first: 0, samples: batch, rows: height, columns: width };
        self.products(conv, common, source, outputs)
    }

    /// One product for each phase of the outputs.
    fn products(
        &self,
        conv: &Conv,
        common: &Common,
        source: Source,
        outputs: Outputs,
    ) -> Result<(), BackendError> {
        let out = common.out_shape;
        let up = conv.upsample();
        let phase_bytes = phase_elements(conv) * self.store.element().bytes();
        let [offset_y, offset_x] = source.offset;
        for y in phases(up, offset_y, outputs.rows) {
            for x in phases(up, offset_x, outputs.columns) {
                let at = (outputs.first + y.first * out.width + x.first) as u64;
                let at = at * common.position_bytes;
                let positions = y.count * x.count;
                let product = Product {
                    left: source.left,
                    right: common.params.right + u64::from(y.at * up + x.at) * phase_bytes,
                    out: common.out + at,
                    residual: if common.residual == 0 { 0 } else { common.residual + at },
                    left_sample: source.sample,
                    out_sample: (out.height * out.width) as u64,
                    rows: (outputs.samples * positions) as u32,
                    sample_rows: positions as u32,
                    width: x.count as u32,
                    out_row: up * out.width as u32,
                    out_step: up,
                    in_rows: source.rows as u32,
                    in_width: source.columns as u32,
                    offset_y: y.cell,
                    offset_x: x.cell,
                    ..common.params
                };
                self.product(product, Right::ByColumn)?;
            }
        }
        Ok(())
    }

    /// Area by area: first those that read no halo, then, while the device works on these, the halo
    /// is fetched.
    fn run_areas(
        &self,
        name: &str,
        conv: &Conv,
        common: &Common,
        input: &Value,
        prologue: &Prologue<'_>,
        around: &mut Option<Surroundings<'_, Value>>,
    ) -> Result<(), BackendError> {
        let out = common.out_shape;
        let element_bytes = self.store.element().bytes();
        let limit = self.shared.options.limits.band_bytes;
        let margins = around.as_ref().map_or(Margins::default(), |around| around.margins);
        let extents = [out.height, out.width];
        // A strip that gives every multiprocessor a tile.
        let tiles = (self.shared.entry.multiprocessors as usize)
            .div_ceil(padded(out.channels).div_ceil(PRODUCT_COLUMNS));
        let edges = edges(conv, input.shape, out, margins).at_least(tiles * PRODUCT_ROWS, extents);
        let rows_of = |columns| band_rows(conv, [out.height, columns], element_bytes, limit);
        let areas = areas(extents, edges, rows_of);
        let bytes = |Area { rows, columns, .. }: &Area| {
            let [y, x] = [(Axis::Height, rows), (Axis::Width, columns)]
                .map(|(axis, of)| Reach::new(conv, axis, of).len);
            (y * x) as u64 * input.position_bytes()
        };
        let most = areas.iter().map(bytes).max().unwrap_or(0);
        let band = self.store.block(name, most)?;
        let run = |halo, late| {
            let samples = 0..out.batch;
            let mut items = samples.flat_map(|sample| areas.iter().map(move |area| (sample, area)));
            items.try_for_each(|(sample, area)| match area.late == late {
                true => self.run_area(conv, common, input, prologue, halo, &band, sample, area),
                false => Ok(()),
            })
        };
        run(None, false)?;
        let halo = match around.take() {
            Some(around) => Some((margins, self.features(name, (around.fetch)()?)?)),
            None => None,
        };
        run(halo.as_ref(), true)
    }

    fn features(&self, name: &str, halo: Halo<Value>) -> Result<Halo<Value>, BackendError> {
        let feature =
            |strip: Option<Value>| strip.map(|strip| self.owned_feature(name, strip)).transpose();
        let Halo { top, bottom, left, right, .. } = halo;
        Ok(Halo::of_frame([feature(top)?, feature(bottom)?, feature(left)?, feature(right)?]))
    }

    #[expect(clippy::too_many_arguments, reason = "the operands of a fused conv and an area")]
    fn run_area(
        &self,
        conv: &Conv,
        common: &Common,
        input: &Value,
        prologue: &Prologue<'_>,
        halo: Option<&(Margins, Halo<Value>)>,
        band: &Block,
        sample: usize,
        area: &Area,
    ) -> Result<(), BackendError> {
        let Area { rows, columns, .. } = area;
        let [y, x] = [(Axis::Height, rows), (Axis::Width, columns)]
            .map(|(axis, outputs)| Reach::new(conv, axis, outputs));
        let window = Window { top: y.low, left: x.low, height: y.len, width: x.len };
        self.stage(prologue, input, sample, window, halo, band)?;
        let source = Source {
            left: band.pointer(),
            sample: 0,
            rows: y.len,
            columns: x.len,
            offset: [y.offset, x.offset].map(i64::from),
        };
        let out = common.out_shape;
        let outputs = Outputs {
            first: (sample * out.height + rows.start) * out.width + columns.start,
            samples: 1,
            rows: rows.len(),
            columns: columns.len(),
        };
        self.products(conv, common, source, outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv() -> Conv {
        let mut builder = halovae_engine::program::ProgramBuilder::new(4).unwrap();
        let latents = builder.latents();
        let out = builder.conv("conv", latents, 8, 3).unwrap();
        let program = builder.finish(out).unwrap();
        let halovae_engine::program::Op::Conv(conv) = program.ops()[0] else { panic!() };
        conv
    }

    #[test]
    fn bands_fit_or_are_one_row() {
        // Two more columns, eight channels of four bytes.
        let row = 52 * 8 * 4;
        let rows = |most| band_rows(&conv(), [100, 50], 4, most);
        assert_eq!([rows(1), rows(10 * row), rows(1 << 40)], [1, 7, 100]);
        assert_eq!(band_bytes(&conv(), [7, 50], 4), 10 * row);
    }

    #[test]
    fn edges_read_the_halo() {
        let (shape, mut conv) = (Shape::new(1, 9, 12, 8), conv());
        let margins = Margins::of_frame([1, 0, 1, 1]);
        let one = Edges { top: 1, bottom: 0, left: 1, right: 1 };
        assert_eq!(edges(&conv, shape, conv.output_shape(shape), margins), one);
        assert_eq!(
            edges(&conv, shape, conv.output_shape(shape), Margins::default()),
            Edges::default()
        );
        conv.windows = conv.windows.map(|window| halovae_core::Window { repeat: 2, ..window });
        assert_eq!(edges(&conv, shape, conv.output_shape(shape), margins), one);
    }
}
