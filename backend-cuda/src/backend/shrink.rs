//! 1x1 convs to at most half of the channels, whose results take the memory of their input: a decoder's shortcuts,
//! at the moment when it holds the most.
//!
//! Results lie at the beginning, so they overtake what is read unless that is far enough ahead: the first positions
//! are copied, and from then on each product reads twice as many positions as are done, or more.

use std::ops::Range;

use halovae_engine::backend::BackendError;
use halovae_engine::program::Conv;
use halovae_engine::tensor::Shape;

use super::{CudaBackend, CudaWeights};
use crate::params::Product;
use crate::product::{Right, plain};
use crate::store::counted_bytes;
use crate::value::{Value, padded};

/// Whether results can take the memory of the input.
pub(super) fn shrinks(conv: &Conv) -> bool {
    let [read, written] = [conv.in_channels, conv.out_channels].map(|of| padded(of as usize));
    conv.is_pointwise() && (conv.norm, conv.residual) == (None, None) && 2 * written <= read
}

/// Positions that can be done at once, one range after the other: results end before the first of those begins that
/// are still read.
fn runs(
    positions: Range<usize>,
    read: usize,
    written: usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut done = positions.start;
    std::iter::from_fn(move || {
        let start = done;
        done = (start * read / written).min(positions.end);
        (start < positions.end).then_some(start..done)
    })
}

impl CudaBackend {
    /// Positions of an input, of all samples, that are copied, and their bytes.
    fn copied(&self, input: Shape) -> (usize, u64) {
        let positions = (input.batch * input.height * input.width) as u64;
        let position_bytes = padded(input.channels) as u64 * self.store.element().bytes();
        let copied = (self.shared.options.limits.band_bytes / position_bytes).max(1).min(positions);
        (copied as usize, copied * position_bytes)
    }

    /// Bytes that a conv that [`shrinks`] needs beside its operand.
    pub(super) fn shrink_workspace(&self, input: Shape) -> u64 {
        counted_bytes(self.copied(input).1)
    }

    /// Runs a conv that [`shrinks`].
    pub(super) fn shrink(
        &self,
        name: &str,
        conv: &Conv,
        weights: &CudaWeights,
        input: Value,
    ) -> Result<Value, BackendError> {
        let (shape, read) = (conv.output_shape(input.shape), input.padded());
        let positions = shape.batch * shape.height * shape.width;
        let written = padded(shape.channels);
        let written_bytes = written as u64 * self.store.element().bytes();
        let run = |from: u64, done: usize, until: usize| {
            let product = Product {
                left: from,
                right: weights.kernel(conv),
                right_valid: written as u32,
                bias: conv.bias.map_or(0, |id| weights.vector(id)),
                out: input.pointer() + done as u64 * written_bytes,
                ..plain(until - done, read, written)
            };
            self.store.product(product, Right::ByColumn)
        };
        let (copied, bytes) = self.copied(input.shape);
        let copy = self.store.block(name, bytes)?;
        self.store.copy(copy.pointer(), input.pointer(), bytes)?;
        run(copy.pointer(), 0, copied)?;
        for Range { start, end } in runs(copied..positions, read, written) {
            run(input.at(start), start, end)?;
        }
        Ok(Value { shape, ..input })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_never_overtake_what_is_read() {
        for (copied, positions, read, written) in
            [(1, 1000, 16, 8), (7, 1000, 24, 8), (100, 100, 64, 32), (64, 1 << 20, 256, 128)]
        {
            let mut done = copied;
            for run in runs(copied..positions, read, written) {
                assert_eq!(run.start, done);
                assert!(run.end > run.start && run.end * written <= run.start * read, "{run:?}");
                done = run.end;
            }
            assert_eq!(done, positions);
        }
    }
}
