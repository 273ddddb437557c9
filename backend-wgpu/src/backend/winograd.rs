//! Winograd's way to a 3x3 conv: windows are transformed, multiplied with the transformed kernel, one
//! product for each place of a window, and transformed back. The first transform stages as well where
//! all that a band reads lies in one buffer: that spares a pass over memory, and costs norm and SiLU
//! where windows overlap.

use halovae_engine::backend::BackendError;
use halovae_engine::program::Conv;
use wgpu::Buffer;

use super::product::{After, Batch, Product};
use super::stage::{Source, Staging};
use super::{WgpuBackend, WgpuWeights};
use crate::kernels::Shader;
use crate::template::names;
use crate::transform::Transform;

/// What windows are read from.
pub(super) enum Band<'a> {
    Staged(&'a Buffer),
    Unstaged(Source<'a>),
}

/// Where a band's outputs go.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutPlace<'a> {
    pub(super) chunk: &'a Buffer,
    /// The first four.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) quads: usize,
}

impl WgpuBackend {
    /// From a band to a place in the output, by way of `windows` and `products`.
    #[expect(clippy::too_many_arguments, reason = "the operands of a fused conv and a band")]
    pub(super) fn winograd(
        &self,
        transform: Transform,
        conv: &Conv,
        weights: &WgpuWeights,
        staging: &Staging<'_>,
        band: &Band<'_>,
        quads: usize,
        [windows, products]: [&Buffer; 2],
        out: OutPlace<'_>,
    ) -> Result<(), BackendError> {
        let width = out.width.div_ceil(transform.outputs());
        let count = out.rows.div_ceil(transform.outputs()) * width;
        let of_window = [
            ("WINDOW", transform.window() as u32),
            ("OUTPUTS", transform.outputs() as u32),
            ("SIX", (transform == Transform::F4).into()),
        ];
        let window = staging.window;
        let mut immediates = [count, width, quads, window.width].map(|n| n as u32).to_vec();
        let mut input_names = names(of_window);
        let mut buffers = Vec::with_capacity(3);
        match band {
            Band::Staged(buffer) => {
                buffers.extend([*buffer, windows]);
                immediates.extend([0; 6]);
            }
            Band::Unstaged(source) => {
                buffers.extend([source.buffer, windows]);
                buffers.extend(staging.prologue.affine.map(|block| &**block));
                immediates.extend(staging.source(source, quads, window.top, window.left));
                input_names.extend(names([("UNSTAGED", 1)]));
                input_names.extend(staging.names());
            }
        }
        let places = (count * quads) as u64;
        self.over(Shader::WinogradInput, input_names, &buffers, &immediates, places)?;

        let product = Product {
            rows: count,
            columns: out.quads,
            channels: quads,
            left_row: quads,
            out_f32: true,
            batch: Batch {
                count: transform.matrices(),
                next: [count * quads, 4 * quads * out.quads, count * out.quads],
            },
            ..Product::default()
        };
        let buffers = [windows, weights.kernel(conv), products];
        self.product(product, buffers, After::Nothing)?;

        let after = self.after(conv, weights);
        let mut output_names = names(of_window);
        output_names.extend(names([
            ("BIAS", matches!(after, After::Bias(_)).into()),
            ("RESIDUAL", conv.residual.is_some().into()),
        ]));
        let immediates =
            [count, width, out.quads, out.first, out.rows, out.width].map(|n| n as u32);
        let mut buffers = vec![products, out.chunk];
        if let After::Bias(bias) = after {
            buffers.push(bias);
        }
        let places = (count * out.quads) as u64;
        self.over(Shader::WinogradOutput, output_names, &buffers, &immediates, places)
    }
}
