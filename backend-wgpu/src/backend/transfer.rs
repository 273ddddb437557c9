//! From host to device and back.

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};
use half::f16;
use half::slice::HalfFloatSliceExt;
use halovae_core::Region;
use halovae_engine::backend::BackendError;
use halovae_engine::tensor::{HostTensor, Shape};
use wgpu::{Buffer, BufferDescriptor, BufferUsages, ErrorFilter};

use super::WgpuBackend;
use crate::layout::{Element, Layout};
use crate::readback::read_back;
use crate::store::Value;

/// The most bytes under way at once. They come on top of what the store counts.
const TRANSFER_BYTES: u64 = 16 << 20;

/// Elements as the device stores them, channels filled up to fours.
pub(super) fn encode(element: Element, channels: usize, from: &[f32]) -> Vec<u8> {
    let wide = channels.next_multiple_of(4);
    let mut padded = vec![0.0f32; from.len() / channels.max(1) * wide];
    for (to, from) in padded.chunks_exact_mut(wide).zip(from.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
    match element {
        Element::F32 => cast_slice(&padded).to_vec(),
        Element::F16 => {
            let mut halves = vec![f16::ZERO; padded.len()];
            halves.convert_from_f32_slice(&padded);
            cast_slice(&halves).to_vec()
        }
    }
}

/// Appends what the device stores to `out`, without what only fills up.
fn decode(element: Element, channels: usize, bytes: &[u8], out: &mut Vec<f32>) {
    let wide = channels.next_multiple_of(4);
    let mut append = |values: &[f32]| {
        for position in values.chunks_exact(wide) {
            out.extend_from_slice(&position[..channels]);
        }
    };
    match element {
        Element::F32 => {
            let mut values = vec![0.0f32; bytes.len() / 4];
            cast_slice_mut(&mut values).copy_from_slice(bytes);
            append(&values);
        }
        Element::F16 => {
            let mut halves = vec![f16::ZERO; bytes.len() / 2];
            cast_slice_mut(&mut halves).copy_from_slice(bytes);
            append(&halves.to_f32_vec());
        }
    }
}

/// Rows that travel at once.
fn piece_rows(row_bytes: u64) -> usize {
    (TRANSFER_BYTES / row_bytes.max(1)).max(1) as usize
}

impl WgpuBackend {
    pub(super) fn upload_value(&self, tensor: &HostTensor) -> Result<Value, BackendError> {
        if tensor.shape().frames != 1 {
            let op = "tensor of several frames".into();
            return Err(BackendError::Unsupported { op, backend: "wgpu".into() });
        }
        let shape = tensor.shape();
        let value = self.store.value("a tensor from the host", shape)?;
        // Writes overtake what is recorded, and that may still use the buffer.
        self.store.recorder.submit(&self.shared);
        let Layout { element, .. } = value.layout;
        let row = shape.width * shape.channels;
        let rows = piece_rows(value.layout.row_bytes());
        for (at, chunk) in value.chunks.iter().enumerate() {
            let held = value.layout.chunk(at);
            for start in held.clone().step_by(rows) {
                let end = (start + rows).min(held.end);
                let bytes = encode(element, shape.channels, &tensor.data()[start * row..end * row]);
                let offset = (start - held.start) as u64 * value.layout.row_bytes();
                self.shared.queue.write_buffer(chunk, offset, &bytes);
            }
        }
        self.shared.check()?;
        Ok(value)
    }

    pub(super) fn download_value(
        &self,
        value: &Value,
        region: Region,
    ) -> Result<HostTensor, BackendError> {
        let s = value.shape;
        let [top, left] = [region.top as usize, region.left as usize];
        let [height, width] = [region.height as usize, region.width as usize];
        assert!(
            top + height <= s.height && left + width <= s.width,
            "region {region:?} lies outside a tensor of {s}"
        );
        let shape = Shape::new(s.batch, height, width, s.channels);
        let mut data = Vec::new();
        let len = s.batch * height * width * s.channels;
        data.try_reserve_exact(len).map_err(|_| BackendError::OutOfMemory {
            device: "host memory".into(),
            what: format!("a tensor of {shape}"),
            requested: shape.bytes(),
        })?;
        let position = value.layout.quads as u64 * value.layout.quad_bytes();
        let rows = piece_rows(width as u64 * position);
        for sample in 0..s.batch {
            for start in (top..top + height).step_by(rows) {
                let rows = start..(start + rows).min(top + height);
                self.fetch(value, sample, rows, left..left + width, |bytes| {
                    decode(value.layout.element, s.channels, bytes, &mut data);
                })?;
            }
        }
        Ok(HostTensor::new(shape, data).expect("one element for each place of the shape"))
    }

    /// Gives the bytes of a rectangle of a sample to `take`.
    fn fetch(
        &self,
        value: &Value,
        sample: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        take: impl FnOnce(&[u8]),
    ) -> Result<(), BackendError> {
        let layout = value.layout;
        let position = layout.quads as u64 * layout.quad_bytes();
        let row = columns.len() as u64 * position;
        let size = rows.len() as u64 * row;
        if size == 0 {
            return Ok(());
        }
        let descriptor = BufferDescriptor {
            label: Some("to the host"),
            size,
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let (shared, recorder) = (&self.shared, &self.store.recorder);
        let staging = shared
            .checked(ErrorFilter::OutOfMemory, || shared.device.create_buffer(&descriptor))
            .map_err(|_| BackendError::OutOfMemory {
                device: shared.adapter.name.clone(),
                what: "what goes to the host".into(),
                requested: size,
            })?;
        for run in layout.runs(sample, rows.clone()) {
            let chunk: &Buffer = &value.chunks[run.chunk];
            let to = (run.rows.start - rows.start) as u64 * row;
            if columns.len() == layout.width {
                let from = run.at as u64 * row;
                recorder.copy(shared, (chunk, from), (&staging, to), run.rows.len() as u64 * row);
                continue;
            }
            for y in 0..run.rows.len() {
                let from = ((run.at + y) * layout.width + columns.start) as u64 * position;
                recorder.copy(shared, (chunk, from), (&staging, to + y as u64 * row), row);
            }
        }
        recorder.submit(shared);
        shared.check()?;
        read_back(shared, &staging, take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_up_is_zero_and_left_out_again() {
        let values: Vec<f32> = (0..15).map(|i| i as f32).collect();
        for (element, size) in [(Element::F32, 4), (Element::F16, 2)] {
            for channels in [1, 3, 5] {
                let bytes = encode(element, channels, &values);
                let wide = channels.next_multiple_of(4);
                assert_eq!(bytes.len(), 15 / channels * wide * size);
                let mut back = Vec::new();
                decode(element, channels, &bytes, &mut back);
                assert_eq!(back, values);
            }
        }
    }
}
