//! Decodes of sizes that were decoded before, by graphs: the same bytes, in memory that is not asked for
//! again.

mod common;
mod small;

use halovae_cuda::{Options, Precision};
use halovae_engine::backend::Backend;
use halovae_engine::execute::Stop;
use halovae_engine::tensor::HostTensor;
use small::{Small, latents};

fn small(options: Options) -> Small {
    Small::new(&common::device(options))
}

const SIZES: [(usize, usize); 3] = [(6, 5), (9, 8), (4, 4)];

/// Sizes in turns, of which the second is larger than what there is memory for by then.
#[test]
fn the_same_bytes_as_without() {
    for precision in [Precision::F32, Precision::Bf16] {
        let options = Options { precision, ..Options::default() };
        let plain = small(Options { without_graphs: true, ..options.clone() });
        let setup = small(options);
        for round in 0..4 {
            for (height, width) in SIZES {
                let latents = latents(height, width, round);
                assert_eq!(setup.picture(&latents), plain.picture(&latents), "round {round}");
            }
        }
        assert_eq!(setup.backend.graphs(), SIZES.len());
        assert_eq!(plain.backend.graphs(), 0);
    }
}

#[test]
fn nothing_is_asked_for_again() {
    let setup = small(Options::default());
    let (height, width) = SIZES[1];
    for round in 0..3 {
        setup.picture(&latents(height, width, round));
    }
    assert_eq!(setup.backend.graphs(), 1);
    let first = setup.backend.memory().peak;
    let held = setup.backend.memory().current;
    for round in 3..6 {
        let mut ops = 0;
        let count = |_| {
            ops += 1;
            Ok(())
        };
        drop(setup.decode_with(&latents(height, width, round), count).unwrap());
        assert_eq!(ops, 0, "the graph is launched, and no op is run");
        assert_eq!(setup.backend.memory().current, held);
        assert!(setup.backend.memory().peak <= first);
    }
    // The memory of the first decode, all in one block, and its input.
    let plain = small(Options { without_graphs: true, ..Options::default() });
    plain.picture(&latents(height, width, 0));
    let ratio = first as f64 / plain.backend.memory().peak as f64;
    assert!((0.95..1.15).contains(&ratio), "{ratio} times the memory");
}

/// A result that is still held is not written over.
#[test]
fn results_that_are_kept() {
    let setup = small(Options::default());
    let plain = small(Options { without_graphs: true, ..Options::default() });
    let (height, width) = SIZES[0];
    let inputs: Vec<HostTensor> = (0..6).map(|seed| latents(height, width, seed)).collect();
    let decode = |latents| setup.decode_with(latents, |_| Ok(())).unwrap();
    let kept: Vec<_> = inputs.iter().map(decode).collect();
    for (result, latents) in kept.iter().zip(&inputs) {
        assert_eq!(setup.read(result), plain.picture(latents));
    }
    drop(kept);
    assert_eq!(setup.picture(&inputs[3]), plain.picture(&inputs[3]));
}

/// What fails while it is taken down or captured fails, and the next decode does not.
#[test]
fn failures_on_the_way() {
    let plain = small(Options { without_graphs: true, ..Options::default() });
    let latents = latents(5, 5, 1);
    let expected = plain.picture(&latents);
    for rounds in 0..3 {
        let setup = small(Options::default());
        for _ in 0..rounds {
            assert_eq!(setup.picture(&latents), expected);
        }
        let stopped = setup.decode_with(&latents, |op| if op == 7 { Err(()) } else { Ok(()) });
        // A graph is not asked on the way.
        match rounds {
            0 | 1 => assert_eq!(stopped.unwrap_err(), Stop::Asked(())),
            _ => assert_eq!(setup.read(&stopped.unwrap()), expected),
        }
        let panics = std::panic::AssertUnwindSafe(|| {
            let _ = setup
                .decode_with(&latents, |op| if op == 9 { panic!("on purpose") } else { Ok(()) });
        });
        assert_eq!(std::panic::catch_unwind(panics).is_err(), rounds < 2);
        for _ in 0..3 {
            assert_eq!(setup.picture(&latents), expected);
        }
    }
}

/// Without room for the graph's memory decodes go on as before.
#[test]
fn no_room_for_a_graph() {
    let plain = small(Options { without_graphs: true, ..Options::default() });
    let (few, many) = (latents(5, 5, 1), latents(9, 9, 1));
    let expected = [plain.picture(&few), plain.picture(&many)];
    let peak = plain.backend.memory().peak;
    let setup = small(Options { max_memory_bytes: Some(peak + 4096), ..Options::default() });
    for _ in 0..4 {
        assert_eq!(setup.picture(&few), expected[0]);
        // What the smaller graph holds is let go of.
        assert_eq!(setup.picture(&many), expected[1]);
    }
}
