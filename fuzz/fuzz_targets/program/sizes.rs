//! A decoder at any size: what it computes, what that takes, and its shards.

use halovae_core::{Axes, ShardGrid, Size};
use halovae_engine::flow::Flow;
use halovae_engine::program::{Analysis, Geometry, Program};
use halovae_engine::shard::{self, Cut, Traffic};

use crate::input::Input;
use crate::model::Model;

/// Frames of latents of a program that is cut into shards.
const MAX_ROUNDS: u32 = 16;

/// A decoder at the size of the input.
pub(crate) fn at_a_size(input: &Input, plain: &Program, fused: &Program) {
    let frames = input.time.frames();
    let latents = Size::video(frames, input.height.get(), input.width.get());
    let batch = usize::from(input.batch);
    let geometry = Geometry::new(plain, batch, latents);
    let picture = geometry.shape(plain.output());
    assert_eq!(picture, Geometry::new(fused, batch, latents).shape(fused.output()));
    let scale = plain.out_scale();
    assert_eq!(picture.batch, batch);
    assert_eq!(picture.height, latents.height as usize * scale.space as usize);
    assert_eq!(picture.width, latents.width as usize * scale.space as usize);
    let finished = scale.time.at(frames);
    assert!(finished.is_none_or(|finished| picture.frames == finished as usize), "{picture:?}");
    costs(input, plain, fused, latents);
    let model = Model(input);
    for program in [plain, fused] {
        // Cut into shards: each op is in one segment, and what a rank holds can be told.
        let chunk = input.time.chunk();
        // Rounds are walked one by one.
        let latents = Size { frames: latents.frames.min(MAX_ROUNDS), ..latents };
        let slices = if chunk.is_multiple_of(2) { latents.frames.min(3) } else { 1 };
        let bands = Axes::new(slices, latents.height.min(2), latents.width.min(2));
        let Ok(grid) = ShardGrid::of(latents, bands, program.out_scale()) else { continue };
        let cut = match Cut::new(program, grid, u32::from(input.batch)) {
            Ok(cut) => cut,
            Err(error) => {
                assert!(slices > 1, "same-size convs: {error}");
                continue;
            }
        };
        let mut next = 0;
        for segment in cut.segments() {
            assert!(segment.ops.start == next && segment.ops.end > next, "{segment:?}");
            next = segment.ops.end;
        }
        assert_eq!(next, program.ops().len());
        let some = shard::peak_bytes(program, &cut, 0, &model, Some(input.workspace), chunk);
        assert!(some >= input.workspace);
        let traffic = Traffic::new(program, grid, chunk).expect("same-size convs");
        assert!(grid.len() > 1 || traffic.bytes() == 0);
    }
}

/// Fused or not, a program does the same work, and holds what it finishes at a time.
pub(crate) fn costs(input: &Input, plain: &Program, fused: &Program, latents: Size) {
    let model = Model(input);
    for chunk in [input.time.chunk(), u32::MAX] {
        let [of_plain, of_fused] =
            [plain, fused].map(|program| Analysis::new(program, latents, chunk, &model));
        assert_eq!(of_plain.flops, of_fused.flops);
        assert!(of_plain.attention_flops <= of_plain.flops);
        for (program, analysis) in [(plain, of_plain), (fused, of_fused)] {
            let most = match program.out_scale().time.at(latents.frames) {
                Some(_) => Flow::new(program, latents.frames, chunk).most_finished() as usize,
                // A flow is of a plan's output, which is checked.
                None => 1,
            };
            let output = Geometry::new(program, 1, latents).shape(program.output());
            let peak = analysis.peak_live_bytes;
            assert!(peak >= output.over(most).bytes());
            assert!(peak >= input.workspace || program.ops().is_empty());
        }
    }
}
