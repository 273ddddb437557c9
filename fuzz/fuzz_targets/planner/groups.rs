//! Groups of ranks.

use halovae_core::{DitParallel, Request};

use crate::input::{Extent, Input};

pub(crate) fn groups(input: &Input) {
    let [data, cfg, ulysses, ring, pipeline, tensor] = input.factors.map(Extent::get);
    let product = [data, cfg, ulysses, ring, pipeline, tensor]
        .iter()
        .try_fold(1u32, |product, &factor| product.checked_mul(factor))
        .filter(|&product| product > 0);
    let group = DitParallel { data, cfg, ulysses, ring, pipeline, tensor }.size();
    assert_eq!(group.ok(), product);
    let request = Request {
        vae_patch_parallel_size: input.ranks.get(),
        group_size: input.group.get(),
        use_tiling: input.use_tiling,
        parallel_supported: input.parallel_supported,
    };
    let Ok(resolved) = request.resolve() else {
        assert!(request.vae_patch_parallel_size == 0 || request.group_size == 0);
        return;
    };
    assert!((1..=request.group_size).contains(&resolved.ranks));
    assert!(resolved.ranks <= request.vae_patch_parallel_size);
    assert!(resolved.ranks == 1 || resolved.use_tiling);
    let again = Request {
        vae_patch_parallel_size: resolved.ranks,
        use_tiling: resolved.use_tiling,
        ..request
    };
    let again = again.resolve().expect("what was resolved is possible");
    assert_eq!((again.ranks, again.use_tiling), (resolved.ranks, resolved.use_tiling));
    assert!(again.notices.is_empty());
}
