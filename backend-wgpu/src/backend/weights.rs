//! A program's weights on the device.

use std::collections::BTreeMap;

use halovae_engine::backend::{BackendError, WeightSource};
use halovae_engine::program::{Conv, Program, WeightId};
use wgpu::Buffer;

use super::WgpuBackend;
use super::transfer::encode;
use crate::layout::Element;
use crate::shared::Shared;
use crate::store::{Counted, block_bytes};
use crate::transform::Transform;

/// A program's weights on a device.
///
/// Kernels lie as `[taps][in channels][out channels]`, or `[places of a window][in channels][out
/// channels]` for Winograd, both channels filled up to fours with zeros; biases and norm parameters as f32.
#[derive(Debug)]
pub struct WgpuWeights {
    kernels: BTreeMap<WeightId, Buffer>,
    vectors: BTreeMap<WeightId, Buffer>,
    _counted: Counted,
}

/// Bytes that may wait to be copied to the device.
const UNDER_WAY: u64 = 32 << 20;

fn kernel_bytes(backend: &WgpuBackend, conv: &Conv) -> u64 {
    let wide = |channels: u32| u64::from(channels).next_multiple_of(4);
    let element = backend.element();
    let taps = match backend.transform(conv) {
        Some(transform) => transform.matrices() as u64,
        None => u64::from(conv.kernel()[0]) * u64::from(conv.kernel()[1]),
    };
    block_bytes(taps * wide(conv.in_channels) * wide(conv.out_channels) * element.bytes())
}

fn vector_bytes(program: &Program, id: WeightId) -> u64 {
    block_bytes(program.weight(id).elements().next_multiple_of(4) as u64 * 4)
}

/// Bytes of [`WgpuWeights`] for a program.
pub(super) fn bytes(backend: &WgpuBackend, program: &Program) -> u64 {
    let kernels = program.convs().map(|conv| kernel_bytes(backend, conv));
    let vectors = program.vectors().into_iter().map(|id| vector_bytes(program, id));
    kernels.chain(vectors).sum()
}

/// `[out][in][taps]` as `[taps][in, filled up][out]`; for Winograd the taps are those of the transform.
fn reordered(conv: &Conv, weight: &[f32], transform: Option<Transform>) -> Vec<f32> {
    let [out_channels, in_channels] = [conv.out_channels, conv.in_channels].map(|n| n as usize);
    let given = (conv.kernel()[0] * conv.kernel()[1]) as usize;
    let taps = transform.map_or(given, Transform::matrices);
    let wide = in_channels.next_multiple_of(4);
    let mut result = vec![0.0; taps * wide * out_channels];
    for out in 0..out_channels {
        for channel in 0..in_channels {
            let kernel = &weight[(out * in_channels + channel) * given..][..given];
            let mut put = |values: &[f32]| {
                for (tap, value) in values.iter().enumerate() {
                    result[(tap * wide + channel) * out_channels + out] = *value;
                }
            };
            match (transform, kernel.try_into()) {
                (Some(transform), Ok(kernel)) => put(&transform.of(kernel)),
                _ => put(kernel),
            }
        }
    }
    result
}

impl WgpuWeights {
    pub(super) fn load(
        backend: &WgpuBackend,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<Self, BackendError> {
        let element = backend.element();
        let load = |id: WeightId| {
            let spec = program.weight(id);
            let mut values = vec![0.0; spec.elements()];
            source.load(spec, &mut values)?;
            Ok::<_, BackendError>(values)
        };
        let mut uploads = Uploads { backend, waiting: 0 };
        let counted = backend.store.count(bytes(backend, program));
        let mut result =
            Self { kernels: BTreeMap::new(), vectors: BTreeMap::new(), _counted: counted };
        for id in program.vectors() {
            let values = load(id)?;
            let encoded = encode(Element::F32, values.len(), &values);
            let name = &program.weight(id).name;
            result.vectors.insert(id, uploads.buffer(name, vector_bytes(program, id), &encoded)?);
        }
        for conv in program.convs() {
            let values = reordered(conv, &load(conv.weight)?, backend.transform(conv));
            let encoded = encode(element, conv.out_channels as usize, &values);
            let name = &program.weight(conv.weight).name;
            let buffer = uploads.buffer(name, kernel_bytes(backend, conv), &encoded)?;
            result.kernels.insert(conv.weight, buffer);
        }
        uploads.finish()?;
        Ok(result)
    }

    pub(super) fn kernel(&self, conv: &Conv) -> &Buffer {
        self.kernels.get(&conv.weight).expect("an op runs with the weights of its own program")
    }

    pub(super) fn vector(&self, id: WeightId) -> &Buffer {
        self.vectors.get(&id).expect("an op runs with the weights of its own program")
    }
}

/// Puts weights on the device, not too many of them under way at once.
struct Uploads<'a> {
    backend: &'a WgpuBackend,
    waiting: u64,
}

impl Uploads<'_> {
    fn shared(&self) -> &Shared {
        &self.backend.shared
    }

    fn buffer(&mut self, name: &str, bytes: u64, content: &[u8]) -> Result<Buffer, BackendError> {
        let buffer = self.backend.store.weights(name, bytes)?;
        self.shared().queue.write_buffer(&buffer, 0, content);
        self.waiting += bytes;
        if self.waiting >= UNDER_WAY {
            self.finish()?;
        }
        Ok(buffer)
    }

    fn finish(&mut self) -> Result<(), BackendError> {
        self.shared().queue.submit([]);
        self.waiting = 0;
        self.shared().wait()
    }
}
