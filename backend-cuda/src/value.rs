//! A tensor on the device.

use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use halovae_engine::backend::BackendError;
use halovae_engine::tensor::Shape;

use crate::kernels::Element;
use crate::store::{Block, Store};

/// Channels are filled up to multiples of this, so that a position begins at a multiple of 16 bytes.
pub(crate) const EIGHT: usize = 8;

/// Channels, filled up.
pub(crate) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(EIGHT)
}

/// Bytes of a value; saturating.
pub(crate) fn value_bytes(shape: Shape, element: Element) -> u64 {
    let Shape { batch, frames, height, width, channels } = shape;
    [batch, frames, height, width, channels.checked_next_multiple_of(EIGHT).unwrap_or(usize::MAX)]
        .iter()
        .fold(element.bytes(), |product, &extent| product.saturating_mul(extent as u64))
}

/// A tensor on the device: `[batch][height][width][channels]`, channels filled up to eights with
/// zeros.
#[derive(Debug)]
pub struct Value {
    pub(crate) shape: Shape,
    pub(crate) element: Element,
    pub(crate) block: Block,
}

impl Value {
    /// Channels, filled up.
    pub(crate) fn padded(&self) -> usize {
        padded(self.shape.channels)
    }

    /// Eights of channels.
    pub(crate) fn eights(&self) -> u32 {
        (self.padded() / EIGHT) as u32
    }

    /// Positions of one sample.
    pub(crate) fn positions(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// Bytes of one position.
    pub(crate) fn position_bytes(&self) -> u64 {
        self.padded() as u64 * self.element.bytes()
    }

    /// Bytes of all of it.
    pub(crate) fn bytes(&self) -> u64 {
        value_bytes(self.shape, self.element)
    }

    pub(crate) fn pointer(&self) -> CUdeviceptr {
        self.block.pointer()
    }

    /// Where a position begins, counted over all samples.
    pub(crate) fn at(&self, position: usize) -> CUdeviceptr {
        self.block.at(position as u64 * self.position_bytes())
    }
}

impl Store {
    /// A feature map, not written yet.
    pub(crate) fn value(self: &Arc<Self>, what: &str, shape: Shape) -> Result<Value, BackendError> {
        self.value_of(what, shape, self.element())
    }

    pub(crate) fn value_of(
        self: &Arc<Self>,
        what: &str,
        shape: Shape,
        element: Element,
    ) -> Result<Value, BackendError> {
        let bytes = value_bytes(shape, element);
        // More than this is a number that stopped at its largest, or overflows in a kernel.
        if bytes > 1 << 46 {
            return Err(self.out_of_memory(what, bytes));
        }
        Ok(Value { shape, element, block: self.block(what, bytes)? })
    }
}
