//! The engine's conformance suite, on whatever adapter there is, software included.

mod common;

use halovae_wgpu::Options;

/// What adapters can, and values in many buffers.
mod f32 {
    halovae_engine::backend_conformance!(super::common::backend(super::Options::default()));
}

mod f32_in_chunks {
    use super::Options;

    halovae_engine::backend_conformance!(super::common::backend(Options {
        max_binding_bytes: Some(192 << 10),
        ..Options::default()
    }));
}
