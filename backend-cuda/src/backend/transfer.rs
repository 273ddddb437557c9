//! From host to device and back. Numbers are put in order and narrowed on the device.

use std::ops::Deref;

use halovae_core::Region;
use halovae_engine::backend::BackendError;
use halovae_engine::tensor::{HostTensor, Shape};

use super::CudaBackend;
use crate::kernels::{Element, Kernel};
use crate::params::{Pack, Unpack};
use crate::value::Value;

/// The most bytes under way at once.
const TRANSFER_BYTES: usize = 16 << 20;

/// An operand as a feature map.
pub(crate) enum Feature<'a> {
    Given(&'a Value),
    Made(Value),
}

impl Deref for Feature<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        match self {
            Feature::Given(value) => value,
            Feature::Made(value) => value,
        }
    }
}

/// Statistics are f32 at any precision. From the host, two channels in one column look the same.
fn element_of(shape: Shape, element: Element) -> Element {
    match shape {
        Shape { width: 1, channels: 2, .. } => Element::F32,
        _ => element,
    }
}

impl CudaBackend {
    pub(super) fn upload_value(&self, tensor: &HostTensor) -> Result<Value, BackendError> {
        if tensor.shape().frames != 1 {
            let op = "tensor of several frames".into();
            return Err(BackendError::Unsupported { op, backend: "cuda".into() });
        }
        let element = element_of(tensor.shape(), self.store.element());
        let value = self.store.value_of("a tensor from the host", tensor.shape(), element)?;
        let channels = tensor.shape().channels;
        let positions = (TRANSFER_BYTES / 4 / channels.max(1)).max(1);
        for (piece, values) in tensor.data().chunks(positions * channels.max(1)).enumerate() {
            let raw = self.store.block("what comes from the host", values.len() as u64 * 4)?;
            self.store.write(raw.pointer(), values)?;
            let count = (values.len() / channels) as u64 * u64::from(value.eights());
            let pack = Pack {
                input: raw.pointer(),
                out: value.at(piece * positions),
                count: count as u32,
                channels: channels as u32,
                eights: value.eights(),
                out_f32: (element == Element::F32).into(),
            };
            self.store.over(Kernel::Pack, &pack, count)?;
        }
        Ok(value)
    }

    pub(super) fn download_value(
        &self,
        value: &Value,
        region: Region,
    ) -> Result<HostTensor, BackendError> {
        let Shape { batch, height, width, channels, .. } = value.shape;
        let [top, left] = [region.top as usize, region.left as usize];
        let shape = Shape::new(batch, region.height as usize, region.width as usize, channels);
        assert!(
            top + shape.height <= height && left + shape.width <= width,
            "region {region:?} lies outside a tensor of {}",
            value.shape
        );
        let mut out = HostTensor::zeros(shape)?;
        let row = shape.width * channels;
        let piece = (TRANSFER_BYTES / 4 / row.max(1)).max(1);
        for sample in 0..batch {
            for start in (0..shape.height).step_by(piece) {
                let rows = start..(start + piece).min(shape.height);
                let first = (sample * height + top + rows.start) * width + left;
                let at = (sample * shape.height + rows.start) * row;
                let to = &mut out.data_mut()[at..at + rows.len() * row];
                self.download_rows(value, first, shape.width, to)?;
            }
        }
        Ok(out)
    }

    /// Rows of a sample as wide as `width`, from position `first` of the value on, until `to` is full.
    fn download_rows(
        &self,
        value: &Value,
        first: usize,
        width: usize,
        to: &mut [f32],
    ) -> Result<(), BackendError> {
        if to.is_empty() {
            return Ok(());
        }
        let raw = self.store.block("what goes to the host", to.len() as u64 * 4)?;
        let channels = value.shape.channels;
        let unpack = Unpack {
            input: value.at(first),
            out: raw.pointer(),
            count: to.len() as u32,
            width: width as u32,
            in_width: value.shape.width as u32,
            channels: channels as u32,
            padded: value.padded() as u32,
            in_f32: (value.element == Element::F32).into(),
        };
        self.store.over(Kernel::Unpack, &unpack, to.len() as u64)?;
        self.store.read(raw.pointer(), to)
    }

    /// The operand, as feature maps are stored: what was taken for statistics is converted.
    pub(crate) fn feature<'a>(
        &self,
        name: &str,
        value: &'a Value,
    ) -> Result<Feature<'a>, BackendError> {
        if value.element == self.store.element() {
            return Ok(Feature::Given(value));
        }
        let made = self.store.value(name, value.shape)?;
        let count = (value.shape.batch * value.positions()) as u64;
        // Statistics are filled up already, so all eight channels of a position are there.
        let pack = Pack {
            input: value.pointer(),
            out: made.pointer(),
            count: count as u32,
            channels: value.padded() as u32,
            eights: value.eights(),
            out_f32: 0,
        };
        self.store.over(Kernel::Pack, &pack, count)?;
        Ok(Feature::Made(made))
    }

    /// The same for an operand that is owned.
    pub(super) fn owned_feature(&self, name: &str, value: Value) -> Result<Value, BackendError> {
        match self.feature(name, &value)? {
            Feature::Made(made) => Ok(made),
            Feature::Given(_) => Ok(value),
        }
    }
}
