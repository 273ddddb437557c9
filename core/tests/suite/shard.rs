//! Shards against sets of cells: what each owns, reads and sends, counted cell by cell.

use crate::cases::{any_shards, bands, conv, layer_scale, layers, margins};
use halovae_core::*;
use proptest::prelude::*;

fn transposed(Region { first, top, left, frames, height, width }: Region) -> Region {
    Region::new(left, top, width, height).over(first, frames)
}

fn flipped(Margins { past, future, top, bottom, left, right }: Margins) -> Margins {
    Margins { past, future, top: left, bottom: right, left: top, right: bottom }
}

/// How often each cell of a layer was counted.
struct Cells {
    size: Size,
    counts: Vec<u32>,
}

impl Cells {
    fn new(size: Size) -> Self {
        Self { size, counts: vec![0; size.volume() as usize] }
    }

    fn add(&mut self, region: Region) {
        let Size { height, width, .. } = self.size;
        for t in region.first..region.first + region.frames {
            for y in region.top..region.top + region.height {
                let start = ((t * height + y) * width + region.left) as usize;
                self.counts[start..][..region.width as usize].iter_mut().for_each(|n| *n += 1);
            }
        }
    }

    /// Whether a cell was counted once where all its places are in, and else not at all.
    fn are(&self, inside: &Axes<Vec<bool>>) -> bool {
        let mut counts = self.counts.iter();
        let expected = inside.time.iter().flat_map(|t| {
            let frame = inside.height.iter().flat_map(|y| inside.width.iter().map(move |x| y & x));
            frame.map(move |cell| t & cell)
        });
        expected.zip(&mut counts).all(|(inside, &count)| count == u32::from(inside))
    }
}

/// The latent cell that each cell of a layer belongs to along an axis, written out.
fn owners(scale: TimeScale, latents: u32) -> Vec<u32> {
    let cells = |latent: u32| match (scale.law, latent) {
        (TimeLaw::Even, _) | (_, 1..) => scale.factor,
        (TimeLaw::FirstAlone, 0) => 1,
        (TimeLaw::AfterFirst, 0) => 0,
    };
    (0..latents).flat_map(|latent| (0..cells(latent)).map(move |_| latent)).collect()
}

fn all_received(grid: &ShardGrid, scale: Scale, reach: Margins) -> Vec<Transfer> {
    (0..grid.len()).flat_map(|to| grid.received(to, scale, reach)).collect()
}

/// What a shard's outputs read along an axis, with its own cells: of a layer of this scale, by a
/// conv whose output has `output` cells per latent cell.
fn held_along(
    grid: &ShardGrid,
    index: u32,
    axis: Axis,
    scale: TimeScale,
    conv: &Window,
) -> Vec<bool> {
    let place = grid.shard(index).unwrap();
    let place = Axes::new(place.slice, place.row, place.col)[axis];
    let latents = grid.latents().along(axis);
    let band = bands(latents, grid.shards()[axis])[place as usize].clone();
    let input = owners(scale, latents);
    let mut held: Vec<bool> = input.iter().map(|latent| band.contains(latent)).collect();
    let factor = scale.factor * conv.repeat / conv.stride;
    let output = owners(TimeScale { factor, ..scale }, latents);
    // The place of the cell that stands at each place the kernel slides over.
    let mut unrolled = vec![None; conv.before as usize];
    for cell in 0..input.len() {
        let times = if conv.first_alone && cell == 0 { 1 } else { conv.repeat };
        unrolled.extend((0..times).map(|_| Some(cell)));
    }
    for (at, latent) in output.iter().enumerate() {
        if band.contains(latent) {
            let taps = unrolled.iter().skip(at * conv.stride as usize).take(conv.kernel as usize);
            taps.flatten().for_each(|&cell| held[cell] = true);
        }
    }
    held
}

proptest! {
    #[test]
    fn parts_partition_every_layer(grid in any_shards(), scale in layer_scale()) {
        let latents = grid.latents();
        let shards = grid.shards();
        prop_assert_eq!(shards, Axes::new(grid.slices(), grid.rows(), grid.cols()));
        prop_assert_eq!(grid.len(), shards.time * shards.height * shards.width);
        prop_assert_eq!(Some(grid.output()), grid.scale().layer(latents));
        let size = scale.layer(latents).unwrap();
        let all_bands = Axes::from_fn(|axis| bands(latents.along(axis), shards[axis]));
        let mut cells = Cells::new(size);
        for index in 0..grid.len() {
            let shard = grid.shard(index).unwrap();
            let Shard { slice, row, col, core, .. } = shard;
            let place = (slice * shards.height + row) * shards.width + col;
            prop_assert_eq!((shard.index, place), (index, index));
            let place = Axes::new(slice, row, col);
            let part = grid.part(index, scale);
            for axis in Axis::ALL {
                let band = all_bands[axis][place[axis] as usize].clone();
                let (start, len) = core.span(axis);
                prop_assert_eq!(start..start + len, band.clone());
                let (start, len) = part.span(axis);
                for (cell, latent) in (0..).zip(owners(scale.along(axis), latents.along(axis))) {
                    let inside = (start..start + len).contains(&cell);
                    prop_assert_eq!(inside, band.contains(&latent));
                }
            }
            cells.add(part);
        }
        prop_assert!(cells.counts.iter().all(|&count| count == 1));
        for axis in Axis::ALL {
            let lens = || all_bands[axis].iter().map(|band| band.end - band.start);
            prop_assert!(lens().max().unwrap() - lens().min().unwrap() <= 1);
        }
        let volumes = (0..grid.len()).map(|index| grid.shard(index).unwrap().core.volume());
        let mean = latents.volume() as f64 / f64::from(grid.len());
        prop_assert!((grid.imbalance() - volumes.max().unwrap() as f64 / mean).abs() < 1e-9);

        let beyond = grid.len();
        let reach = Margins::NONE.map(|_| 1);
        prop_assert_eq!((grid.shard(beyond), grid.part(beyond, scale)), (None, Region::default()));
        prop_assert!(grid.margins(beyond, scale, reach).is_none());
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
        latents in (1u32..=7, 1u32..=7, 1u32..=7), shards in (1u32..=4, 1u32..=4, 1u32..=4),
        layer in layer_scale(), temporal in conv(), vertical in conv(), horizontal in conv(),
    ) {
        let latents = Size::video(latents.0, latents.1, latents.2);
        let shards = Axes::new(shards.0, shards.1, shards.2);
        // A lone first frame is a part without a whole stride.
        let even = layer.time.law == TimeLaw::Even;
        let first_alone = layer.time.law == TimeLaw::FirstAlone;
        let temporal = Window { first_alone, ..temporal };
        let convs = Axes::new(if even || temporal.stride == 1 { temporal } else { Window::POINT },
            vertical, horizontal);
        let time = TimeScale { factor: layer.time.factor * convs.time.stride, ..layer.time };
        let scale = Scale::video(time, layer.space * vertical.stride.max(horizontal.stride));
        let reach = Margins::from_axes(convs.map(|conv| conv.reach().unwrap()));
        let exchanged = LayerHalo { scale, reach, bytes_per_cell: 1 };
        let (grid, _) = ShardGrid::fit(latents, shards, 8, &[exchanged]).unwrap();
        let size = scale.layer(latents).unwrap();
        for index in 0..grid.len() {
            let part = grid.part(index, scale);
            let mut held = Cells::new(size);
            held.add(part);
            for transfer in grid.received(index, scale, reach) {
                held.add(transfer.region);
            }
            let inside = Axes::from_fn(|axis| {
                held_along(&grid, index, axis, scale.along(axis), &convs[axis])
            });
            prop_assert!(held.are(&inside));
            // Margins are as wide as what is held, so a backend can rely on them.
            let margins = grid.margins(index, scale, reach);
            let mut framed = Cells::new(size);
            framed.add(Region::from_spans(Axes::from_fn(|axis| {
                let ((start, len), [before, behind]) = (part.span(axis), margins.along(axis));
                (start - before, before + len + behind)
            })));
            prop_assert_eq!(framed.counts, held.counts);
        }
    }

    /// Also where halos go beyond the neighbours.
    #[test]
    fn sends_and_receives_match(
        grid in any_shards(), scale in layer_scale(), reach in margins(7),
    ) {
        let mut received = all_received(&grid, scale, reach);
        let sent: Vec<Transfer> =
            (0..grid.len()).flat_map(|from| grid.sent(from, scale, reach)).collect();
        for index in 0..grid.len() {
            let froms: Vec<u32> = grid.received(index, scale, reach).map(|t| t.from).collect();
            let tos: Vec<u32> = grid.sent(index, scale, reach).map(|t| t.to).collect();
            prop_assert!(froms.len() <= 26 && tos.len() <= 26);
            prop_assert!(froms.is_sorted_by(|a, b| a < b) && tos.is_sorted_by(|a, b| a < b));
        }
        let place = |index| {
            let Shard { slice, row, col, .. } = grid.shard(index).unwrap();
            Axes::new(slice, row, col)
        };
        for &Transfer { from, to, region } in &sent {
            prop_assert_ne!(from, to);
            prop_assert!(!region.is_empty());
            prop_assert!(grid.part(from, scale).contains(region));
            let (from, margins) = (place(from), grid.margins(to, scale, reach));
            for axis in Axis::ALL {
                let (from, to) = (from[axis], place(to)[axis]);
                prop_assert!(from.abs_diff(to) <= 1);
                let [before, behind] = margins.along(axis);
                prop_assert!(from >= to || before > 0, "a corner between no margins");
                prop_assert!(from <= to || behind > 0, "a corner between no margins");
            }
        }
        received.sort_by_key(|transfer| (transfer.from, transfer.to));
        prop_assert_eq!(received, sent);
    }

    /// No halo begins before the video, and none lies around a part without frames.
    #[test]
    fn halos_in_time_end_at_the_first_frame(
        grid in any_shards(), scale in layer_scale(), reach in margins(7),
    ) {
        for index in 0..grid.len() {
            let (part, shard) = (grid.part(index, scale), grid.shard(index).unwrap());
            let Margins { past, future, .. } = grid.margins(index, scale, reach);
            prop_assert_eq!(past, if part.frames == 0 { 0 } else { reach.past.min(part.first) });
            let last = shard.slice + 1 == grid.slices();
            prop_assert_eq!(future, if last || part.frames == 0 { 0 } else { reach.future });
            // A rank that has all before it needs no more than one neighbour of a fitting grid.
            if grid.fits(scale, reach) && shard.slice > 0 {
                let before = grid.part(index - grid.rows() * grid.cols(), scale);
                prop_assert!(past <= before.frames);
            }
        }
    }

    #[test]
    fn height_and_width_are_alike(grid in any_shards(), layers in layers()) {
        let Size { frames, height, width } = grid.latents();
        let Axes { time: slices, height: rows, width: cols } = grid.shards();
        let turned = Size::video(frames, width, height);
        let other = ShardGrid::of(turned, Axes::new(slices, cols, rows), grid.scale()).unwrap();
        let place = |index: u32| {
            let (slice, frame) = (index / (rows * cols), index % (rows * cols));
            slice * rows * cols + frame % cols * rows + frame / cols
        };
        for &LayerHalo { scale, reach, .. } in &layers {
            for index in 0..grid.len() {
                let there = place(index);
                prop_assert_eq!(other.part(there, scale), transposed(grid.part(index, scale)));
                let margins = grid.margins(index, scale, reach);
                prop_assert_eq!(other.margins(there, scale, flipped(reach)), flipped(margins));
                let mut expected: Vec<Transfer> = grid
                    .received(index, scale, reach)
                    .map(|Transfer { from, to, region }| Transfer {
                        from: place(from), to: place(to), region: transposed(region),
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

/// Four bands of five latent frames are 1, 1, 1 and 2 long; a causal conv of HunyuanVideo reads two
/// frames of the past.
#[test]
fn the_first_frames_of_a_causal_vae() {
    let scale = |factor| Scale::video(TimeScale::first_alone(factor), 8);
    let grid = ShardGrid::of(Size::video(5, 4, 4), Axes::new(4, 1, 1), scale(4)).unwrap();
    let frames = |scale: Scale| [0, 1, 2, 3].map(|index| grid.part(index, scale).frames);
    assert_eq!(frames(grid.scale()), [1, 4, 4, 8]);
    let behind = Scale::video(TimeScale { factor: 2, law: TimeLaw::AfterFirst }, 8);
    assert_eq!(frames(behind), [0, 2, 2, 4]);
    let reach = Margins { past: 2, ..Margins::NONE };
    let past = |scale: Scale| [0, 1, 2, 3].map(|index| grid.margins(index, scale, reach).past);
    assert_eq!((past(scale(2)), past(behind)), ([0, 1, 2, 2], [0, 0, 2, 2]));
    // The second shard has but one frame of the latents to lend, and the third wants two.
    assert!(grid.fits(scale(2), reach) && !grid.fits(scale(1), reach));
}

/// Of a layer that has no frame but the first, only the first shard has a part, and no other reads.
#[test]
fn a_layer_of_one_frame_is_not_exchanged_in_time() {
    let scale = Scale::video(TimeScale::first_alone(0), 1);
    let reach = Margins { past: 2, future: 2, ..Margins::NONE };
    let layers = [LayerHalo { scale, reach, bytes_per_cell: 1 }];
    let grid = ShardGrid::of(Size::video(9, 4, 4), Axes::new(3, 1, 1), 8).unwrap();
    assert_eq!(all_received(&grid, scale, reach), []);
    assert_eq!(grid.halo_bytes(&layers), 0);
}
