//! Chunks against lists of frames.

use crate::cases::layer_scale;
use halovae_core::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn chunks_are_those_of_a_list(frames in 1u32..40, longest in 1u32..50, scale in layer_scale()) {
        let chunks = Chunks::new(frames, longest).unwrap();
        let list: Vec<u32> = (0..frames).collect();
        let expected: Vec<&[u32]> = list.chunks(longest as usize).collect();
        prop_assert_eq!(chunks.len() as usize, expected.len());
        prop_assert_eq!(chunks.frames(), frames);
        prop_assert_eq!(chunks.longest() as usize, expected[0].len());
        prop_assert!(chunks.iter().eq((0..chunks.len()).map(|index| chunks.get(index).unwrap())));
        let mut finished = 0;
        for (index, expected) in (0..).zip(&expected) {
            let chunk = chunks.get(index).unwrap();
            prop_assert!(chunk.clone().eq(expected.iter().copied()));
            let output = chunks.finished(index, scale.time).unwrap();
            prop_assert_eq!(output.start, finished);
            let owners = output.clone().map(|frame| scale.time.latent(frame).unwrap());
            prop_assert!(owners.into_iter().all(|latent| chunk.contains(&latent)));
            finished = output.end;
        }
        prop_assert_eq!(Some(finished), scale.time.at(frames));
        prop_assert_eq!(chunks.get(chunks.len()), None);
        prop_assert_eq!(chunks.finished(chunks.len(), scale.time), None);
    }

    #[test]
    fn the_longest_chunk_that_fits_is_found(
        steps in prop::collection::vec(0u64..9, 1..40), limit in 0u64..120,
    ) {
        // What `n` frames need is what the first `n` steps add up to.
        let bytes = |frames: u32| steps[..frames as usize].iter().sum::<u64>();
        let frames = steps.len() as u32;
        let expected = (1..=frames).rfind(|&longest| bytes(longest) <= limit);
        match Chunks::fit(frames, limit, bytes) {
            Ok(chunks) => prop_assert_eq!(Some(chunks.longest()), expected),
            Err(error) => {
                prop_assert_eq!(expected, None);
                prop_assert_eq!(error, PlanError::ChunkTooLarge { needed: bytes(1), limit });
            }
        }
    }

    /// Any numbers at all, with a memory that goes up and down.
    #[test]
    fn any_numbers_have_an_answer(
        frames: u32, longest: u32, index: u32, limit: u64, seed: u32, factor: u32,
    ) {
        let bytes = |frames: u32| u64::from(frames.wrapping_mul(seed)) << 16;
        for chunks in [Chunks::new(frames, longest), Chunks::fit(frames, limit, bytes)] {
            let Ok(chunks) = chunks else { continue };
            prop_assert!(chunks.longest() <= chunks.frames());
            for index in [0, index, chunks.len() - 1, chunks.len()] {
                let chunk = chunks.get(index);
                prop_assert_eq!(chunk.is_some(), index < chunks.len());
                std::hint::black_box(chunks.finished(index, TimeScale::first_alone(factor)));
            }
        }
    }
}

/// Wan, three latent frames at a time.
#[test]
fn chunks_of_a_causal_vae() {
    let chunks = Chunks::new(7, 3).unwrap();
    let time = TimeScale::first_alone(4);
    let frames: Vec<_> = (0..3).map(|index| chunks.finished(index, time).unwrap()).collect();
    assert_eq!(frames, [0..9, 9..21, 21..25]);
    assert_eq!(Chunks::fit(7, 30, |frames| 10 * u64::from(frames)), Ok(chunks));
}
