//! The engine's conformance suite, at every level of instructions that the machine has.

use std::sync::Arc;

use halovae_cpu::CpuBackend;
use halovae_cpu::kernels::Level;

/// A backend on two threads; a level that the machine lacks is lowered to one that it has.
fn backend(level: Level) -> CpuBackend {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    CpuBackend::with_pool(Arc::new(pool), level)
}

mod portable {
    halovae_engine::backend_conformance!(super::backend(super::Level::Portable));
}

mod avx2 {
    halovae_engine::backend_conformance!(super::backend(super::Level::Avx2));
}

mod avx512 {
    halovae_engine::backend_conformance!(super::backend(super::Level::Avx512));
}
