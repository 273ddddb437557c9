//! The engine's conformance suite on every way of computing that a tuning may choose, wherever it is
//! possible at all.

use crate::device::{Options, WgpuDevice};
use crate::tuning::{Tile, Tuning};
use crate::{AdapterChoice, WgpuBackend};

fn backend(tile: Tile, winograd: u32) -> WgpuBackend {
    let choice = std::env::var("HALOVAE_TEST_ADAPTER").map(AdapterChoice::Name);
    let choice = choice.unwrap_or(AdapterChoice::Index(0));
    let device = WgpuDevice::open(&choice, Options::default());
    let backend = device.unwrap_or_else(|error| panic!("{error}")).backend();
    backend.tune(Tuning { tile, winograd });
    backend
}

mod shared {
    use super::{Tile, backend};

    const TILE: Tile = Tile::Shared { rows: 4, columns: 1 };

    #[test]
    fn convs() {
        halovae_engine::conformance::convs(|| backend(TILE, u32::MAX));
    }

    #[test]
    fn programs() {
        halovae_engine::conformance::programs(|| backend(TILE, 1));
    }

    #[test]
    fn largest_tile() {
        let tile = Tile::Shared { rows: 8, columns: 2 };
        halovae_engine::conformance::programs(|| backend(tile, 1));
    }
}

mod winograd {
    use super::{Tile, backend};

    const TILE: Tile = Tile::Alone { rows: 2, columns: 4, group: 64 };

    halovae_engine::backend_conformance!(@tests backend(TILE, 1);
        convs, fused_convs, programs, convs_within_halos, memory_is_returned);
}
