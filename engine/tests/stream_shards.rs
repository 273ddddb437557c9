//! Videos in shards: programs over time cut along all three axes, decoded chunk by chunk, on any ranks,
//! against decodes of all of it at once.

mod stream_common;

use halovae_core::{Axes, Axis, Plan, ShardGrid, Size};
use halovae_engine::backend::Backend;
use halovae_engine::conformance::{
    RandomWeights, Reference, Step, program_over_time, rounding_bound, run_at_once,
};
use halovae_engine::decode::{Control, DecodeError, Decoder};
use halovae_engine::program::Program;
use halovae_engine::shard::ParkLimit;
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::{HostTensor, Shape};
use proptest::prelude::*;
use stream_common::cases;

const WEIGHTS: RandomWeights = RandomWeights { seed: 4 };

fn latents(size: Size) -> HostTensor {
    let shape = Shape::sample(size, 2);
    let len = shape.elements().expect("small");
    let data = (0..len).map(|at| (at as f32 * 0.7).sin()).collect();
    HostTensor::new(shape, data).expect("one element for each place")
}

/// How a video is cut, on so many ranks, and how much may wait in memory.
#[derive(Clone, Debug)]
struct Case {
    shards: Axes<u32>,
    ranks: u32,
    chunk: u32,
    limit: Option<u64>,
}

/// The decode, if the program can be cut like that.
fn decode(program: &Program, latents: &HostTensor, case: &Case) -> Option<HostTensor> {
    let size = latents.shape().size();
    let shards = Axes::from_fn(|axis: Axis| case.shards[axis].min(size.along(axis)));
    let grid = ShardGrid::of(size, shards, program.out_scale()).expect("no more bands than cells");
    let backends = (0..case.ranks).map(|_| Reference).collect();
    let decoder = Decoder::new(program, &WEIGHTS, backends).expect("it has all ops");
    let scratch = std::env::temp_dir();
    let park = case.limit.map(|bytes| ParkLimit { bytes, scratch });
    let control = Control { chunk: case.chunk, park, ..Control::default() };
    let mut sink = MemorySink::default();
    match decoder.decode(latents, &Plan::sharded(grid), &mut sink, &control) {
        Ok(_) => Some(sink.into_picture().expect("it has begun")),
        Err(DecodeError::Uncut(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Whether the program has frames, rows and columns in the proportion that its scale says.
fn is_in_proportion(program: &Program, expected: &HostTensor, size: Size) -> bool {
    program.out_scale().layer(size) == Some(expected.shape().size())
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn shards_of_a_video_in_any_chunks_are_the_whole(
        steps in prop::collection::vec(any::<Step>(), 1..8), first_alone: bool,
        extent in [1u32..7, 1u32..5, 1u32..5], shards in [1u32..3, 1u32..4, 1u32..4],
        ranks in 1u32..5, chunk in 1u32..4, limit in prop::option::of(0u64..2000),
    ) {
        let program = program_over_time(2, &steps, first_alone);
        let [frames, height, width] = extent;
        let size = Size::video(frames, height, width);
        let latents = latents(size);
        let weights = Reference.prepare(&program, &WEIGHTS).expect("weights");
        let expected = run_at_once(&Reference, &program, &weights, &latents);
        prop_assume!(is_in_proportion(&program, &expected, size));
        let [slices, rows, cols] = shards;
        let case = Case { shards: Axes::new(slices, rows, cols), ranks, chunk, limit };
        if let Some(got) = decode(&program, &latents, &case) {
            prop_assert_eq!(got.shape(), expected.shape());
            let bound = rounding_bound(&program, &WEIGHTS, &latents);
            for (at, (g, e)) in got.data().iter().zip(expected.data()).enumerate() {
                prop_assert!((g - e).abs() <= bound, "{}: {} {}, at most {} apart", at, g, e, bound);
            }
        } else {
            prop_assert!(slices > 1, "{:?} is not cut in space", program.ops());
        }
        // Chunks change nothing at all. (The file holds less than the reference computes in.)
        let [got, at_once] = [chunk, u32::MAX].map(|chunk| {
            decode(&program, &latents, &Case { chunk, limit: None, ..case.clone() })
        });
        prop_assert!(got == at_once, "other bytes than of all frames at once");
    }
}
