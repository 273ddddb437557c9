//! The wgpu backend against diffusers, ranks against each other, and its memory against the
//! planner's estimate. Needs an adapter; a software one will do.

use halovae_core::Size;
use halovae_engine::checkpoint::AutoencoderKlConfig;
use halovae_engine::conformance::RandomWeights;
use halovae_engine::decode::{Control, Decoder};
use halovae_engine::sink::MemorySink;
use halovae_tests::adapter::{open, wgpu_decoder, wgpu_ranks};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::{Cut, SmallModel, decode, plan, size_of};
use halovae_tests::golden::{self, Error, Golden};
use halovae_tests::parity;
use halovae_wgpu::{Options, Precision};

#[test]
fn whole_as_diffusers() {
    golden::NAMES.iter().for_each(|name| parity::whole(name, wgpu_decoder));
}

/// As diffusers, and the same bytes on any number of ranks.
#[test]
fn tiled_as_diffusers() {
    golden::NAMES.iter().for_each(|name| parity::tiled(name, 2..=4, wgpu_decoder));
}

#[test]
fn patch_as_diffusers() {
    golden::NAMES.iter().for_each(|name| parity::patch(name, 2..=4, wgpu_decoder));
}

/// One rank a shard, and fewer.
#[test]
fn sharded_as_diffusers_decodes_whole() {
    let grids = [(1, 2, 2), (2, 1, 2), (2, 2, 4), (3, 1, 3), (1, 4, 2), (2, 3, 1)];
    golden::NAMES.iter().for_each(|name| parity::sharded(name, grids, wgpu_decoder));
}

/// f16 with f32 sums: within the bound for half precision, and really in f16; no worse than 1.5 times
/// diffusers' own error in float16.
#[test]
fn f16_as_diffusers_in_f32() {
    let device = open(Options { precision: Precision::F16, ..Options::default() });
    for name in golden::NAMES {
        let golden = Golden::load(name);
        let program = halovae_tests::decode::program(&golden.checkpoint);
        for (cut, ranks, key) in [
            (Cut::Whole, 1, "whole"),
            (Cut::Tiled(0.25), 2, "tiled"),
            (Cut::Sharded(1, 2), 2, "whole"),
        ] {
            let backends = (0..ranks).map(|_| device.backend()).collect();
            let decoder = Decoder::new(&program, &golden.checkpoint, backends).expect("a decoder");
            let plan = plan(golden.config(), size_of(&golden.latents), cut);
            let picture = decode(&decoder, &golden.latents, &plan);
            let ours = Error::of(&picture, golden.expected(key));
            let what = format!("{name}, {cut:?}");
            assert!((1e-6..=2e-2).contains(&ours.relative_rms), "{what}: {ours:?}");
            ours.assert_close_to(&Error::of_diffusers("float16", name, key), &what);
        }
    }
}

/// In buffers that hold a fraction of a value each, by every strategy.
#[test]
fn in_many_buffers() {
    let golden = Golden::load("f8-flux");
    let device = open(Options { max_binding_bytes: Some(128 << 10), ..Options::default() });
    for (cut, ranks, key) in [
        (Cut::Whole, 1, "whole"),
        (Cut::Tiled(0.25), 2, "tiled"),
        (Cut::Patch(3), 3, "patch3"),
        (Cut::Sharded(2, 2), 4, "whole"),
    ] {
        let program = halovae_tests::decode::program(&golden.checkpoint);
        let backends = (0..ranks).map(|_| device.backend()).collect();
        let decoder = Decoder::new(&program, &golden.checkpoint, backends);
        let plan = plan(golden.config(), size_of(&golden.latents), cut);
        let picture = decode(&decoder.expect("a decoder"), &golden.latents, &plan);
        assert_f32_close(&format!("{cut:?} in many buffers"), &picture, golden.expected(key));
    }
}

/// The planner's estimate of peak device memory is within 15 % of what the backend counts.
#[test]
fn memory_as_estimated() {
    let config = AutoencoderKlConfig {
        block_out_channels: vec![16, 32, 64, 64],
        layers_per_block: 2,
        norm_num_groups: 16,
        latent_channels: 16,
        sample_size: [128, 128],
        use_quant_conv: false,
        use_post_quant_conv: false,
        ..AutoencoderKlConfig::default()
    };
    let model = SmallModel { config, weights: RandomWeights { seed: 5 } };
    for (height, width, cut, ranks) in [
        (16, 24, Cut::Whole, 1),
        (37, 21, Cut::Whole, 1),
        (40, 56, Cut::Tiled(0.25), 2),
        (40, 28, Cut::Patch(4), 4),
        (40, 28, Cut::Sharded(2, 2), 4),
        (40, 28, Cut::Sharded(3, 3), 2),
    ] {
        let plan = plan(&model.config, Size::new(height, width), cut);
        let decoder = model.decoder(wgpu_ranks(ranks));
        let latents = model.latents(1, height, width, 9);
        let control = Control::default();
        let report = decoder.decode(&latents, &plan, &mut MemorySink::default(), &control);
        let report = report.expect("a decode");
        let [estimated, measured] = [report.estimated_peak_bytes, report.measured_peak_bytes];
        let ratio = estimated as f64 / measured as f64;
        let what = format!("{height} x {width}, {cut:?}, {ranks} ranks");
        eprintln!("{what}: estimated {estimated}, measured {measured}, ratio {ratio:.3}");
        assert!((ratio - 1.0).abs() <= 0.15, "{what}: estimated {estimated}, measured {measured}");
    }
}
