//! What planning costs: a very large image over very many ranks, and one tile as grids grow.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use halovae_core::*;

const MODEL: WorkModel = WorkModel {
    flops_per_cell: 6e8,
    flops_per_cell_pair: 2048.0,
    live_bytes_per_cell: 150_000,
    fixed_bytes: 200_000_000,
    output_bytes_per_pixel: 12,
};

/// FLUX.1's tiling.
fn grid(latents: Size) -> TileGrid {
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: 1024,
        tile_latent_min_size: 128,
        tile_overlap_factor: 0.25,
    };
    let tiling = Tiling::new(axis, axis, 8);
    TileGrid::new(Direction::Decode, latents, &tiling).expect("the defaults are consistent")
}

/// The caller's slices for a plan.
struct Slices {
    costs: Vec<u64>,
    owners: Vec<u32>,
    order: Vec<u32>,
    loads: Vec<RankLoad>,
    estimates: Vec<RankEstimate>,
}

impl Slices {
    fn new(pieces: u64, ranks: usize) -> Self {
        let pieces = pieces as usize;
        Self {
            costs: vec![0; pieces],
            owners: vec![0; pieces],
            order: vec![0; pieces],
            loads: vec![RankLoad::default(); ranks],
            estimates: vec![RankEstimate::default(); ranks],
        }
    }

    /// All that happens before the first piece is decoded.
    fn plan(&mut self, latents: Size) -> Balance {
        let plan = Plan::tiled(grid(latents));
        let Self { costs, owners, order, loads, estimates } = self;
        piece_costs(&plan, &MODEL, costs).expect("one cost a piece");
        let balance = largest_first(costs, owners, order, loads).expect("slices of one length");
        estimate_ranks(&plan, owners, &MODEL, estimates).expect("one owner a piece");
        balance
    }
}

fn many_ranks(c: &mut Criterion) {
    let latents = Size::new(16384, 16384);
    let mut slices = Slices::new(grid(latents).len(), 1024);
    let mut group = c.benchmark_group("16384x16384 latents, 1024 ranks");
    group.throughput(Throughput::Elements(grid(latents).len()));
    group.bench_function("plan", |b| b.iter(|| slices.plan(black_box(latents))));
    group.bench_function("grid", |b| b.iter(|| grid(black_box(latents))));
    let plan = Plan::tiled(grid(latents));
    group.bench_function("redundancy", |b| b.iter(|| black_box(&plan).redundancy()));
    let Slices { costs, owners, order, loads, .. } = &mut slices;
    group.bench_function("largest first", |b| {
        b.iter(|| largest_first(black_box(costs), owners, order, loads));
    });
    group.bench_function("contiguous", |b| {
        b.iter(|| contiguous(black_box(costs), owners, 1024));
    });
    group.finish();
}

/// The time per tile is that of the group's throughput.
fn growing_grids(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan, 64 ranks");
    for tiles in [10u32, 32, 100, 316] {
        let latents = Size::new(tiles * 96, tiles * 96);
        let count = grid(latents).len();
        let mut slices = Slices::new(count, 64);
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| slices.plan(black_box(latents)));
        });
    }
    group.finish();
}

fn weights(c: &mut Criterion) {
    let corner = grid(Size::new(256, 256))
        .bands()
        .flat_map(|band| band.blocks())
        .find(|block| block.term_count() == 4)
        .expect("four tiles meet");
    let mut row = vec![0.0; corner.region.width as usize];
    let mut group = c.benchmark_group("weights of a row of 256 pixels");
    group.throughput(Throughput::Elements(row.len() as u64 * 4));
    group.bench_function("four tiles", |b| {
        b.iter(|| corner.terms().for_each(|term| term.fill_weights(0, black_box(7), &mut row)));
    });
    group.finish();
}

criterion_group!(benches, many_ranks, growing_grids, weights);
criterion_main!(benches);
