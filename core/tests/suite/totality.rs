//! Every function on any input: a value or an error, at once, and no panic.

use halovae_core::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Strategy;

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0u32..20,
        (0u32..32).prop_map(|bit| 1 << bit),
        (0u32..20).prop_map(|below| u32::MAX - below),
    ]
}

fn factor() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        prop::num::f64::ANY,
        0.0..1.0f64,
        (0u32..64).prop_map(|n| f64::from(n) / 64.0),
        Just(1.0 - f64::EPSILON / 2.0),
    ]
}

fn axis_tiling() -> impl Strategy<Value = (AxisTiling, u32)> {
    let anything = (number(), number(), number(), factor(), any::<bool>()).prop_map(
        |(sample, other, scale, factor, by_factor)| {
            let tiling = if by_factor {
                AxisTiling::Overlap {
                    tile_sample_min_size: sample,
                    tile_latent_min_size: other,
                    tile_overlap_factor: factor,
                }
            } else {
                AxisTiling::Stride { tile_sample_min_size: sample, tile_sample_stride: other }
            };
            (tiling, scale)
        },
    );
    // Sizes that agree, however large, so that grids come out as well as errors.
    let agreeing = (number(), 0u32..32, 0u32..64, any::<bool>()).prop_map(
        |(number, bits, sixty_fourths, by_factor)| {
            let scale = 1 << bits;
            let tile = (number >> bits).max(1);
            let tiling = if by_factor {
                AxisTiling::Overlap {
                    tile_sample_min_size: tile * scale,
                    tile_latent_min_size: tile,
                    tile_overlap_factor: f64::from(sixty_fourths) / 64.0,
                }
            } else {
                AxisTiling::Stride {
                    tile_sample_min_size: tile * scale,
                    tile_sample_stride: (tile
                        - (u64::from(tile) * u64::from(sixty_fourths) / 64) as u32)
                        * scale,
                }
            };
            (tiling, scale)
        },
    );
    prop_oneof![anything, agreeing]
}

fn time_scale() -> impl Strategy<Value = TimeScale> {
    let law = prop_oneof![
        2 => Just(TimeLaw::Even), 4 => Just(TimeLaw::FirstAlone), 1 => Just(TimeLaw::AfterFirst),
    ];
    (prop_oneof![4 => 1u32..9, 1 => number()], law)
        .prop_map(|(factor, law)| TimeScale { factor, law })
}

/// A law of time, and tiles of frames whose numbers often agree with it.
fn time_tiling() -> impl Strategy<Value = (TimeScale, Option<TimeTiling>)> {
    (time_scale(), number(), number(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(time, tile, stride, whole, first, is_tiled)| {
            let rounded = |frames: u32| match frames.checked_rem(time.factor) {
                Some(rest) if whole => frames - rest,
                _ => frames,
            };
            let stride = if whole { tile - (tile >> 4 & stride) } else { stride };
            let tiling = TimeTiling {
                tile_sample_min_num_frames: rounded(tile),
                tile_sample_stride_num_frames: rounded(stride),
                dropped: if first { DroppedFrame::First } else { DroppedFrame::Last },
            };
            (time, is_tiled.then_some(tiling))
        },
    )
}

fn probe(plan: &Plan, at: u64) {
    let count = plan.piece_count();
    for index in [0, at % count, count - 1] {
        let piece = plan.piece(index).unwrap();
        assert!(plan.input().at_origin().contains(piece.input));
        assert!(plan.output().at_origin().contains(piece.output));
        assert_eq!(piece.keep.size(), piece.output.size());
        assert!(!piece.keep.is_empty());
        std::hint::black_box(plan.piece_cells(&piece));
    }
    assert_eq!(plan.piece(count), None);
    assert_eq!(plan.piece(u64::MAX), None);
    assert_eq!(plan.pieces().take(3).count() as u64, count.min(3));
    let held = plan.bands().take(40).map(|band| band.pieces());
    assert!(held.is_sorted_by(|a, b| a.start <= b.start && a.end <= b.end));
    for block in plan.bands().take(40).flat_map(|band| band.blocks().take(40)).step_by(7) {
        assert!(plan.output().at_origin().contains(block.region));
        let Size { frames, height, width } = block.region.size();
        let last = (frames - 1, height - 1, width - 1);
        let mut sums = [0.0; 2];
        for term in block.terms() {
            assert!(plan.piece(term.piece).unwrap().keep.size().at_origin().contains(term.source));
            sums[0] += term.weight(0, 0, 0);
            sums[1] += term.weight(last.0, last.1, last.2);
            term.fill_weights(last.0, last.1, &mut [0.0; 3]);
            std::hint::black_box(term.weight(u32::MAX, u32::MAX, u32::MAX));
        }
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    }
    assert!(plan.processed_cells() >= 1);
    assert!(plan.redundancy() >= 0.999_999);
    let model = WorkModel { flops_per_cell_pair: 1.0, ..WorkModel::default() };
    assert!(plan.flops(&model) >= 1.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn tile_grids(
        (height, space) in axis_tiling(), (width, _) in axis_tiling(), same: bool,
        (time, in_time) in time_tiling(), size in [number(), number(), number()],
        encode: bool, round: bool, at: u64,
    ) {
        let direction = if encode { Direction::Encode } else { Direction::Decode };
        let width = if same { height } else { width };
        let tiling = Tiling::new(height, width, Scale::video(time, space));
        let tiling = in_time.map_or(tiling, |in_time| tiling.with_time(in_time));
        let whole = |extent: u32, factor: u32| match extent.checked_rem(factor) {
            Some(rest) if encode && round => extent - rest,
            _ if round => extent.checked_div(factor).unwrap_or(extent),
            _ => extent,
        };
        let frames = match time.law {
            TimeLaw::FirstAlone if round => whole(size[0], time.factor).saturating_add(1),
            _ => whole(size[0], time.factor),
        };
        let input = Size::video(frames, whole(size[1], space), whole(size[2], space));
        std::hint::black_box(tiling.triggers(direction, input));
        match TileGrid::new(direction, input, &tiling) {
            Ok(grid) => {
                for axis in [grid.time(), grid.height(), grid.width()] {
                    for index in [0, 1, axis.count() - 1, axis.count(), u32::MAX] {
                        assert!(axis.start(index) <= axis.extent());
                        assert!(axis.len(index) <= axis.tile());
                        assert!((0.0..=1.0).contains(&axis.ramp(index, at)));
                    }
                }
                assert_eq!(tiling.triggers(direction, input), grid.triggers());
                probe(&Plan::tiled(grid), at);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn sizes(
        size in number(), group in number(), latents in [number(), number(), number()],
        time in time_scale(), space in number(),
    ) {
        std::hint::black_box(vae_parallel_size(size, group)).ok();
        let [frames, rows, cols] = latents;
        let scale = Scale::video(time, space);
        std::hint::black_box(scale.layer(Size::video(frames, rows, cols)));
        match Plan::whole(Size::video(frames, rows, cols), scale) {
            Ok(plan) => probe(&plan, 0),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

proptest! {
    #[test]
    fn patch_grids(
        latents in [number(), number(), number()], tile_h in number(), tile_w in number(),
        ranks in prop_oneof![4 => 0u32..3000, 1 => number()],
        overlap in [factor(), factor()], time in time_scale(),
        space in prop_oneof![1u32..9, number()], at: u64,
    ) {
        let [frames, rows, cols] = latents;
        let (latents, tile) = (Size::video(frames, rows, cols), Size::new(tile_h, tile_w));
        let scale = Scale::video(time, space);
        match PatchGrid::new(latents, ranks, tile, overlap, scale) {
            Ok(grid) => {
                assert!(grid.len() <= u64::from(ranks));
                probe(&Plan::patch(grid), at);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn shard_grids(
        latents in [number(), number(), number()], bands in [bands(), bands(), bands()],
        time in time_scale(), space in prop_oneof![1u32..9, number()], layers in vec(layer(), 0..3),
        shards in prop_oneof![1u32..3000, number()], index in number(), at: u64,
    ) {
        let latents = Size::video(latents[0], latents[1], latents[2]);
        let (bands, scale) = (Axes::new(bands[0], bands[1], bands[2]), Scale::video(time, space));
        let grid = ShardGrid::of(latents, bands, scale);
        let fit = ShardGrid::fit(latents, bands, scale, &layers);
        let chosen = ShardGrid::choose(latents, shards, scale, &layers);
        for found in [fit, chosen] {
            match found {
                Ok((grid, _)) => {
                    assert!(grid.len() <= MAX_SHARDS);
                    assert!(layers.iter().all(|layer| grid.fits(layer.scale, layer.reach)));
                    probe_shards(&grid, &layers, index, at);
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        match grid {
            Ok(grid) => probe_shards(&grid, &layers, index, at),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn convs(
        kernel in number(), stride in number(), before in number(), behind in number(),
        repeat in number(), first_alone: bool, skip in number(), outputs in [any::<u64>(), any::<u64>()],
    ) {
        let window = Window { kernel, stride, before, behind, repeat, first_alone, skip };
        match window.reach() {
            Ok([before, behind]) => assert!(before < kernel && behind < kernel),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        std::hint::black_box(window.outputs(outputs[0]));
        let cells = window.cells(&(outputs[0]..outputs[1]));
        assert!(cells.start <= cells.end);
    }
}

fn bands() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1u32..100, 1 => number()]
}

fn layer() -> impl Strategy<Value = LayerHalo> {
    let side = || [number(), number()];
    let reach = (side(), side(), side())
        .prop_map(|(time, height, width)| Margins::from_axes(Axes::new(time, height, width)));
    (time_scale(), number(), reach, any::<u64>()).prop_map(
        |(time, space, reach, bytes_per_cell)| LayerHalo {
            scale: Scale::video(time, space),
            reach,
            bytes_per_cell,
        },
    )
}

fn probe_shards(grid: &ShardGrid, layers: &[LayerHalo], index: u32, at: u64) {
    probe(&Plan::sharded(*grid), at);
    assert!(grid.imbalance() >= 0.999_999);
    std::hint::black_box(grid.halo_bytes(layers));
    let last = grid.len() - 1;
    for index in [0, index, index % grid.len(), last] {
        for &LayerHalo { scale, reach, .. } in layers {
            std::hint::black_box(grid.margins(index, scale, reach));
            let part = grid.part(index, scale);
            assert!(
                [part.end(), part.bottom(), part.right()].iter().all(|&end| end <= u32::MAX.into())
            );
            for transfer in grid.received(index, scale, reach) {
                assert_eq!(transfer.to, index);
                assert!(grid.part(transfer.from, scale).contains(transfer.region));
                assert!(grid.sent(transfer.from, scale, reach).any(|sent| sent == transfer));
            }
        }
    }
}
