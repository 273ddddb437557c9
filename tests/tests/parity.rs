//! Against diffusers: every golden model with every strategy, within the bound for f32.

use halovae_engine::decode::Decoder;
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, cpu_decoder, cpu_ranks, decode, plan, program, size_of};
use halovae_tests::golden::{self, Golden};
use halovae_tests::{binary, npy, tensors};

/// Every folder of golden values has a test below, or, of videos, in `videos`.
#[test]
fn every_golden_model_is_tested() {
    let mut found = binary::listing(&golden::folder());
    found.retain(|name| golden::folder().join(name).join("config.json").exists());
    assert_eq!(found, golden::images().chain(golden::VIDEOS).collect::<Vec<_>>());
}

fn whole(name: &str) {
    let golden = Golden::load(name);
    let plan = plan(golden.config(), size_of(&golden.latents), Cut::Whole);
    for threads in [1, 2, 3] {
        let backends = cpu_ranks(1, threads);
        let decoder = Decoder::new(&program(&golden.checkpoint), &golden.checkpoint, backends)
            .expect("a decoder");
        let picture = decode(&decoder, &golden.latents, &plan);
        let what = format!("{name}, whole, {threads} threads");
        assert_f32_close(&what, &picture, golden.expected("whole"));
    }
}

macro_rules! every_model {
    ($($test:ident: $name:literal,)*) => {$(
        mod $test {
            use halovae_tests::decode::cpu_decoder;

            #[test]
            fn whole() {
                super::whole($name);
            }

            #[test]
            fn tiled() {
                halovae_tests::parity::tiled($name, 2..=6, cpu_decoder);
            }

            #[test]
            fn patch() {
                halovae_tests::parity::patch($name, 1..=6, cpu_decoder);
            }
        }
    )*};
}

every_model! {
    f1_one_level: "f1-one-level",
    f2_complete: "f2-complete",
    f4_batch: "f4-batch",
    f4_no_attention: "f4-no-attention",
    f8_flux: "f8-flux",
    f8_sd: "f8-sd",
    flux2: "flux2",
    hunyuan_image: "hunyuan-image",
}

/// No overlap, every pixel under two tiles, every pixel under four.
#[test]
fn other_overlaps() {
    let golden = Golden::load("f2-complete");
    for (overlap, key) in
        [(0.0, "tiled_overlap_0"), (0.5, "tiled_overlap_0.5"), (0.75, "tiled_overlap_0.75")]
    {
        let plan = plan(golden.config(), size_of(&golden.latents), Cut::Tiled(overlap));
        for ranks in [1, 3] {
            let picture = decode(&cpu_decoder(&golden.checkpoint, ranks), &golden.latents, &plan);
            assert_f32_close(&format!("{key}, {ranks} ranks"), &picture, golden.expected(key));
        }
    }
}

/// A patch does not depend on who decodes it: more patches than ranks, and ranks without work.
#[test]
fn patches_on_another_number_of_ranks() {
    let golden = Golden::load("f4-batch");
    let plan = plan(golden.config(), size_of(&golden.latents), Cut::Patch(6));
    let expected = decode(&cpu_decoder(&golden.checkpoint, 6), &golden.latents, &plan);
    assert_f32_close("6 patches", &expected, golden.expected("patch6"));
    for ranks in [1, 2, 4, 9] {
        let picture = decode(&cpu_decoder(&golden.checkpoint, ranks), &golden.latents, &plan);
        assert_same_bytes(&format!("6 patches on {ranks} ranks"), &picture, &expected);
    }
}

/// The same through the binary, from the files to an `.npy`.
#[test]
fn through_the_binary() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("picture.npy");
    for name in golden::images() {
        let golden = Golden::load(name);
        for (strategy, ranks, key) in [
            ("whole", 1, "whole"),
            ("tiled", 1, "tiled"),
            ("tiled", 3, "tiled"),
            ("patch", 4, "patch4"),
        ] {
            let ranks = ranks.to_string();
            let mut command = binary::command(["decode", "--quiet", "--strategy", strategy]);
            command.args(["--vae-patch-parallel-size", &ranks, "--threads", "2"]);
            command.arg("--vae").arg(&golden.folder);
            command.arg("--latents").arg(golden.latents_file()).args(["--latents-key", "latents"]);
            command.arg("--output").arg(&output);
            binary::run_command(command).expect_success();
            let (values, shape) = npy::read(&std::fs::read(&output).expect("the output"));
            let shape: [usize; 4] = shape.try_into().expect("NCHW");
            let picture = tensors::channels_last(&values, shape);
            let what = format!("{name}, {strategy} over {ranks} ranks by the binary");
            assert_f32_close(&what, &picture, golden.expected(key));
        }
    }
}
