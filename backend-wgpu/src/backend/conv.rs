//! Convs: bands of the input are staged, what is fused before the conv being applied on the way,
//! and a product of each band with the kernel makes rows of the output.

use std::ops::Range;

use halovae_core::{Axis, Margins};
use halovae_engine::backend::{BackendError, Halo, Operands, Surroundings};
use halovae_engine::program::{Conv, Norm, Reach};
use halovae_engine::tensor::Shape;
use wgpu::Buffer;

use super::bands::{BAND_BYTES, Bands, Method};
use super::product::{After, Product, Taps};
use super::stage::{Prologue, Staging, Window};
use super::winograd::{Band, OutPlace};
use super::{WgpuBackend, WgpuWeights};
use crate::store::{Block, Value, block_bytes};
use crate::transform::Transform;

/// Whether the conv reads its input where it lies, position by position.
fn is_pointwise(conv: &Conv) -> bool {
    conv.is_pointwise() && conv.norm.is_none()
}

/// Buffers for a band.
struct Scratch {
    stage: Block,
    /// Transformed windows, and products.
    winograd: Option<[Block; 2]>,
}

impl WgpuBackend {
    fn band_limit(&self) -> u64 {
        BAND_BYTES.min(self.shared.chunk_bytes())
    }

    fn method(&self, conv: &Conv) -> Method {
        self.transform(conv).map_or(Method::Direct, Method::Winograd)
    }

    /// Winograd's transform, if it is possible and worth it.
    pub(super) fn transform(&self, conv: &Conv) -> Option<Transform> {
        let tuning = self.shared.tuning();
        let wide = conv.in_channels.min(conv.out_channels) >= tuning.winograd;
        (conv.kernel() == [3, 3] && conv.stride() == [1, 1] && wide).then_some(tuning.transform)
    }

    /// Bytes that the conv needs beside its operands and its output.
    pub(super) fn conv_workspace(&self, conv: &Conv, input: Shape) -> u64 {
        if is_pointwise(conv) {
            return 0;
        }
        let out = self.store.layout(conv.output_shape(input));
        let affine = conv.norm.map_or(0, |_| {
            let bytes = super::norm::affine_bytes(input.batch, input.channels);
            block_bytes(bytes)
        });
        let (input, limit) = (self.store.layout(input), self.band_limit());
        Bands::new(conv, self.method(conv), &input, &out, limit).bytes() + affine
    }

    pub(super) fn conv(
        &self,
        name: &str,
        conv: &Conv,
        weights: &WgpuWeights,
        mut operands: Operands<'_, Value>,
    ) -> Result<Value, BackendError> {
        let mut around = operands.take_surroundings();
        let result = self.run_conv(name, conv, weights, &mut operands, &mut around);
        if let (Err(_), Some(around)) = (&result, &mut around) {
            // A neighbour sends the halo, whatever went wrong here.
            let _ = (around.fetch)();
        }
        result
    }

    fn run_conv(
        &self,
        name: &str,
        conv: &Conv,
        weights: &WgpuWeights,
        operands: &mut Operands<'_, Value>,
        around: &mut Option<Surroundings<'_, Value>>,
    ) -> Result<Value, BackendError> {
        let residual_at = conv.residual_operand();
        let shape = operands.get(0).shape;
        let out = match residual_at.and_then(|at| operands.take_owned(at)) {
            Some(owned) => owned,
            None => {
                let out = self.store.value(name, conv.output_shape(shape))?;
                if let Some(at) = residual_at {
                    self.copy(operands.get(at), &out);
                }
                out
            }
        };
        let input = operands.get(0);
        let affine = match conv.norm {
            Some(norm) => Some(self.affine(name, &norm, weights, input, operands.get(1))?),
            None => None,
        };
        let silu = conv.norm.is_some_and(|Norm { silu, .. }| silu);
        let prologue = Prologue { affine: affine.as_ref(), silu };
        if is_pointwise(conv) {
            self.pointwise(conv, weights, input, &out)?;
        } else {
            self.run_bands(name, conv, weights, input, &prologue, around, &out)?;
        }
        // A conv that reads no halo has it fetched all the same, since a neighbour sends it.
        if let Some(around) = around.take() {
            (around.fetch)()?;
        }
        Ok(out)
    }

    /// Copies a value into another of its shape.
    fn copy(&self, from: &Value, to: &Value) {
        let layout = to.layout;
        for (at, (from, to)) in from.chunks.iter().zip(&to.chunks).enumerate() {
            let bytes = layout.chunk_bytes(at);
            self.store.recorder.copy(&self.shared, (from, 0), (to, 0), bytes);
        }
    }

    pub(super) fn after<'a>(&self, conv: &Conv, weights: &'a WgpuWeights) -> After<'a> {
        conv.bias.map_or(After::Nothing, |id| After::Bias(weights.vector(id)))
    }

    fn pointwise(
        &self,
        conv: &Conv,
        weights: &WgpuWeights,
        input: &Value,
        out: &Value,
    ) -> Result<(), BackendError> {
        let (from, to) = (input.layout, out.layout);
        for sample in 0..out.shape.batch {
            for into in to.runs(sample, 0..to.height) {
                for run in from.runs(sample, into.rows.clone()) {
                    let at = into.at + run.rows.start - into.rows.start;
                    let product = Product {
                        rows: run.rows.len() * to.width,
                        columns: to.quads,
                        channels: from.quads,
                        left: run.at * from.width * from.quads,
                        left_row: from.quads,
                        out: at * to.width * to.quads,
                        residual: conv.residual.is_some(),
                        ..Product::default()
                    };
                    let chunks: [&Buffer; 2] = [&input.chunks[run.chunk], &out.chunks[into.chunk]];
                    let buffers = [chunks[0], weights.kernel(conv), chunks[1]];
                    self.product(product, buffers, self.after(conv, weights))?;
                }
            }
        }
        Ok(())
    }

    /// Band by band: first those that read no halo, then, while the device works on these, the halo
    /// is fetched.
    #[expect(clippy::too_many_arguments, reason = "the operands of a fused conv")]
    fn run_bands(
        &self,
        name: &str,
        conv: &Conv,
        weights: &WgpuWeights,
        input: &Value,
        prologue: &Prologue<'_>,
        around: &mut Option<Surroundings<'_, Value>>,
        out: &Value,
    ) -> Result<(), BackendError> {
        let (from, to) = (input.layout, out.layout);
        let method = self.method(conv);
        let bands = Bands::new(conv, method, &from, &to, self.band_limit());
        let margins = around.as_ref().map_or(Margins::default(), |around| around.margins);
        let columns = method.reach(conv, Axis::Width, &(0..to.width));
        let beside = margins.left + margins.right > 0;
        let reads_halo = |rows: &Range<usize>| {
            let reach = method.reach(conv, Axis::Height, rows);
            let below =
                reach.low + reach.len as i64 > from.height as i64 * i64::from(method.staged(conv));
            beside || (margins.top > 0 && reach.low < 0) || (margins.bottom > 0 && below)
        };
        let stage = self.store.block(name, bands.stage)?;
        let winograd = match method {
            Method::Direct => None,
            Method::Winograd(_) => Some([
                self.store.block(name, bands.windows)?,
                self.store.block(name, bands.products)?,
            ]),
        };
        let scratch = Scratch { stage, winograd };
        let mut late = Vec::new();
        let mut halo = None;
        for sample in 0..out.shape.batch {
            for run in to.runs(sample, 0..to.height) {
                for start in run.rows.clone().step_by(bands.rows) {
                    let rows = start..(start + bands.rows).min(run.rows.end);
                    let at = run.at + start - run.rows.start;
                    let item = (sample, run.chunk, at, rows);
                    if reads_halo(&item.3) {
                        late.push(item);
                    } else {
                        self.run_band(
                            conv, weights, input, prologue, &halo, columns, &scratch, item, out,
                        )?;
                    }
                }
            }
        }
        if let Some(around) = around.take() {
            self.store.recorder.submit(&self.shared);
            halo = Some((margins, (around.fetch)()?));
        }
        for item in late {
            self.run_band(conv, weights, input, prologue, &halo, columns, &scratch, item, out)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the operands of a fused conv and a band")]
    fn run_band(
        &self,
        conv: &Conv,
        weights: &WgpuWeights,
        input: &Value,
        prologue: &Prologue<'_>,
        halo: &Option<(Margins, Halo<Value>)>,
        columns: Reach,
        scratch: &Scratch,
        (sample, chunk, at, rows): (usize, usize, usize, Range<usize>),
        out: &Value,
    ) -> Result<(), BackendError> {
        let method = self.method(conv);
        let reach = method.reach(conv, Axis::Height, &rows);
        let window =
            Window { top: reach.low, left: columns.low, height: reach.len, width: columns.len };
        let staging = Staging { prologue, sample, factor: method.staged(conv), window };
        let to = out.layout;
        let place = OutPlace {
            chunk: &out.chunks[chunk],
            first: at * to.width * to.quads,
            rows: rows.len(),
            width: to.width,
            quads: to.quads,
        };
        match (method, &scratch.winograd) {
            (Method::Winograd(transform), Some([windows, products])) => {
                let source = match halo {
                    None => self.only_source(&staging, input),
                    Some(_) => None,
                };
                let band = match source {
                    Some(source) => Band::Unstaged(source),
                    None => {
                        self.stage(&staging, input, halo, &scratch.stage)?;
                        Band::Staged(&scratch.stage)
                    }
                };
                let (quads, buffers) = (input.layout.quads, [&**windows, &**products]);
                self.winograd(transform, conv, weights, &staging, &band, quads, buffers, place)
            }
            _ => {
                self.stage(&staging, input, halo, &scratch.stage)?;
                let taps = Taps {
                    taps: conv.kernel().map(|k| k as usize),
                    width: to.width,
                    stride: conv.stride(),
                    offset: [reach.offset, columns.offset],
                    upsample: conv.upsample(),
                };
                let product = Product {
                    rows: rows.len() * to.width,
                    columns: to.quads,
                    channels: input.layout.quads,
                    left_row: window.width,
                    out: place.first,
                    conv: Some(taps),
                    residual: conv.residual.is_some(),
                    ..Product::default()
                };
                let buffers = [&*scratch.stage, weights.kernel(conv), place.chunk];
                self.product(product, buffers, self.after(conv, weights))
            }
        }
    }
}
