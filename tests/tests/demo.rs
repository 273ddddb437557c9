//! The demo VAE on its photographs: a real decoder on real latents.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use halovae_engine::checkpoint::{Checkpoint, Dtype};
use halovae_engine::decode::Decoder;
use halovae_engine::tensor::HostTensor;
use halovae_tests::compare::{Difference, assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, cpu_decoder, cpu_ranks, decode, plan, program, size_of};
use halovae_tests::golden::{self, demo_checkpoint, demo_latents};
use halovae_tests::tensors;

const PHOTOGRAPHS: [&str; 4] = ["astronaut", "chelsea", "china", "coffee"];

/// Every how many rows and columns `make_goldens.py` keeps of the demo's pictures.
const GOLDEN_STEP: usize = 7;

fn checkpoint() -> &'static Checkpoint {
    static CHECKPOINT: OnceLock<Checkpoint> = OnceLock::new();
    CHECKPOINT.get_or_init(demo_checkpoint)
}

fn decoded(photograph: &str, cut: Cut, ranks: u32) -> HostTensor {
    let latents = demo_latents(photograph);
    let plan = plan(checkpoint().config(), size_of(&latents), cut);
    decode(&cpu_decoder(checkpoint(), ranks), &latents, &plan)
}

fn whole(photograph: &'static str) -> &'static HostTensor {
    static WHOLE: OnceLock<BTreeMap<&str, HostTensor>> = OnceLock::new();
    let decode = |photograph| (photograph, decoded(photograph, Cut::Whole, 1));
    let pictures = WHOLE.get_or_init(|| PHOTOGRAPHS.into_iter().map(decode).collect());
    &pictures[photograph]
}

/// The committed checkpoint is bf16; diffusers widens it to f32 as halovae does.
#[test]
fn checkpoint_is_bf16() {
    for name in checkpoint().names() {
        assert_eq!(
            checkpoint().tensor(name).expect("a listed tensor").dtype,
            Dtype::Bf16,
            "{name}"
        );
    }
}

#[test]
fn as_diffusers_decodes_it() {
    let expected = tensors::read(&golden::folder().join("demo-vae/expected.safetensors"));
    let check = |key: &str, picture: &HostTensor| {
        let sampled = tensors::sampled(picture, GOLDEN_STEP);
        assert_f32_close(&format!("astronaut, {key}"), &sampled, &expected[key]);
    };
    check("whole", whole("astronaut"));
    check("tiled", &decoded("astronaut", Cut::Tiled(0.25), 4));
    check("patch4", &decoded("astronaut", Cut::Patch(4), 4));
}

/// Patches differ from the whole in what norms and attention see, but hardly in the picture.
#[test]
fn patches_are_close_to_the_whole() {
    for photograph in PHOTOGRAPHS {
        let whole = whole(photograph);
        let patches = decoded(photograph, Cut::Patch(4), 4);
        let values = || whole.data().iter().copied().map(f64::from);
        let range = values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min);
        let part = Difference::new(&patches, whole).mean_abs / range;
        assert!(part > 0.0, "{photograph}: patches that equal the whole were not cut");
        assert!(
            part < 0.005,
            "{photograph}: mean difference is {:.3} % of the range",
            100.0 * part
        );
    }
}

#[test]
fn tiled_over_four_ranks_equals_one_rank() {
    for photograph in PHOTOGRAPHS {
        let one = decoded(photograph, Cut::Tiled(0.25), 1);
        let four = decoded(photograph, Cut::Tiled(0.25), 4);
        assert_same_bytes(photograph, &four, &one);
    }
}

/// The decoder is good for any number of pictures, of any size.
#[test]
fn one_decoder_for_all_photographs() {
    let backends = cpu_ranks(2, 1);
    let decoder = Decoder::new(&program(checkpoint()), checkpoint(), backends).expect("a decoder");
    for photograph in ["chelsea", "coffee", "chelsea"] {
        let latents = demo_latents(photograph);
        let plan = plan(checkpoint().config(), size_of(&latents), Cut::Whole);
        assert_same_bytes(photograph, &decode(&decoder, &latents, &plan), whole(photograph));
    }
}
