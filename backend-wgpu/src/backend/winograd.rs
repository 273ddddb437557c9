//! Winograd's way to a 3x3 conv: F(2x2, 3x3) of Lavin and Gray, "Fast algorithms for convolutional
//! neural networks" (arXiv 1509.09308): 16 multiplications for four outputs instead of 36.

use halovae_engine::backend::BackendError;
use halovae_engine::program::Conv2d;
use wgpu::Buffer;

use super::conv::OutPlace;
use super::product::{After, Batch, Product};
use super::{WgpuBackend, WgpuWeights};
use crate::kernels::Shader;
use crate::template::names;

/// The matrices of a transformed kernel.
pub(super) const MATRICES: usize = 16;

/// `G g G^T` of a 3x3 kernel.
pub(super) fn transformed(g: [f32; 9]) -> [f32; MATRICES] {
    // In f64: the products are summed with these weights, and rounding here would stay.
    let g = g.map(f64::from);
    let line = |a: f64, b: f64, c: f64| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    let columns = [0, 1, 2].map(|x| line(g[x], g[3 + x], g[6 + x]));
    let mut result = [0.0; MATRICES];
    for y in 0..4 {
        let row = line(columns[0][y], columns[1][y], columns[2][y]);
        for (x, value) in row.into_iter().enumerate() {
            result[4 * y + x] = value as f32;
        }
    }
    result
}

impl WgpuBackend {
    /// From a staged band of `band_width` positions to a place in the output, by way of `windows` and
    /// `products`.
    pub(super) fn winograd(
        &self,
        conv: &Conv2d,
        weights: &WgpuWeights,
        quads: usize,
        band_width: usize,
        [stage, windows, products]: [&Buffer; 3],
        out: OutPlace<'_>,
    ) -> Result<(), BackendError> {
        let width = out.width.div_ceil(2);
        let count = out.rows.div_ceil(2) * width;
        let immediates = [count, width, quads, band_width].map(|n| n as u32);
        let places = (count * quads) as u64;
        self.over(Shader::WinogradInput, names([]), &[stage, windows], &immediates, places)?;

        let product = Product {
            rows: count,
            columns: out.quads,
            channels: quads,
            left_row: quads,
            out_f32: true,
            batch: Batch {
                count: MATRICES,
                next: [count * quads, 4 * quads * out.quads, count * out.quads],
            },
            ..Product::default()
        };
        let buffers = [windows, weights.kernel(conv), products];
        self.product(product, buffers, After::Nothing)?;

        let after = self.after(conv, weights);
        let names = names([
            ("BIAS", matches!(after, After::Bias(_)).into()),
            ("RESIDUAL", conv.residual.is_some().into()),
        ]);
        let immediates =
            [count, width, out.quads, out.first, out.rows, out.width].map(|n| n as u32);
        let mut buffers = vec![products, out.chunk];
        if let After::Bias(bias) = after {
            buffers.push(bias);
        }
        let places = (count * out.quads) as u64;
        self.over(Shader::WinogradOutput, names, &buffers, &immediates, places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row: two outputs of a 4-tap window by transforms and products, and directly.
    #[test]
    fn transforms_make_a_conv() {
        let g: [f32; 9] = std::array::from_fn(|i| (i as f32 - 3.0) * 0.37);
        let d: [[f64; 4]; 4] =
            std::array::from_fn(|y| std::array::from_fn(|x| ((5 * y + 3 * x) % 7) as f64 - 2.5));
        let input = |a: [f64; 4]| [a[0] - a[2], a[1] + a[2], a[2] - a[1], a[1] - a[3]];
        let output = |m: [f64; 4]| [m[0] + m[1] + m[2], m[1] - m[2] - m[3]];
        let rows = d.map(input);
        let columns: [[f64; 4]; 4] =
            std::array::from_fn(|x| input(std::array::from_fn(|y| rows[y][x])));
        let u = transformed(g);
        let products: [[f64; 4]; 4] = std::array::from_fn(|y| {
            std::array::from_fn(|x| f64::from(u[4 * y + x]) * columns[x][y])
        });
        let halves = products.map(output);
        for x in 0..2 {
            let got = output(std::array::from_fn(|y| halves[y][x]));
            for (y, got) in got.into_iter().enumerate() {
                let taps = (0..9).map(|t| f64::from(g[t]) * d[y + t / 3][x + t % 3]);
                let expected: f64 = taps.sum();
                assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
            }
        }
    }
}
