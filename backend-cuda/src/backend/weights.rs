//! A program's weights on the device.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys::CUdeviceptr;
use halovae_engine::backend::{BackendError, WeightSource};
use halovae_engine::program::{Conv, Program, WeightId};

use super::CudaBackend;
use super::phase::taps;
use crate::kernels::Kernel;
use crate::params::Reorder;
use crate::store::{Block, counted_bytes};
use crate::value::padded;

/// A program's weights on a device.
///
/// Kernels of convs lie as `[phases][out channels][taps][in channels]`, both channels filled up to
/// eights with zeros; biases and norm parameters as f32, filled up as well.
#[derive(Debug)]
pub struct CudaWeights {
    /// Tells them from others in the process.
    pub(super) number: u64,
    kernels: BTreeMap<WeightId, Block>,
    vectors: BTreeMap<WeightId, Block>,
}

/// Elements of a kernel, for one phase of the outputs.
pub(super) fn phase_elements(conv: &Conv) -> u64 {
    let padded = |channels: u32| padded(channels as usize) as u64;
    let [down, across] = taps(conv).map(u64::from);
    down * across * padded(conv.in_channels) * padded(conv.out_channels)
}

fn kernel_elements(conv: &Conv) -> u64 {
    phase_elements(conv) * u64::from(conv.upsample()).pow(2)
}

fn vector_bytes(program: &Program, id: WeightId) -> u64 {
    padded(program.weight(id).elements()) as u64 * 4
}

/// Bytes of [`CudaWeights`] for a program.
pub(super) fn bytes(backend: &CudaBackend, program: &Program) -> u64 {
    let element = backend.store.element().bytes();
    let kernels = program.convs().map(|conv| kernel_elements(conv) * element);
    let vectors = program.vectors().into_iter().map(|id| vector_bytes(program, id));
    kernels.chain(vectors).map(counted_bytes).sum()
}

impl CudaWeights {
    pub(super) fn load(
        backend: &CudaBackend,
        program: &Program,
        source: &dyn WeightSource,
    ) -> Result<Self, BackendError> {
        let store = &backend.store;
        let load = |id: WeightId| {
            let spec = program.weight(id);
            let mut values = vec![0.0; spec.elements()];
            source.load(spec, &mut values)?;
            Ok::<_, BackendError>(values)
        };
        static NUMBER: AtomicU64 = AtomicU64::new(0);

        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut result = Self { number, kernels: BTreeMap::new(), vectors: BTreeMap::new() };
        for id in program.vectors() {
            let mut values = load(id)?;
            values.resize(padded(values.len()), 0.0);
            let block = store.block(&program.weight(id).name, vector_bytes(program, id))?;
            store.write(block.pointer(), &values)?;
            result.vectors.insert(id, block);
        }
        for conv in program.convs() {
            let (values, name) = (load(conv.weight)?, &program.weight(conv.weight).name);
            let count = kernel_elements(conv);
            let block = store.block(name, count * store.element().bytes())?;
            let raw = store.block(name, values.len() as u64 * 4)?;
            store.write(raw.pointer(), &values)?;
            let [taps_y, taps_x] = taps(conv);
            let reorder = Reorder {
                input: raw.pointer(),
                out: block.pointer(),
                count: count as u32,
                in_channels: conv.in_channels,
                in_padded: padded(conv.in_channels as usize) as u32,
                out_channels: conv.out_channels,
                out_padded: padded(conv.out_channels as usize) as u32,
                kernel_y: conv.kernel()[0],
                kernel_x: conv.kernel()[1],
                taps_y,
                taps_x,
                up: conv.upsample(),
            };
            store.over(Kernel::Reorder, &reorder, count)?;
            result.kernels.insert(conv.weight, block);
        }
        // Other ranks read them in streams of their own.
        store.synchronize()?;
        Ok(result)
    }

    pub(super) fn kernel(&self, conv: &Conv) -> CUdeviceptr {
        let found = self.kernels.get(&conv.weight);
        found.expect("an op runs with the weights of its own program").pointer()
    }

    pub(super) fn vector(&self, id: WeightId) -> CUdeviceptr {
        let found = self.vectors.get(&id);
        found.expect("an op runs with the weights of its own program").pointer()
    }
}
