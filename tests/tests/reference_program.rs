//! The program builder and the f64 reference backend against diffusers.
//!
//! The other backends are held to the reference op by op; this says that the reference, and the
//! order of ops that the builder makes of a config, are right.

use halovae_engine::conformance::Reference;
use halovae_engine::decode::Decoder;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::{Cut, decode, plan, program, size_of};
use halovae_tests::golden::Golden;

fn check(name: &str) {
    let golden = Golden::load(name);
    let decoder =
        Decoder::new(&program(&golden.checkpoint), &golden.checkpoint, vec![Reference; 2])
            .expect("a decoder");
    for (cut, key) in
        [(Cut::Whole, "whole"), (Cut::Tiled(0.25), "tiled"), (Cut::Patch(2), "patch2")]
    {
        let plan = plan(golden.config(), size_of(&golden.latents), cut);
        let picture = decode(&decoder, &golden.latents, &plan);
        assert_f32_close(&format!("{name}, {key}"), &picture, golden.expected(key));
    }
}

#[test]
fn f1_one_level() {
    check("f1-one-level");
}

#[test]
fn f2_complete() {
    check("f2-complete");
}

#[test]
fn f4_batch() {
    check("f4-batch");
}

#[test]
fn f4_no_attention() {
    check("f4-no-attention");
}

#[test]
fn f8_flux() {
    check("f8-flux");
}

#[test]
fn f8_sd() {
    check("f8-sd");
}

#[test]
fn hunyuan_image() {
    check("hunyuan-image");
}
