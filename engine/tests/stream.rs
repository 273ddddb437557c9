//! Decodes to which frames come chunk by chunk, against decodes of all frames at once.

use halovae_engine::backend::{Backend, BackendError, WeightSource};
use halovae_engine::conformance::{
    RandomWeights, Reference, Step, can_hide_changes, program_over_time, run_at_once, run_in_chunks,
};
use halovae_engine::program::{Op, Program, Timeline, WeightSpec, fold_single_frame, fuse};
use halovae_engine::tensor::{HostTensor, Shape};
use proptest::prelude::*;

fn latents(frames: usize, [height, width]: [usize; 2]) -> HostTensor {
    let shape = Shape::new(1, height, width, 2).over(frames);
    let len = shape.elements().expect("small");
    let data = (0..len).map(|at| (at as f32 * 0.7).sin()).collect();
    HostTensor::new(shape, data).expect("one element for each place")
}

fn whole(program: &Program, source: &dyn WeightSource, latents: &HostTensor) -> HostTensor {
    let weights = Reference.prepare(program, source).expect("weights");
    run_at_once(&Reference, program, &weights, latents)
}

fn streamed(
    program: &Program,
    source: &dyn WeightSource,
    latents: &HostTensor,
    chunks: &[u32],
) -> Vec<Option<HostTensor>> {
    let weights = Reference.prepare(program, source).expect("weights");
    run_in_chunks(&Reference, program, &weights, latents, chunks)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<Step>(), 1..9)
}

/// Chunk lengths that add up to `frames`.
fn chunks(frames: usize, cuts: u16) -> Vec<u32> {
    let mut lens = vec![1];
    for at in 1..frames {
        match cuts >> at & 1 {
            1 => lens.push(1),
            _ => *lens.last_mut().expect("there is one") += 1,
        }
    }
    lens
}

/// With all weights one, nothing cancels: a frame differs exactly where it reads a changed one.
struct Ones;

impl WeightSource for Ones {
    fn load(&self, _: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        out.fill(1.0);
        Ok(())
    }
}

/// So many cases, or as many as `PROPTEST_CASES` asks for.
fn cases(few: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(few),
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn any_chunks_give_the_bytes_of_all_frames_at_once(
        steps in steps(), first_alone: bool, count in 1usize..7, cuts: u16, extent in [1usize..4, 1usize..4],
        decline in 0u64..64,
    ) {
        let plain = program_over_time(2, &steps, first_alone);
        // A backend may decline any fusion.
        let program = fuse(&plain, |_, op| decline >> (op.output().index() % 6) & 1 == 0);
        let latents = latents(count, extent);
        let source = RandomWeights { seed: 5 };
        let expected = whole(&program, &source, &latents);
        let got = streamed(&program, &source, &latents, &chunks(count, cuts));
        let joined: Vec<f32> = got.into_iter().flatten().flat_map(HostTensor::into_data).collect();
        prop_assert_eq!(expected.data(), &joined);
        let unfused = whole(&plain, &source, &latents);
        prop_assert_eq!(expected.shape(), unfused.shape());
        for (e, u) in expected.data().iter().zip(unfused.data()) {
            prop_assert!((e - u).abs() <= 1e-5 * unfused.max_abs().max(1.0), "{} {}", e, u);
        }
    }

    /// A frame comes with the last chunk that it depends on, no later.
    #[test]
    fn frames_come_as_soon_as_they_can_be_known(
        steps in steps(), first_alone: bool, count in 1usize..6,
    ) {
        // Without what bounds values, so that any change is seen.
        let steps: Vec<Step> = steps.into_iter().filter(|step| !can_hide_changes(*step)).collect();
        let program = program_over_time(2, &steps, first_alone);
        let latents = HostTensor::zeros(Shape::new(1, 1, 1, 2).over(count)).expect("small");
        let quiet = whole(&program, &Ones, &latents);
        let len = quiet.shape().frame_len();
        let mut known = vec![0; quiet.shape().frames];
        for frame in 0..count {
            let mut changed = latents.clone();
            changed.data_mut()[2 * frame..2 * frame + 2].fill(1.0);
            let seen = whole(&program, &Ones, &changed);
            let pairs = quiet.data().chunks(len).zip(seen.data().chunks(len));
            for (last, (quiet, seen)) in known.iter_mut().zip(pairs) {
                if quiet != seen {
                    *last = frame;
                }
            }
        }
        let out = streamed(&program, &Ones, &latents, &vec![1; count]);
        let came: Vec<usize> = out
            .iter()
            .enumerate()
            .flat_map(|(chunk, out)| vec![chunk; out.as_ref().map_or(0, |out| out.shape().frames)])
            .collect();
        // Frames come in their order.
        let mut in_order = known.clone();
        for at in 1..in_order.len() {
            in_order[at] = in_order[at].max(in_order[at - 1]);
        }
        prop_assert_eq!(came, in_order);
    }

    /// On a single frame, what is folded for it gives the same, and reads frame by frame.
    #[test]
    fn a_folded_program_gives_the_same_frame(
        steps in steps(), first_alone: bool, extent in [1usize..4, 1usize..4],
    ) {
        let plain = program_over_time(2, &steps, first_alone);
        let folded = fold_single_frame(&plain);
        prop_assert!(folded.is_of_one_frame() && folded.ops().len() <= plain.ops().len());
        let latents = latents(1, extent);
        let source = RandomWeights { seed: 9 };
        let expected = whole(&plain, &source, &latents);
        let got = whole(&folded, &source, &latents);
        prop_assert_eq!(expected.shape(), got.shape());
        for (e, g) in expected.data().iter().zip(got.data()) {
            prop_assert!((e - g).abs() <= 1e-5 * expected.max_abs().max(1.0), "{} {}", e, g);
        }
        let timeline = Timeline::new(&plain, 1);
        if plain.ops().iter().all(|op| timeline.total(op.output()) <= 1) {
            let over_time = |op: &Op| matches!(op, Op::Conv(conv) if !conv.is_framewise());
            prop_assert!(!folded.ops().iter().any(over_time), "{:?}", folded.ops());
        }
    }
}
