use halovae_core::Strategy;
use halovae_core::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn clamping_is_the_minimum_idempotent_and_monotone(a: u32, b: u32, group: u32) {
        let (a, b, group) = (a.max(1), b.max(1), group.max(1));
        let (size, notice) = vae_parallel_size(a, group).unwrap();
        prop_assert_eq!(size, if a < group { a } else { group });
        let expected = (a > group).then_some(Notice::SizeClamped { requested: a, group });
        prop_assert_eq!(notice, expected);
        prop_assert_eq!(vae_parallel_size(size, group), Ok((size, None)));
        let (low, high) = (a.min(b), a.max(b));
        let clamped = |size| vae_parallel_size(size, group).unwrap().0;
        prop_assert!(clamped(low) <= clamped(high));
    }

    #[test]
    fn group_size_is_the_checked_product(
        factors in prop::array::uniform6(prop_oneof![0u32..12, 0u32..5000, Just(1), any::<u32>()]),
    ) {
        let [data, cfg, ulysses, ring, pipeline, tensor] = factors;
        let size = DitParallel { data, cfg, ulysses, ring, pipeline, tensor }.size();
        let names = [
            "data_parallel_size", "cfg_parallel_size", "ulysses_degree", "ring_degree",
            "pipeline_parallel_size", "tensor_parallel_size",
        ];
        if let Some(zero) = factors.iter().position(|&factor| factor == 0) {
            prop_assert_eq!(size, Err(PlanError::Zero { name: names[zero] }));
            return Ok(());
        }
        let mut product = 1u128;
        for (name, value) in names.into_iter().zip(factors) {
            let before = product;
            product *= u128::from(value);
            if product > u128::from(u32::MAX) {
                let product = before as u32;
                prop_assert_eq!(size, Err(PlanError::GroupSizeOverflow { name, value, product }));
                return Ok(());
            }
        }
        prop_assert_eq!(size.map(u128::from), Ok(product));
    }

    /// The guide's situations, as a table over everything that matters.
    #[test]
    fn requests(size in 1u32..6, group in 1u32..6, use_tiling: bool, parallel_supported: bool) {
        let request = Request {
            vae_patch_parallel_size: size, group_size: group, use_tiling, parallel_supported,
        };
        let resolved = request.resolve().unwrap();
        let mut expected = vec![];
        let ranks = if !parallel_supported { 1 } else { size.min(group) };
        if !parallel_supported && size > 1 {
            expected.push(Notice::ParallelUnsupported { requested: size });
        }
        if parallel_supported && size > group {
            expected.push(Notice::SizeClamped { requested: size, group });
        }
        if ranks > 1 && !use_tiling {
            expected.push(Notice::TilingSwitchedOn { ranks });
        }
        prop_assert_eq!(resolved.ranks, ranks);
        prop_assert_eq!(resolved.use_tiling, use_tiling || ranks > 1);
        prop_assert_eq!(resolved.notices.iter().collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(resolved.notices.into_iter().collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(resolved.notices.len(), expected.len());
        prop_assert_eq!(resolved.notices.is_empty(), expected.is_empty());
        // What was decided, asked for again, is granted without a word.
        let again = Request {
            vae_patch_parallel_size: ranks, use_tiling: resolved.use_tiling, ..request
        };
        let calm = Resolved { notices: Notices::new(), ..resolved };
        prop_assert_eq!(again.resolve(), Ok(calm));
    }
}

#[test]
fn zero_is_refused() {
    let requested = PlanError::Zero { name: "vae_patch_parallel_size" };
    assert_eq!(vae_parallel_size(0, 4), Err(requested));
    assert_eq!(vae_parallel_size(4, 0), Err(PlanError::Zero { name: "dit_parallel_size" }));
    let request = Request {
        vae_patch_parallel_size: 0,
        group_size: 1,
        use_tiling: false,
        parallel_supported: false,
    };
    assert_eq!(request.resolve(), Err(requested));
}

#[test]
fn a_group_of_ones_is_one_rank() {
    assert_eq!(DitParallel::default().size(), Ok(1));
}

#[test]
fn strategies() {
    for (ranks, use_tiling, triggers, expected) in [
        (1, false, false, Strategy::Whole),
        (1, false, true, Strategy::Whole),
        (1, true, false, Strategy::Whole),
        (1, true, true, Strategy::Tiled),
        (2, true, true, Strategy::Tiled),
        (2, true, false, Strategy::Patch),
        (2, false, true, Strategy::Patch),
        (2, false, false, Strategy::Patch),
    ] {
        assert_eq!(choose_strategy(ranks, use_tiling, triggers), expected);
    }
}

#[test]
fn a_notice_replaces_one_of_its_kind() {
    let mut notices = Notices::default();
    notices.push(Notice::TilingSwitchedOn { ranks: 2 });
    notices.push(Notice::SizeClamped { requested: 5, group: 2 });
    notices.push(Notice::TilingSwitchedOn { ranks: 3 });
    notices.push(Notice::ParallelUnsupported { requested: 5 });
    notices.push(Notice::ShardsCoarsened { requested: 5, slices: 3, rows: 2, cols: 2 });
    let expected = [
        Notice::TilingSwitchedOn { ranks: 3 },
        Notice::SizeClamped { requested: 5, group: 2 },
        Notice::ParallelUnsupported { requested: 5 },
        Notice::ShardsCoarsened { requested: 5, slices: 3, rows: 2, cols: 2 },
    ];
    assert!(notices.iter().eq(expected));
    assert_eq!((notices.len(), notices.is_empty()), (4, false));
}
