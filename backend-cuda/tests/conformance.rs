//! The engine's conformance suite, on a GPU or on what stands in for one.

mod common;

use halovae_cuda::{Limits, Options};

mod f32 {
    halovae_engine::backend_conformance!(super::common::backend(super::Options::default()));
}

/// Many bands and many blocks of queries and keys.
mod f32_in_pieces {
    use super::{Limits, Options};

    halovae_engine::backend_conformance!(super::common::backend(Options {
        limits: Limits { band_bytes: 16 << 10, attention: [40, 24] },
        ..Options::default()
    }));
}
