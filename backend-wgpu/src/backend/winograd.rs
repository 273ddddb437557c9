//! Winograd's way to a 3x3 conv: windows are transformed, multiplied with the transformed kernel, one
//! product for each place of a window, and transformed back.

use halovae_engine::backend::BackendError;
use halovae_engine::program::Conv2d;
use wgpu::Buffer;

use super::conv::OutPlace;
use super::product::{After, Batch, Product};
use super::{WgpuBackend, WgpuWeights};
use crate::kernels::Shader;
use crate::template::names;
use crate::transform::Transform;

/// The extents of a staged band.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagedBand {
    pub(super) width: usize,
    pub(super) quads: usize,
}

impl WgpuBackend {
    /// From a staged band to a place in the output, by way of `windows` and
    /// `products`.
    pub(super) fn winograd(
        &self,
        transform: Transform,
        conv: &Conv2d,
        weights: &WgpuWeights,
        band: StagedBand,
        [stage, windows, products]: [&Buffer; 3],
        out: OutPlace<'_>,
    ) -> Result<(), BackendError> {
        let quads = band.quads;
        let width = out.width.div_ceil(transform.outputs());
        let count = out.rows.div_ceil(transform.outputs()) * width;
        let of_window = [
            ("WINDOW", transform.window() as u32),
            ("OUTPUTS", transform.outputs() as u32),
            ("SIX", (transform == Transform::F4).into()),
        ];
        let immediates = [count, width, quads, band.width].map(|n| n as u32);
        let places = (count * quads) as u64;
        let buffers = [stage, windows];
        self.over(Shader::WinogradInput, names(of_window), &buffers, &immediates, places)?;

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
