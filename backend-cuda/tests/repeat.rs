//! Decodes of sizes that were decoded before, by graphs: the same bytes, in memory that is not asked for
//! again.

mod common;

use halovae_core::Rect;
use halovae_cuda::{CudaBackend, CudaWeights, Options, Precision};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::AutoencoderKlConfig;
use halovae_engine::conformance::{Random, RandomWeights};
use halovae_engine::execute::{Stop, execute};
use halovae_engine::model::autoencoder_kl;
use halovae_engine::program::{Program, fuse};
use halovae_engine::tensor::{HostTensor, Shape};

struct Setup {
    backend: CudaBackend,
    program: Program,
    weights: CudaWeights,
}

impl Setup {
    fn new(options: Options) -> Self {
        let backend = common::device(options).backend().expect("a stream");
        let config = AutoencoderKlConfig {
            block_out_channels: vec![16, 32],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 8,
            ..AutoencoderKlConfig::default()
        };
        let plain = autoencoder_kl::decoder(&config).unwrap();
        let program = fuse(&plain, |program, op| backend.supports(program, op));
        let weights = backend.prepare(&program, &RandomWeights { seed: 4 }).unwrap();
        Self { backend, program, weights }
    }

    /// One decode; `before` is called before each op.
    fn decode_with(
        &self,
        latents: &HostTensor,
        mut before: impl FnMut(usize) -> Result<(), ()>,
    ) -> Result<<CudaBackend as Backend>::Tensor, Stop<()>> {
        let Self { backend, program, weights } = self;
        let input = backend.upload(latents).unwrap();
        backend.repeat(weights, input, &mut |input| {
            execute(backend, program, weights, input, &mut before)
        })
    }

    fn decode(&self, latents: &HostTensor) -> <CudaBackend as Backend>::Tensor {
        self.decode_with(latents, |_| Ok(())).unwrap()
    }

    fn read(&self, tensor: &<CudaBackend as Backend>::Tensor) -> HostTensor {
        let Shape { height, width, .. } = self.backend.shape(tensor);
        let all = Rect::new(0, 0, height as u32, width as u32);
        self.backend.download(tensor, all).unwrap()
    }

    fn picture(&self, latents: &HostTensor) -> HostTensor {
        self.read(&self.decode(latents))
    }
}

fn latents(height: usize, width: usize, seed: u64) -> HostTensor {
    let mut random = Random::new(seed);
    let values = (0..height * width * 4).map(|_| random.uniform(-2.0, 2.0)).collect();
    HostTensor::new(Shape::new(1, height, width, 4), values).unwrap()
}

const SIZES: [(usize, usize); 3] = [(6, 5), (9, 8), (4, 4)];

/// Sizes in turns, of which the second is larger than what there is memory for by then.
#[test]
fn the_same_bytes_as_without() {
    for precision in [Precision::F32, Precision::Bf16] {
        let options = Options { precision, ..Options::default() };
        let plain = Setup::new(Options { without_graphs: true, ..options.clone() });
        let setup = Setup::new(options);
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
    let setup = Setup::new(Options::default());
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
    let plain = Setup::new(Options { without_graphs: true, ..Options::default() });
    plain.picture(&latents(height, width, 0));
    let ratio = first as f64 / plain.backend.memory().peak as f64;
    assert!((0.95..1.15).contains(&ratio), "{ratio} times the memory");
}

/// A result that somebody still has is not written over.
#[test]
fn results_that_are_kept() {
    let setup = Setup::new(Options::default());
    let plain = Setup::new(Options { without_graphs: true, ..Options::default() });
    let (height, width) = SIZES[0];
    let inputs: Vec<HostTensor> = (0..6).map(|seed| latents(height, width, seed)).collect();
    let kept: Vec<_> = inputs.iter().map(|latents| setup.decode(latents)).collect();
    for (result, latents) in kept.iter().zip(&inputs) {
        assert_eq!(setup.read(result), plain.picture(latents));
    }
    drop(kept);
    assert_eq!(setup.picture(&inputs[3]), plain.picture(&inputs[3]));
}

/// What fails while it is taken down or captured fails, and the next decode does not.
#[test]
fn failures_on_the_way() {
    let plain = Setup::new(Options { without_graphs: true, ..Options::default() });
    let latents = latents(5, 5, 1);
    let expected = plain.picture(&latents);
    for rounds in 0..3 {
        let setup = Setup::new(Options::default());
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
    let plain = Setup::new(Options { without_graphs: true, ..Options::default() });
    let (small, large) = (latents(5, 5, 1), latents(9, 9, 1));
    let expected = [plain.picture(&small), plain.picture(&large)];
    let peak = plain.backend.memory().peak;
    let setup = Setup::new(Options { max_memory_bytes: Some(peak + 4096), ..Options::default() });
    for _ in 0..4 {
        assert_eq!(setup.picture(&small), expected[0]);
        // What the small graph holds is let go of.
        let input = setup.backend.upload(&large).unwrap();
        let result = setup.backend.repeat(&setup.weights, input, &mut |input| {
            execute(&setup.backend, &setup.program, &setup.weights, input, |_| Ok::<(), ()>(()))
        });
        assert_eq!(setup.read(&result.unwrap()), expected[1]);
    }
}
