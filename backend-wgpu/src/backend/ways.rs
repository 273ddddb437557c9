//! The engine's conformance suite on every way of computing that a tuning may choose, wherever it is
//! possible at all.

use crate::device::WgpuDevice;
use crate::options::Options;
use crate::transform::Transform;
use crate::tuning::{Tile, Tuning};
use crate::{AdapterChoice, WgpuBackend};

fn backend(tile: Tile, transform: Transform, winograd: u32) -> WgpuBackend {
    let choice = std::env::var("HALOVAE_TEST_ADAPTER").map(AdapterChoice::Name);
    let choice = choice.unwrap_or(AdapterChoice::Index(0));
    let device = WgpuDevice::open(&choice, Options::default());
    let backend = device.unwrap_or_else(|error| panic!("{error}")).backend();
    backend.tune(Tuning { tile, transform, winograd });
    backend
}

mod shared {
    use super::{Tile, Transform, backend};

    const TILE: Tile = Tile::Shared { rows: 4, columns: 1 };

    #[test]
    fn convs() {
        halovae_engine::conformance::convs(|| backend(TILE, Transform::F2, u32::MAX));
    }

    #[test]
    fn programs() {
        halovae_engine::conformance::programs(|| backend(TILE, Transform::F2, 1));
    }

    #[test]
    fn largest_tile() {
        let tile = Tile::Shared { rows: 8, columns: 2 };
        halovae_engine::conformance::programs(|| backend(tile, Transform::F4, 1));
    }
}

/// Where subgroups have eight invocations each, as llvmpipe's have: every way that a subgroup's reads
/// can lie, from one read of four channels to several for each channel.
mod lanes {
    use super::{Tile, Transform, Tuning, backend};

    fn check(columns: u32) {
        let with = |rows, transform, winograd| {
            let fallback = Tile::Alone { rows, columns, group: 8 };
            let backend = backend(fallback, transform, winograd);
            if let Some(lanes) = backend.shared.abilities.lanes {
                backend.tune(Tuning {
                    tile: Tile::Lanes { rows, columns, lanes },
                    transform,
                    winograd,
                });
            }
            backend
        };
        halovae_engine::conformance::convs(|| with(2, Transform::F2, u32::MAX));
        halovae_engine::conformance::programs(|| with(4, Transform::F4, 1));
    }

    #[test]
    fn narrow() {
        check(2);
    }

    #[test]
    fn half() {
        check(4);
    }

    #[test]
    fn full() {
        check(8);
    }

    #[test]
    fn wide() {
        check(16);
    }
}

mod winograd2 {
    use super::{Tile, Transform, backend};

    const TILE: Tile = Tile::Alone { rows: 2, columns: 4, group: 64 };

    halovae_engine::backend_conformance!(@tests backend(TILE, Transform::F2, 1);
        convs, fused_convs, programs, convs_within_halos, memory_is_returned);
}

mod winograd4 {
    use super::{Tile, Transform, backend};

    const TILE: Tile = Tile::Alone { rows: 4, columns: 2, group: 64 };

    halovae_engine::backend_conformance!(@tests backend(TILE, Transform::F4, 1);
        convs, fused_convs, programs, convs_within_halos, memory_is_returned);
}
