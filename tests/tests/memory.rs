//! The planner's estimate of peak device memory against what the CPU backend counts.

use halovae_core::Size;
use halovae_engine::checkpoint::{AutoencoderKlConfig, AutoencoderKlHunyuanImageConfig, VaeConfig};
use halovae_engine::conformance::RandomWeights;
use halovae_engine::decode::{Control, DecodeReport};
use halovae_engine::shard::ParkLimit;
use halovae_engine::sink::MemorySink;
use halovae_tests::decode::{Cut, SmallModel, cpu_ranks, plan};

/// Largest distance of the estimate from the measured bytes, as a part of these.
const TOLERANCE: f64 = 0.15;

/// FLUX.1's shape with an eighth of its channels.
fn narrow_flux() -> SmallModel {
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
    SmallModel { config, weights: RandomWeights { seed: 5 } }
}

/// HunyuanImage 2.1's with an eighth of its channels, and half of its levels.
fn narrow_hunyuan_image() -> SmallModel<AutoencoderKlHunyuanImageConfig> {
    let config = AutoencoderKlHunyuanImageConfig {
        block_out_channels: vec![32, 64, 128],
        layers_per_block: 1,
        latent_channels: 8,
        spatial_compression_ratio: 4,
        sample_size: 64,
        ..AutoencoderKlHunyuanImageConfig::default()
    };
    config.validate().expect("a possible config");
    SmallModel { config, weights: RandomWeights { seed: 6 } }
}

fn decode(
    model: &SmallModel<impl VaeConfig>,
    latents: Size,
    batch: usize,
    cut: Cut,
    ranks: u32,
    threads: usize,
) -> DecodeReport {
    let plan = plan(&model.config, latents, cut);
    let decoder = model.decoder(cpu_ranks(ranks, threads));
    let latents = model.latents(batch, latents.height, latents.width, 9);
    let control = Control::default();
    decoder.decode(&latents, &plan, &mut MemorySink::default(), &control).expect("a decode")
}

#[track_caller]
fn check(
    model: &SmallModel<impl VaeConfig>,
    latents: Size,
    batch: usize,
    cut: Cut,
    ranks: u32,
    threads: usize,
) {
    let report = decode(model, latents, batch, cut, ranks, threads);
    let [estimated, measured] = [report.estimated_peak_bytes, report.measured_peak_bytes];
    let ratio = estimated as f64 / measured as f64;
    let what = format!("{latents:?}, batch {batch}, {cut:?}, {ranks} ranks x {threads} threads");
    eprintln!("{what}: estimated {estimated}, measured {measured}, ratio {ratio:.3}");
    assert!((ratio - 1.0).abs() <= TOLERANCE, "{what}: estimated {estimated}, measured {measured}");
}

#[test]
fn whole() {
    let model = narrow_flux();
    for (height, width) in [(8, 8), (16, 24), (37, 21), (48, 48)] {
        check(&model, Size::new(height, width), 1, Cut::Whole, 1, 1);
    }
    check(&model, Size::new(32, 32), 1, Cut::Whole, 1, 2);
}

#[test]
fn tiled() {
    let model = narrow_flux();
    for ranks in [1, 2, 3, 4] {
        check(&model, Size::new(40, 56), 1, Cut::Tiled(0.25), ranks, 1);
    }
    check(&model, Size::new(17, 30), 2, Cut::Tiled(0.5), 2, 2);
}

#[test]
fn patch() {
    let model = narrow_flux();
    for ranks in [2, 4, 6] {
        check(&model, Size::new(40, 28), 1, Cut::Patch(ranks), ranks, 1);
    }
}

/// One rank a shard, and several shards on a rank.
#[test]
fn sharded() {
    let model = narrow_flux();
    for (rows, cols, ranks) in [(1, 2, 2), (2, 2, 4), (2, 3, 6), (2, 2, 1), (3, 3, 2), (4, 1, 3)] {
        check(&model, Size::new(40, 28), 1, Cut::Sharded(rows, cols), ranks, 1);
    }
}

/// An upsampler's values are there three times: in channels, as cells, and in its shortcut.
#[test]
fn cells_that_lie_in_channels() {
    let model = narrow_hunyuan_image();
    for (cut, ranks) in [
        (Cut::Whole, 1),
        (Cut::Tiled(0.25), 2),
        (Cut::Patch(4), 4),
        (Cut::Sharded(2, 2), 4),
        (Cut::Sharded(3, 2), 2),
    ] {
        check(&model, Size::new(29, 24), 1, cut, ranks, 1);
    }
}

/// Shards that take turns in little memory: the bytes of the device stay as the planner says, and
/// far below those of a whole decode.
#[test]
fn sharded_with_a_limit() {
    let model = narrow_flux();
    let latents = Size::new(40, 36);
    let whole = decode(&model, latents, 1, Cut::Whole, 1, 1).measured_peak_bytes;
    let folder = tempfile::tempdir().expect("a folder");
    for (limit, share) in [(0, 0.5), (2 << 20, 0.6), (6 << 20, 0.8)] {
        let plan = plan(&model.config, latents, Cut::Sharded(3, 3));
        let decoder = model.decoder(cpu_ranks(1, 1));
        let park = ParkLimit { bytes: limit, scratch: folder.path().to_owned() };
        let control = Control { park: Some(park), ..Control::default() };
        let latents = model.latents(1, latents.height, latents.width, 9);
        let report = decoder.decode(&latents, &plan, &mut MemorySink::default(), &control);
        let report = report.expect("a decode");
        let [estimated, measured] = [report.estimated_peak_bytes, report.measured_peak_bytes];
        let ratio = estimated as f64 / measured as f64;
        eprintln!("limit {limit}: estimated {estimated}, measured {measured}, whole {whole}");
        assert!((ratio - 1.0).abs() <= TOLERANCE, "estimated {estimated}, measured {measured}");
        assert!((measured as f64) < share * whole as f64, "{measured} of {whole}");
    }
}

/// A batch is decoded image by image: it needs no more than one.
#[test]
fn batch_needs_no_more_than_one() {
    let model = narrow_flux();
    let peak =
        |batch| decode(&model, Size::new(24, 24), batch, Cut::Whole, 1, 1).measured_peak_bytes;
    assert_eq!(peak(3), peak(1));
}

/// Tiles are there to need less.
#[test]
fn tiles_need_less_than_the_whole() {
    let model = narrow_flux();
    let latents = Size::new(64, 64);
    let whole = decode(&model, latents, 1, Cut::Whole, 1, 1).measured_peak_bytes;
    let tiled = decode(&model, latents, 1, Cut::Tiled(0.25), 1, 1).measured_peak_bytes;
    assert!(tiled * 4 < whole, "tiled {tiled}, whole {whole}");
}

/// What the system counts for the whole process is what the backend counts, and not much more.
#[cfg(target_os = "linux")]
#[test]
fn resident_memory_of_the_process() {
    use halovae_tests::binary;
    use halovae_tests::golden::demo_folder;

    /// The program itself, the mapped checkpoint (5 MB), latents, finished rows, threads' stacks.
    const OTHER_BYTES: u64 = 64 << 20;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("report.json");
    let mut command = binary::command(["decode", "--strategy", "whole", "--threads", "2"]);
    command.arg("--vae").arg(demo_folder().join("vae"));
    command.arg("--latents").arg(demo_folder().join("latents/astronaut.safetensors"));
    command.arg("--output").arg(folder.path().join("a.npy")).arg("--report").arg(&report);
    binary::run_command(command).expect_success();
    let report = std::fs::read_to_string(report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let [measured, resident] =
        ["measured", "process"].map(|of| report["peak_bytes"][of].as_u64().expect("bytes"));
    eprintln!("resident {resident}, counted by the backend {measured}");
    assert!(measured > 32 << 20, "too small a decode to tell anything: {measured}");
    assert!(resident > measured * 9 / 10, "resident {resident}, counted {measured}");
    assert!(resident < measured * 5 / 4 + OTHER_BYTES, "resident {resident}, counted {measured}");
}
