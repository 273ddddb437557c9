//! Shards against sets of cells: what each owns, reads and sends, counted cell by cell.

use std::ops::Range;

use crate::cases::shard_grid;
use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

fn margins(most: u32) -> impl Strategy<Value = Margins> {
    [0..=most, 0..=most, 0..=most, 0..=most].prop_map(Margins::of_frame)
}

fn layers() -> impl Strategy<Value = Vec<LayerHalo>> {
    let layer = (1u32..=4, margins(5), 0u64..9)
        .prop_map(|(scale, reach, bytes_per_cell)| LayerHalo { scale, reach, bytes_per_cell });
    prop::collection::vec(layer, 0..4)
}

/// A conv that keeps extents in proportion.
fn conv() -> impl Strategy<Value = Window> {
    (1u32..=7, 1u32..=2, 1u32..=3)
        .prop_flat_map(|(kernel, stride, upsample)| {
            let padding = kernel.saturating_sub(stride)..kernel;
            (Just((kernel, stride, upsample)), padding)
        })
        .prop_flat_map(|(numbers, padding)| (Just((numbers, padding)), 0..=padding))
        .prop_map(|(((kernel, stride, repeat), padding), before)| Window {
            kernel,
            stride,
            before,
            behind: padding - before,
            repeat,
            ..Window::POINT
        })
}

fn transposed(Region { top, left, height, width, .. }: Region) -> Region {
    Region::new(left, top, width, height)
}

fn flipped(Margins { top, bottom, left, right, .. }: Margins) -> Margins {
    Margins::of_frame([left, right, top, bottom])
}

/// How often each cell of a layer was counted.
struct Cells(Vec<Vec<u32>>);

impl Cells {
    fn new(grid: &ShardGrid, scale: u32) -> Self {
        let Size { height, width, .. } = grid.latents();
        Self(vec![vec![0; (width * scale) as usize]; (height * scale) as usize])
    }

    fn add(&mut self, rect: Region) {
        for row in &mut self.0[rect.top as usize..rect.bottom() as usize] {
            row[rect.left as usize..rect.right() as usize].iter_mut().for_each(|n| *n += 1);
        }
    }

    fn counts(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flatten().copied()
    }
}

/// The bands of `extent` latent cells, as the documentation has them.
fn bands(extent: u32, count: u32) -> Vec<Range<u32>> {
    (0..count).map(|k| k * extent / count..(k + 1) * extent / count).collect()
}

/// Whether no band is empty or thinner than what the bands beside it fetch from it.
fn axis_fits(extent: u32, count: u32, scale: u32, before: u32, behind: u32) -> bool {
    let bands = bands(extent, count);
    let cells = |band: &Range<u32>| (band.end - band.start) * scale;
    bands.iter().all(|band| !band.is_empty())
        && bands.windows(2).all(|pair| cells(&pair[0]) >= before && cells(&pair[1]) >= behind)
}

fn grid_fits(latents: Size, rows: u32, cols: u32, layers: &[LayerHalo]) -> bool {
    rows <= latents.height
        && cols <= latents.width
        && layers.iter().all(|&LayerHalo { scale, reach, .. }| {
            axis_fits(latents.height, rows, scale, reach.top, reach.bottom)
                && axis_fits(latents.width, cols, scale, reach.left, reach.right)
        })
}

fn all_received(grid: &ShardGrid, scale: u32, reach: Margins) -> Vec<Transfer> {
    (0..grid.len()).flat_map(|to| grid.received(to, scale, reach)).collect()
}

fn bytes_received(grid: &ShardGrid, layers: &[LayerHalo]) -> u64 {
    let bytes = |layer: &LayerHalo| {
        let received = all_received(grid, layer.scale, layer.reach);
        received.iter().map(|t| t.rect.area() * layer.bytes_per_cell).sum::<u64>()
    };
    layers.iter().map(bytes).sum()
}

fn largest(grid: &ShardGrid) -> u64 {
    (0..grid.len()).map(|index| grid.shard(index).unwrap().core.area()).max().unwrap()
}

/// Input cells along an axis of `extent` of them that output `at` reads, padding left out.
fn taps(conv: &Window, at: u32, extent: u32) -> Vec<usize> {
    let first = i64::from(at * conv.stride) - i64::from(conv.before);
    (first..first + i64::from(conv.kernel))
        .filter(|&cell| (0..i64::from(extent * conv.repeat)).contains(&cell))
        .map(|cell| cell as usize / conv.repeat as usize)
        .collect()
}

proptest! {
    #[test]
    fn parts_partition_every_layer(grid in shard_grid(), scale in 1u32..=4) {
        let mut cells = Cells::new(&grid, scale);
        let (rows, cols) = (grid.rows(), grid.cols());
        let Size { height, width, .. } = grid.latents();
        let (row_bands, col_bands) = (bands(height, rows), bands(width, cols));
        prop_assert_eq!(grid.len(), rows * cols);
        prop_assert_eq!(
            grid.output(), Size::new(height * grid.scale(), width * grid.scale())
        );
        for index in 0..grid.len() {
            let shard = grid.shard(index).unwrap();
            prop_assert_eq!((shard.index, shard.row * cols + shard.col), (index, index));
            prop_assert!(shard.row < rows && shard.col < cols);
            let Region { top, left, height, width, .. } = shard.core;
            prop_assert_eq!(top..top + height, row_bands[shard.row as usize].clone());
            prop_assert_eq!(left..left + width, col_bands[shard.col as usize].clone());
            let part = Region::new(top * scale, left * scale, height * scale, width * scale);
            prop_assert_eq!(grid.part(index, scale), part);
            cells.add(part);
        }
        prop_assert!(cells.counts().all(|count| count == 1));
        for bands in [row_bands, col_bands] {
            let lens = || bands.iter().map(|band| band.end - band.start);
            prop_assert!(lens().max().unwrap() - lens().min().unwrap() <= 1);
        }
        let mean = f64::from(height * width) / f64::from(grid.len());
        prop_assert!((grid.imbalance() - largest(&grid) as f64 / mean).abs() < 1e-9);

        let beyond = grid.len();
        let reach = Margins::of_frame([1; 4]);
        prop_assert_eq!((grid.shard(beyond), grid.part(beyond, scale)), (None, Region::default()));
        prop_assert!(grid.margins(beyond, reach).is_none());
        prop_assert_eq!(grid.received(beyond, scale, reach).count(), 0);
        prop_assert_eq!(grid.sent(beyond, scale, reach).count(), 0);
    }

    /// A reach is given exactly where inputs of every length are kept in proportion.
    #[test]
    fn only_proportional_convs_have_a_reach(
        kernel in 1u32..=9, stride in 1u32..=4, before in 0u32..=9, behind in 0u32..=9,
        upsample in 1u32..=3,
    ) {
        let conv = Window { kernel, stride, before, behind, repeat: upsample, ..Window::POINT };
        let outputs = |cells: u32| {
            let padded = cells + before + behind;
            (0..).take_while(|output| output * stride + kernel <= padded).count() as u32
        };
        let proportional = (1..20).all(|n| outputs(n * stride) == n);
        match conv.reach() {
            Ok(_) => prop_assert!(proportional),
            Err(error) => {
                prop_assert!(!proportional);
                let padding = u64::from(before + behind);
                prop_assert_eq!(error, PlanError::NotProportional { kernel, stride, padding });
            }
        }
    }

    /// Tap by tap: a shard's part and what it receives are what its outputs read.
    #[test]
    fn a_part_and_what_it_receives_is_what_a_conv_reads(
        latents in (1u32..=9, 1u32..=9), shards in (1u32..=4, 1u32..=4),
        vertical in conv(), horizontal in conv(), factor in 1u32..=2,
    ) {
        let (height, width) = latents;
        let latents = Size::new(height, width);
        // Parts of the input are whole strides.
        let scale = factor * vertical.stride.max(horizontal.stride);
        let [[top, bottom], [left, right]] =
            [vertical, horizontal].map(|conv| conv.reach().unwrap());
        let reach = Margins::of_frame([top, bottom, left, right]);
        let layer = LayerHalo { scale, reach, bytes_per_cell: 1 };
        let (grid, _) = ShardGrid::fit(latents, shards.0, shards.1, 8, &[layer]).unwrap();
        let (height, width) = (height * scale, width * scale);
        // Longer strides leave cells that nobody reads, at the picture's end or between outputs.
        let reads_all = vertical.stride == 1 && horizontal.stride == 1;
        for index in 0..grid.len() {
            let part = grid.part(index, scale);
            let outputs = |start: u32, len: u32, conv: &Window| {
                let output = |cell: u32| cell * conv.repeat / conv.stride;
                output(start)..output(start + len)
            };
            let mut read = Cells::new(&grid, scale);
            for y in outputs(part.top, part.height, &vertical) {
                let rows = taps(&vertical, y, height);
                for x in outputs(part.left, part.width, &horizontal) {
                    for col in taps(&horizontal, x, width) {
                        rows.iter().for_each(|&row| read.0[row][col] = 1);
                    }
                }
            }
            let mut held = Cells::new(&grid, scale);
            held.add(part);
            for transfer in grid.received(index, scale, reach) {
                held.add(transfer.rect);
            }
            prop_assert!(held.counts().all(|count| count <= 1), "held twice");
            if reads_all {
                prop_assert_eq!(&held.0, &read.0);
            }
            // Rectangles: the rows of which it owns or reads a cell, times such columns.
            let mut needed = Cells::new(&grid, scale);
            needed.add(part);
            let reads = |row: usize, col: usize| needed.0[row][col] + read.0[row][col] > 0;
            let rows: Vec<bool> = (0..height as usize)
                .map(|row| (0..width as usize).any(|col| reads(row, col))).collect();
            let cols: Vec<bool> = (0..width as usize)
                .map(|col| (0..height as usize).any(|row| reads(row, col))).collect();
            for (held, &row) in held.0.iter().zip(&rows) {
                prop_assert!(held.iter().zip(&cols).all(|(&n, &col)| n == u32::from(row && col)));
            }
            // Margins are as wide as what is held, so a backend can rely on them.
            let Margins { top, bottom, left, right, .. } = grid.margins(index, reach);
            let Region { top: y, left: x, height, width, .. } = part;
            let around = Region::new(y - top, x - left, top + height + bottom, left + width + right);
            let mut framed = Cells::new(&grid, scale);
            framed.add(around);
            prop_assert_eq!(framed.0, held.0);
        }
    }

    /// Also where halos go beyond the neighbours.
    #[test]
    fn sends_and_receives_match(grid in shard_grid(), scale in 1u32..=4, reach in margins(9)) {
        let mut received = all_received(&grid, scale, reach);
        let sent: Vec<Transfer> =
            (0..grid.len()).flat_map(|from| grid.sent(from, scale, reach)).collect();
        for index in 0..grid.len() {
            let froms: Vec<u32> = grid.received(index, scale, reach).map(|t| t.from).collect();
            let tos: Vec<u32> = grid.sent(index, scale, reach).map(|t| t.to).collect();
            prop_assert!(froms.len() <= 8 && tos.len() <= 8);
            prop_assert!(froms.is_sorted_by(|a, b| a < b) && tos.is_sorted_by(|a, b| a < b));
        }
        let shard = |index| grid.shard(index).unwrap();
        for &Transfer { from, to, rect } in &sent {
            prop_assert_ne!(from, to);
            prop_assert!(!rect.is_empty());
            prop_assert!(grid.part(from, scale).contains(rect));
            let (a, b) = (shard(from), shard(to));
            prop_assert!(a.row.abs_diff(b.row) <= 1 && a.col.abs_diff(b.col) <= 1);
            let margins = grid.margins(to, reach);
            if a.row != b.row && a.col != b.col {
                let vertical = if a.row < b.row { margins.top } else { margins.bottom };
                let horizontal = if a.col < b.col { margins.left } else { margins.right };
                prop_assert!(vertical > 0 && horizontal > 0, "a corner between no margins");
            }
        }
        received.sort_by_key(|transfer| (transfer.from, transfer.to));
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn height_and_width_are_alike(grid in shard_grid(), layers in layers()) {
        let Size { height, width, .. } = grid.latents();
        let other =
            ShardGrid::new(Size::new(width, height), grid.cols(), grid.rows(), grid.scale())
                .unwrap();
        let place = |index: u32| index % grid.cols() * grid.rows() + index / grid.cols();
        for &LayerHalo { scale, reach, .. } in &layers {
            for index in 0..grid.len() {
                let there = place(index);
                prop_assert_eq!(other.part(there, scale), transposed(grid.part(index, scale)));
                prop_assert_eq!(
                    other.margins(there, flipped(reach)), flipped(grid.margins(index, reach))
                );
                let mut expected: Vec<Transfer> = grid
                    .received(index, scale, reach)
                    .map(|Transfer { from, to, rect }| Transfer {
                        from: place(from), to: place(to), rect: transposed(rect),
                    })
                    .collect();
                expected.sort_by_key(|transfer| transfer.from);
                let received: Vec<_> = other.received(there, scale, flipped(reach)).collect();
                prop_assert_eq!(received, expected);
            }
            prop_assert_eq!(grid.fits(scale, reach), other.fits(scale, flipped(reach)));
        }
        let turned: Vec<LayerHalo> = layers
            .iter()
            .map(|layer| LayerHalo { reach: flipped(layer.reach), ..*layer })
            .collect();
        prop_assert_eq!(grid.halo_bytes(&layers), other.halo_bytes(&turned));
        prop_assert_eq!(grid.imbalance(), other.imbalance());
    }

    #[test]
    fn halo_bytes_are_those_of_all_transfers(grid in shard_grid(), layers in layers()) {
        prop_assert_eq!(grid.halo_bytes(&layers), bytes_received(&grid, &layers));
        let Size { height, width, .. } = grid.latents();
        for layer in &layers {
            let LayerHalo { scale, reach, .. } = *layer;
            let fits = grid_fits(Size::new(height, width), grid.rows(), grid.cols(), &[*layer]);
            prop_assert_eq!(grid.fits(scale, reach), fits);
        }
    }

    #[test]
    fn an_explicit_grid_is_coarsened_no_more_than_it_must(
        height in 1u32..=20, width in 1u32..=20, rows in 1u32..=24, cols in 1u32..=24,
        layers in layers(),
    ) {
        let latents = Size::new(height, width);
        let (grid, notice) = ShardGrid::fit(latents, rows, cols, 8, &layers).unwrap();
        let most_rows = (1..=rows).rev().find(|&rows| grid_fits(latents, rows, 1, &layers));
        let most_cols = (1..=cols).rev().find(|&cols| grid_fits(latents, 1, cols, &layers));
        prop_assert_eq!((Some(grid.rows()), Some(grid.cols())), (most_rows, most_cols));
        prop_assert!(layers.iter().all(|layer| grid.fits(layer.scale, layer.reach)));
        let expected = ((grid.rows(), grid.cols()) != (rows, cols)).then_some(
            Notice::ShardsCoarsened {
                requested: rows * cols, rows: grid.rows(), cols: grid.cols(),
            }
        );
        prop_assert_eq!(notice, expected);
        prop_assert_eq!(ShardGrid::new(latents, grid.rows(), grid.cols(), 8), Ok(grid));
    }

    #[test]
    fn the_chosen_grid_is_the_best(
        height in 1u32..=14, width in 1u32..=14, shards in 1u32..=40, layers in layers(),
    ) {
        let latents = Size::new(height, width);
        let (grid, notice) = ShardGrid::choose(latents, shards, 8, &layers).unwrap();
        let best = (1..=shards).rev().find_map(|count| {
            (1..=count)
                .filter(|&cols| count % cols == 0)
                .filter(|&cols| grid_fits(latents, count / cols, cols, &layers))
                .map(|cols| ShardGrid::new(latents, count / cols, cols, 8).unwrap())
                .min_by_key(|grid| {
                    (bytes_received(grid, &layers), largest(grid), grid.cols())
                })
        });
        prop_assert_eq!(Some(grid), best);
        let expected = (grid.len() != shards).then_some(Notice::ShardsCoarsened {
            requested: shards, rows: grid.rows(), cols: grid.cols(),
        });
        prop_assert_eq!(notice, expected);
    }
}

/// Kernel 3 with padding 1 reads one cell on each side, with and without upsampling.
#[test]
fn reach_of_the_usual_convs() {
    let conv = |kernel, stride, before, behind, repeat| {
        Window { kernel, stride, before, behind, repeat, ..Window::POINT }.reach()
    };
    assert_eq!(conv(3, 1, 1, 1, 1), Ok([1, 1]));
    assert_eq!(conv(3, 1, 1, 1, 2), Ok([1, 1]));
    assert_eq!(conv(1, 1, 0, 0, 1), Ok([0, 0]));
    // A downsampling conv pads behind only.
    assert_eq!(conv(3, 2, 0, 1, 1), Ok([0, 1]));
    assert!(Margins::NONE.is_none());
    for side in 0..4 {
        let cells = |at| u32::from(side == at);
        assert!(!Margins::of_frame([0, 1, 2, 3].map(cells)).is_none());
    }
}

/// Two bands of 3 cells are 1 and 2 long: the second can lend 2 cells, the first cannot.
#[test]
fn uneven_bands_lend_what_they_have() {
    let grid = ShardGrid::new(Size::new(3, 1), 2, 1, 8).unwrap();
    assert!(grid.fits(1, Margins { bottom: 2, ..Margins::NONE }));
    assert!(!grid.fits(1, Margins { top: 2, ..Margins::NONE }));
    assert!(grid.fits(2, Margins { top: 2, ..Margins::NONE }));
}

#[test]
fn the_most_shards() {
    let latents = Size::new(2000, 2000);
    let grid = ShardGrid::new(latents, 1024, 1024, 1).unwrap();
    assert_eq!((MAX_SHARDS, grid.len()), (1_048_576, 1_048_576));
    let reach = Margins { top: 1, ..Margins::NONE };
    let bytes = |bytes_per_cell| grid.halo_bytes(&[LayerHalo { scale: 2, reach, bytes_per_cell }]);
    assert_eq!((bytes(3), bytes(u64::MAX)), (1023 * 4000 * 3, u64::MAX));
    let expected = PlanError::TooManyShards { rows: 1024, cols: 1025, max: MAX_SHARDS };
    assert_eq!(ShardGrid::new(latents, 1024, 1025, 1), Err(expected));
}
