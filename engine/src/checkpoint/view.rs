//! A weight as it lies in a file, and its values.

use super::dtype::{self, Dtype};

/// One weight of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// The canonical (diffusers) name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, row major: `[out, in, kernel height, kernel width]` for a conv, `[out, in]` for
    /// the attention's projections, `[channels]` for norms and biases.
    pub shape: &'a [usize],
    /// Its elements before scaling, little endian, not aligned; as many as type and extents say.
    pub bytes: &'a [u8],
    /// Factors that belong to it, as fp8 weights have them: none, one for all elements, or one for
    /// each output channel.
    pub scales: &'a [f32],
}

impl TensorView<'_> {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Writes every element to `out` as f32, without rounding, but for the product with its factor
    /// where there are [`scales`](Self::scales). Infinities and NaN stay what they are.
    ///
    /// # Panics
    /// If `out` has not exactly [`elements`](Self::elements) elements.
    pub fn to_f32_into(&self, out: &mut [f32]) {
        assert_eq!(
            out.len(),
            self.elements(),
            "`{}` has another number of elements than the buffer it is read into",
            self.name
        );
        dtype::to_f32(self.dtype, self.bytes, out);
        if !self.scales.is_empty() {
            let channel = (out.len() / self.scales.len()).max(1);
            for (values, scale) in out.chunks_mut(channel).zip(self.scales) {
                values.iter_mut().for_each(|value| *value *= scale);
            }
        }
    }
}
