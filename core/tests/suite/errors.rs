//! Every error: what raises it and what it says.

use crate::cases::{flux, hunyuan, wan};
use halovae_core::*;

fn overlap(sample: u32, latent: u32, factor: f64) -> AxisTiling {
    AxisTiling::Overlap {
        tile_sample_min_size: sample,
        tile_latent_min_size: latent,
        tile_overlap_factor: factor,
    }
}

fn stride(sample: u32, stride: u32) -> AxisTiling {
    AxisTiling::Stride { tile_sample_min_size: sample, tile_sample_stride: stride }
}

#[track_caller]
fn says<T: core::fmt::Debug>(result: Result<T, PlanError>, expected: &str) {
    let error: Box<dyn core::error::Error> = Box::new(result.unwrap_err());
    assert_eq!(error.to_string(), expected);
}

fn decode(height: AxisTiling, width: AxisTiling, scale: u32) -> Result<TileGrid, PlanError> {
    TileGrid::new(Direction::Decode, Size::new(300, 300), &Tiling::new(height, width, scale))
}

/// Tiles of frames, `factor` of them for each latent frame but the first.
fn in_time(tile: u32, stride: u32, factor: u32) -> Result<TileGrid, PlanError> {
    let scale = Scale::video(TimeScale::first_alone(factor), 8);
    TileGrid::new(Direction::Decode, Size::video(9, 1, 1), &tiles_of_frames(tile, stride, scale))
}

fn tiles_of_frames(tile: u32, stride: u32, scale: Scale) -> Tiling {
    Tiling::new(AxisTiling::Whole, AxisTiling::Whole, scale).with_time(TimeTiling {
        tile_sample_min_num_frames: tile,
        tile_sample_stride_num_frames: stride,
        dropped: DroppedFrame::First,
    })
}

#[test]
fn blocks_of_pixels_fill_latent_cells() {
    let of_grain = |grain| {
        let tiling = Tiling::new(stride(64, 48), stride(64, 48), 8).with_grain(grain);
        TileGrid::new(Direction::Decode, Size::new(300, 300), &tiling)
    };
    for grain in [1, 2, 4, 8] {
        assert_eq!(of_grain(grain).unwrap().width().grain(), grain);
    }
    says(
        of_grain(3),
        "blocks of 3 x 3 pixels do not fill a latent cell of 8 x 8; expected a divisor of 8",
    );
    says(of_grain(0), "grain is 0, expected at least 1; set it to 1 or more");
}

#[test]
fn zeros() {
    let fine = stride(8, 8);
    let advice = "is 0, expected at least 1; set it to 1 or more";
    for (direction, input, name) in [
        (Direction::Decode, Size::new(0, 1), "latent height"),
        (Direction::Decode, Size::new(1, 0), "latent width"),
        (Direction::Encode, Size::new(0, 8), "image height"),
        (Direction::Encode, Size::new(8, 0), "image width"),
    ] {
        says(TileGrid::new(direction, input, &wan()), &format!("{name} {advice}"));
    }
    says(decode(fine, fine, 0), &format!("scale {advice}"));
    says(decode(stride(0, 8), fine, 8), &format!("tile_sample_min_size {advice}"));
    says(decode(fine, stride(8, 0), 8), &format!("tile_sample_stride {advice}"));
    says(decode(overlap(0, 8, 0.25), fine, 8), &format!("tile_sample_min_size {advice}"));
    says(decode(overlap(8, 0, 0.25), fine, 8), &format!("tile_latent_min_size {advice}"));

    let patch = |h, w, ranks, tile_h, tile_w, scale| {
        PatchGrid::new(Size::new(h, w), ranks, Size::new(tile_h, tile_w), [0.25; 2], scale)
    };
    says(patch(0, 1, 1, 1, 1, 1), &format!("latent height {advice}"));
    says(patch(1, 0, 1, 1, 1, 1), &format!("latent width {advice}"));
    says(patch(1, 1, 0, 1, 1, 1), &format!("vae_patch_parallel_size {advice}"));
    says(patch(1, 1, 1, 0, 1, 1), &format!("tile_latent_min_size {advice}"));
    says(patch(1, 1, 1, 1, 0, 1), &format!("tile_latent_min_size {advice}"));
    says(patch(1, 1, 1, 1, 1, 0), &format!("scale {advice}"));

    let shards = |h, w, rows, cols, scale| ShardGrid::new(Size::new(h, w), rows, cols, scale);
    let fit = |rows, cols| ShardGrid::fit(Size::new(4, 4), Axes::new(1, rows, cols), 8, &[]);
    says(shards(0, 1, 1, 1, 1), &format!("latent height {advice}"));
    says(shards(1, 0, 1, 1, 1), &format!("latent width {advice}"));
    says(shards(1, 1, 0, 1, 1), &format!("shard rows {advice}"));
    says(shards(1, 1, 1, 0, 1), &format!("shard columns {advice}"));
    says(shards(1, 1, 1, 1, 0), &format!("scale {advice}"));
    says(fit(0, 1), &format!("shard rows {advice}"));
    says(fit(1, 0), &format!("shard columns {advice}"));
    says(ShardGrid::choose(Size::new(4, 4), 0, 8, &[]), &format!("shards {advice}"));
    let conv = |kernel, stride, repeat| {
        Window { kernel, stride, before: 0, behind: 0, repeat, ..Window::POINT }.reach()
    };
    says(conv(0, 1, 1), &format!("kernel {advice}"));
    says(conv(1, 0, 1), &format!("stride {advice}"));
    says(conv(1, 1, 0), &format!("repeat {advice}"));

    says(Plan::whole(Size::video(0, 1, 1), 1), &format!("latent frames {advice}"));
    says(Plan::whole(Size::new(0, 1), 1), &format!("latent height {advice}"));
    says(Plan::whole(Size::new(1, 0), 1), &format!("latent width {advice}"));
    says(Plan::whole(Size::new(1, 1), 0), &format!("scale {advice}"));
    let still = Scale::video(TimeScale::first_alone(0), 8);
    says(Plan::whole(Size::new(1, 1), still), &format!("scale in time {advice}"));
    for (direction, name) in [(Direction::Decode, "latent frames"), (Direction::Encode, "frames")] {
        let video = Size::video(0, 8, 8);
        says(TileGrid::new(direction, video, &hunyuan()), &format!("{name} {advice}"));
    }
    says(ShardGrid::of(Size::new(4, 4), Axes::new(0, 1, 1), 8), &format!("shard slices {advice}"));
    says(in_time(0, 4, 4), &format!("tile_sample_min_num_frames {advice}"));
    says(in_time(4, 0, 4), &format!("tile_sample_stride_num_frames {advice}"));
    says(Chunks::new(0, 1), &format!("latent frames {advice}"));
    says(Chunks::new(1, 0), &format!("frames of a chunk {advice}"));
}

#[test]
fn tilings() {
    let fine = stride(8, 8);
    for factor in [1.0, -0.25, f64::INFINITY, f64::NAN] {
        let expected = format!(
            "tile_overlap_factor {factor} (width) is not in 0..1; \
             use a factor of at least 0 and below 1, such as 0.25"
        );
        says(decode(fine, overlap(64, 8, factor), 8), &expected);
        let tile = Size::new(8, 8);
        says(PatchGrid::new(Size::new(9, 9), 2, tile, [0.25, factor], 8), &expected);
        let expected = expected.replace("width", "height");
        says(PatchGrid::new(Size::new(9, 9), 2, tile, [factor, 0.25], 8), &expected);
    }
    says(
        decode(overlap(1000, 128, 0.25), fine, 8),
        "tile_sample_min_size 1000 (height) is not tile_latent_min_size 128 times scale 8; \
         set tile_sample_min_size to 1024",
    );
    says(
        decode(overlap(400, 50, 0.25), fine, 8),
        "tile_overlap_factor 0.25 of tile_latent_min_size 50 (height) is not a whole number of \
         latent cells; use a factor of 0.24 or another tile size",
    );
    for (factor, advice) in [(0.1, "0.125"), (0.01, "0.125"), (0.3, "0.25"), (0.32, "0.375")] {
        let expected = format!(
            "tile_overlap_factor {factor} of tile_latent_min_size 8 (height) is not a whole number \
             of latent cells; use a factor of {advice} or another tile size"
        );
        says(decode(overlap(64, 8, factor), fine, 8), &expected);
    }
    says(
        decode(overlap(8, 1, 0.5), fine, 8),
        "tile_overlap_factor 0.5 (height) puts more than 16 tiles of one latent cell over one pixel; \
         use a factor of 0 or a larger tile",
    );
    says(
        decode(fine, overlap(512, 64, 0.99), 8),
        "tile_overlap_factor 0.99 of tile_latent_min_size 64 (width) puts more than 16 tiles over \
         one pixel; use a factor of 0.9375 or another below it",
    );
    says(
        decode(stride(100, 80), fine, 8),
        "tile_sample_min_size 100 (height) is not a multiple of the scale 8; set it to 96",
    );
    says(
        decode(stride(4, 80), fine, 8),
        "tile_sample_min_size 4 (height) is not a multiple of the scale 8; set it to 8",
    );
    says(
        decode(fine, stride(96, 77), 8),
        "tile_sample_stride 77 (width) is not a multiple of the scale 8; set it to 72",
    );
    says(
        decode(fine, stride(96, 104), 8),
        "tile_sample_stride 104 (width) exceeds tile_sample_min_size 96, which leaves gaps; \
         use a stride of at most 96",
    );
    says(
        decode(fine, stride(1024, 32), 8),
        "tile_sample_stride 32 (width) puts more than 16 tiles of tile_sample_min_size 1024 over \
         one pixel; use a stride of at least 64",
    );
}

#[test]
fn videos() {
    says(
        in_time(18, 12, 4),
        "tile_sample_min_num_frames 18 (time) is not a multiple of the scale 4; set it to 16",
    );
    says(
        in_time(16, 10, 4),
        "tile_sample_stride_num_frames 10 (time) is not a multiple of the scale 4; set it to 8",
    );
    says(
        in_time(16, 20, 4),
        "tile_sample_stride_num_frames 20 (time) exceeds tile_sample_min_num_frames 16, which \
         leaves gaps; use a stride of at most 16",
    );
    says(
        in_time(200, 8, 4),
        "tile_sample_stride_num_frames 8 (time) puts more than 16 tiles of \
         tile_sample_min_num_frames 200 over one pixel; use a stride of at least 16",
    );
    let even = Scale::video(TimeScale::even(4), 8);
    says(
        TileGrid::new(Direction::Decode, Size::video(9, 1, 1), &tiles_of_frames(16, 12, even)),
        "frames are tiled, but 4 lie on each latent frame, the first one included; \
         tile rows and columns only",
    );
    let behind = Scale::video(TimeScale { factor: 4, law: TimeLaw::AfterFirst }, 8);
    let missing = "an output of 4 frames for each latent frame but the first has no first frame; \
         give the scale of an output in which that one is alone";
    says(Plan::whole(Size::new(1, 1), behind), missing);
    says(ShardGrid::new(Size::new(1, 1), 1, 1, behind), missing);
    let axis = AxisTiling::Whole;
    let grid = TileGrid::new(Direction::Decode, Size::new(1, 1), &Tiling::new(axis, axis, behind));
    says(grid, missing);
    let encode = |frames, scale| {
        TileGrid::new(Direction::Encode, Size::video(frames, 8, 8), &Tiling::new(axis, axis, scale))
    };
    let alone = Scale::video(TimeScale::first_alone(4), 8);
    for (frames, near) in [(80, [77, 81]), (2, [1, 5]), (4, [1, 5])] {
        says(
            encode(frames, alone),
            &format!(
                "{frames} frames are not one frame and a multiple of 4; cut them to {} or pad \
                 them to {}",
                near[0], near[1]
            ),
        );
    }
    says(
        encode(7, even),
        "video time 7 is not a multiple of the scale 4; crop it to 4 or pad it to 8",
    );
    says(
        Plan::whole(Size::video(1 << 30, 1, 1), Scale::video(TimeScale::first_alone(8), 1)),
        "1073741824 latent frames times scale 8 exceed 4294967295 frames; \
         decode at most 536870911 latent frames",
    );
    says(
        ShardGrid::of(Size::video(3, 4, 4), Axes::new(4, 1, 1), 8),
        "4 shards along the time of 3 latent frames; use 3 or fewer",
    );
    says(
        ShardGrid::of(Size::video(200, 200, 200), Axes::new(102, 102, 102), 1),
        "a grid of 102 x 102 x 102 shards exceeds 1048576 shards; use a coarser grid",
    );
    let unit = AxisTiling::Stride { tile_sample_min_size: 1, tile_sample_stride: 1 };
    let frames = TimeTiling {
        tile_sample_min_num_frames: 1,
        tile_sample_stride_num_frames: 1,
        dropped: DroppedFrame::First,
    };
    let most = u32::MAX;
    says(
        TileGrid::new(
            Direction::Decode,
            Size::video(most, most, most),
            &Tiling::new(unit, unit, 1).with_time(frames),
        ),
        "a grid of 4294967294 x 4294967295 x 4294967295 tiles exceeds 18446744073709551615 tiles; \
         use longer strides",
    );
    says(
        Chunks::fit(9, 100, |frames| 101 * u64::from(frames)),
        "chunks of one latent frame need 101 bytes, more than the limit of 100; allow 101 or more",
    );
}

#[test]
fn extents() {
    says(
        TileGrid::new(Direction::Decode, Size::new(1 << 29, 1), &flux()),
        "latent height 536870912 times scale 8 exceeds 4294967295 pixels; \
         decode at most 536870911 latent cells along the height",
    );
    let tile = Size::new(8, 8);
    let width = "latent width 536870912 times scale 8 exceeds 4294967295 pixels; \
         decode at most 536870911 latent cells along the width";
    says(Plan::whole(Size::new(1, 1 << 29), 8), width);
    says(PatchGrid::new(Size::new(1, 1 << 29), 2, tile, [0.25; 2], 8), width);
    says(ShardGrid::new(Size::new(1, 1 << 29), 1, 2, 8), width);
    let height = width.replace("width", "height");
    says(Plan::whole(Size::new(1 << 29, 1), 8), &height);
    says(PatchGrid::new(Size::new(1 << 29, 1), 2, tile, [0.25; 2], 8), &height);
    says(
        TileGrid::new(Direction::Encode, Size::new(1024, 1001), &flux()),
        "image width 1001 is not a multiple of the scale 8; crop it to 1000 or pad it to 1008",
    );
    says(
        TileGrid::new(Direction::Encode, Size::new(u32::MAX, 8), &flux()),
        "image height 4294967295 is not a multiple of the scale 8; \
         crop it to 4294967288 or pad it to 4294967296",
    );
}

#[test]
fn ranks_and_slices() {
    let group = DitParallel { data: 70_000, tensor: 70_000, ..DitParallel::default() };
    says(
        group.size(),
        "tensor_parallel_size = 70000 takes the group beyond 4294967295 ranks (70000 before it); \
         lower it or another parallel size",
    );
    says(
        PatchGrid::new(Size::new(9, 9), 1_048_577, Size::new(8, 8), [0.25; 2], 8),
        "vae_patch_parallel_size = 1048577 exceeds 1048576 patches; use 1048576 ranks or fewer",
    );
    says(contiguous(&[1, 2], &mut [0; 3], 2), "owners holds 3 elements, expected 2; pass 2");
    says(
        balance(&[1], &[4], &mut [RankLoad::default(); 2]),
        "piece 0 is assigned to rank 4, expected a rank below 2; assign the pieces again",
    );
    says::<()>(
        Err(PlanError::TooMany { name: "costs", len: 1 << 32 }),
        "costs holds 4294967296 elements, expected at most 4294967295; split the work",
    );
}

#[test]
fn shards_and_convs() {
    let latents = Size::new(3, 2000);
    says(
        ShardGrid::new(latents, 4, 1, 8),
        "4 shards along the height of 3 latent cells; use 3 or fewer",
    );
    says(
        ShardGrid::new(latents, 1, 2001, 8),
        "2001 shards along the width of 2000 latent cells; use 2000 or fewer",
    );
    says(
        ShardGrid::new(Size::new(2000, 2000), 1024, 1025, 8),
        "a grid of 1024 x 1025 shards exceeds 1048576 shards; use a coarser grid",
    );
    says(
        Window { behind: 0, ..Window::centred(3) }.reach(),
        "a kernel of 3 at stride 1 with padding 1 does not keep extents in proportion, \
         expected padding from 2 to 2",
    );
}
