//! The CUDA backend against diffusers, ranks against each other, and its memory against the planner's
//! estimate. On a GPU if `HALOVAE_TEST_CUDA` is `device`, or else on what stands in for one.

use halovae_core::Size;
use halovae_cuda::{CudaBackend, Limits, Options, Precision};
use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint};
use halovae_engine::conformance::RandomWeights;
use halovae_engine::decode::{Control, Decoder};
use halovae_engine::sink::MemorySink;
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, SmallModel, decode, plan, size_of};
use halovae_tests::golden::{self, Error, Golden};
use halovae_tests::gpu::{are_there, cuda_decoder, cuda_ranks, open, open_at};
use halovae_tests::parity;

fn in_f32(checkpoint: &Checkpoint, ranks: u32) -> Decoder<CudaBackend> {
    cuda_decoder(checkpoint, Precision::F32, ranks)
}

#[test]
fn whole_as_diffusers() {
    golden::NAMES.iter().for_each(|name| parity::whole(name, in_f32));
}

/// As diffusers, and the same bytes on any number of ranks.
#[test]
fn tiled_as_diffusers() {
    ["f4-batch", "f8-flux"].into_iter().for_each(|name| parity::tiled(name, [2, 3], in_f32));
}

#[test]
fn patch_as_diffusers() {
    for (name, ranks) in [("f2-complete", 2), ("f4-no-attention", 4), ("f8-flux", 3)] {
        parity::patch(name, [ranks], in_f32);
    }
}

/// One rank a shard, and fewer.
#[test]
fn sharded_as_diffusers_decodes_whole() {
    for (name, grid) in [
        ("f1-one-level", (1, 2, 2)),
        ("f2-complete", (2, 2, 4)),
        ("f4-batch", (3, 1, 3)),
        ("f4-no-attention", (2, 3, 1)),
        ("f8-flux", (2, 2, 4)),
        ("f8-sd", (1, 4, 2)),
    ] {
        parity::sharded(name, [grid], in_f32);
    }
}

/// Half precision with f32 sums: within its bound, and really in that type; no worse than 1.5 times
/// diffusers' own error in it.
#[test]
fn half_precision_as_diffusers_in_f32() {
    for (precision, dtype, least) in
        [(Precision::F16, "float16", 1e-5), (Precision::Bf16, "bfloat16", 1e-4)]
    {
        for (name, cut, ranks, key) in [
            ("f1-one-level", Cut::Whole, 1, "whole"),
            ("f2-complete", Cut::Whole, 1, "whole"),
            ("f4-batch", Cut::Patch(2), 2, "patch2"),
            ("f4-no-attention", Cut::Whole, 1, "whole"),
            ("f8-flux", Cut::Whole, 1, "whole"),
            ("f8-sd", Cut::Tiled(0.25), 2, "tiled"),
            ("f8-sd", Cut::Sharded(1, 2), 2, "whole"),
        ] {
            let golden = Golden::load(name);
            let decoder = cuda_decoder(&golden.checkpoint, precision, ranks);
            let plan = plan(golden.config(), size_of(&golden.latents), cut);
            let picture = decode(&decoder, &golden.latents, &plan);
            let ours = Error::of(&picture, golden.expected(key));
            let what = format!("{name}, {cut:?}, {precision}");
            eprintln!("{what}: {ours:?}");
            assert!((least..=2e-2).contains(&ours.relative_rms), "{what}: {ours:?}");
            if !key.starts_with("patch") {
                ours.assert_close_to(&Error::of_diffusers(dtype, name, key), &what);
            }
        }
    }
}

/// Products by engines of cuDNN's, however small, on a GPU each: as good as our own kernel, and the same
/// bytes on any number of ranks.
#[test]
fn by_engines() {
    for (precision, dtype) in [(Precision::F16, "float16"), (Precision::Bf16, "bfloat16")] {
        for (name, cut, key) in
            [("f8-flux", Cut::Whole, "whole"), ("f8-sd", Cut::Tiled(0.25), "tiled")]
        {
            let golden = Golden::load(name);
            let plan = plan(golden.config(), size_of(&golden.latents), cut);
            let on = |ranks: u32| {
                let backend = |rank| {
                    let limits = Limits { engines_from: 0, ..Limits::default() };
                    let options = Options { precision, limits, ..Options::default() };
                    let device = open_at(if are_there(ranks) { rank } else { 0 }, options);
                    assert!(device.cudnn().unwrap_or_else(|error| panic!("{error}")).is_some());
                    device.backend().expect("a stream")
                };
                let program = halovae_tests::decode::program(&golden.checkpoint);
                let backends = (0..ranks).map(backend).collect();
                let decoder = Decoder::new(&program, &golden.checkpoint, backends);
                decode(&decoder.expect("a decoder"), &golden.latents, &plan)
            };
            let one = on(1);
            let what = format!("{name}, {cut:?}, {precision}");
            let ours = Error::of(&one, golden.expected(key));
            eprintln!("{what}: {ours:?}");
            ours.assert_close_to(&Error::of_diffusers(dtype, name, key), &what);
            if key == "tiled" {
                assert_same_bytes(&format!("{what}, 3 ranks"), &on(3), &one);
            }
        }
    }
}

/// In bands that are a fraction of a value, and attention in many blocks.
#[test]
fn in_pieces() {
    let golden = Golden::load("f8-flux");
    let limits = Limits { band_bytes: 64 << 10, attention: [48, 40], ..Limits::default() };
    let device = open(Options { limits, ..Options::default() });
    for (cut, ranks) in [(Cut::Whole, 1), (Cut::Sharded(2, 1), 2)] {
        let program = halovae_tests::decode::program(&golden.checkpoint);
        let backends = (0..ranks).map(|_| device.backend().expect("a stream")).collect();
        let decoder = Decoder::new(&program, &golden.checkpoint, backends);
        let plan = plan(golden.config(), size_of(&golden.latents), cut);
        let picture = decode(&decoder.expect("a decoder"), &golden.latents, &plan);
        assert_f32_close(&format!("{cut:?} in pieces"), &picture, golden.expected("whole"));
    }
}

/// The planner's estimate of peak device memory is within 15 % of what the backend counts.
#[test]
fn memory_as_estimated() {
    let config = AutoencoderKlConfig {
        block_out_channels: vec![16, 32, 32],
        layers_per_block: 1,
        norm_num_groups: 16,
        latent_channels: 16,
        sample_size: [64, 64],
        use_quant_conv: false,
        use_post_quant_conv: false,
        ..AutoencoderKlConfig::default()
    };
    let model = SmallModel { config, weights: RandomWeights { seed: 5 } };
    // Strips along a halo are deep enough to occupy all of a GPU, and are to be small beside the rest.
    let times = if halovae_cuda_stand_in::is_real() { 6 } else { 1 };
    for (precision, height, width, cut, ranks) in [
        (Precision::F32, 37, 21, Cut::Whole, 1),
        (Precision::Bf16, 16, 24, Cut::Whole, 1),
        (Precision::F32, 28, 24, Cut::Tiled(0.25), 2),
        (Precision::F32, 24, 28, Cut::Patch(4), 4),
        (Precision::F16, 32, 28, Cut::Sharded(2, 2), 4),
        (Precision::F32, 32, 28, Cut::Sharded(3, 3), 2),
    ] {
        let (height, width) = (times * height, times * width);
        let plan = plan(&model.config, Size::new(height, width), cut);
        let decoder = model.decoder(cuda_ranks(precision, ranks));
        let latents = model.latents(1, height, width, 9);
        let control = Control::default();
        let report = decoder.decode(&latents, &plan, &mut MemorySink::default(), &control);
        let report = report.expect("a decode");
        let [estimated, measured] = [report.estimated_peak_bytes, report.measured_peak_bytes];
        let ratio = estimated as f64 / measured as f64;
        let what = format!("{height} x {width}, {cut:?}, {ranks} ranks, {precision}");
        eprintln!("{what}: estimated {estimated}, measured {measured}, ratio {ratio:.3}");
        assert!((ratio - 1.0).abs() <= 0.15, "{what}: estimated {estimated}, measured {measured}");
    }
}
