//! Which rank decodes which pieces.

use halovae_core::{
    Plan, RankEstimate, RankLoad, WorkModel, balance, contiguous, estimate_ranks, largest_first,
    piece_costs, round_robin,
};

use crate::input::Input;

pub(crate) fn shares(plan: &Plan, input: &Input, count: usize) {
    let ranks = (input.ranks.get() % 65) as usize;
    let model = WorkModel {
        flops_per_cell: input.flops_per_cell,
        flops_per_cell_pair: input.flops_per_cell_pair,
        live_bytes_per_cell: input.bytes[0],
        fixed_bytes: input.bytes[1],
        output_bytes_per_pixel: input.bytes[2],
    };
    let mut costs = vec![0; count];
    let even = WorkModel { flops_per_cell_pair: 0.5, ..WorkModel::default() };
    let of_pieces: f64 = plan.pieces().map(|piece| plan.piece_flops(&piece, &even)).sum();
    let error = (of_pieces - plan.flops(&even)).abs();
    assert!(error <= 1e-9 * of_pieces, "{of_pieces} and {}", plan.flops(&even));
    piece_costs(plan, &model, &mut costs).expect("as many costs as pieces");
    assert!(costs.iter().all(|&cost| cost > 0));
    let mut owners = vec![u32::MAX; count];
    let mut order = vec![0; count];
    let mut loads = vec![RankLoad::default(); ranks];
    let total: u128 = costs.iter().copied().map(u128::from).sum();
    let largest = costs.iter().copied().max().map_or(0, u128::from);
    match largest_first(&costs, &mut owners, &mut order, &mut loads) {
        Err(_) => assert_eq!(ranks, 0),
        Ok(shared) => {
            assert_eq!(shared.total, total);
            assert!(shared.makespan >= total.div_ceil(ranks as u128).max(largest));
            assert!(shared.makespan <= total / ranks as u128 + largest);
            assert_eq!(balance(&costs, &owners, &mut loads), Ok(shared));
            let mut estimates = vec![RankEstimate::default(); ranks];
            estimate_ranks(plan, &owners, &model, &mut estimates).expect("owners that exist");
            assert_eq!(estimates.iter().map(|e| e.pieces).sum::<u64>(), count as u64);
            let cells = estimates.iter().map(|e| e.cells).sum::<u128>();
            assert_eq!(cells, plan.processed_cells());
            let sent = estimates.iter().map(|e| e.sent_bytes).fold(0, u64::saturating_add);
            assert_eq!(estimates[0].received_bytes, sent);
        }
    }
    if let Ok(runs) = contiguous(&costs, &mut owners, ranks as u32) {
        assert!(owners.is_sorted());
        assert_eq!(balance(&costs, &owners, &mut loads).map(|b| b.makespan), Ok(runs.makespan));
    }
    if round_robin(&mut owners, ranks as u32).is_ok() {
        assert!(owners.iter().all(|&owner| (owner as usize) < ranks));
    }
}
