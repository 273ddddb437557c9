//! The command line as a user runs it: what it writes, what it says, what it leaves behind.

use std::path::{Path, PathBuf};
use std::process::Command;

use halovae_engine::tensor::HostTensor;
use halovae_tests::binary::{self, Run, listing};
use halovae_tests::compare::{Difference, assert_f32_close, f32_bound};
use halovae_tests::disk::{RawFile, RawTensor};
use halovae_tests::golden::{Golden, demo_folder};
use halovae_tests::{npy, tensors};
use safetensors::Dtype;
use serde_json::Value;
use tempfile::TempDir;

/// A golden model, and a folder for what is made of it.
struct Setup {
    golden: Golden,
    folder: TempDir,
}

impl Setup {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { golden: Golden::load(name), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `halovae decode` of these latents into that file.
    fn decode_from(&self, latents: &Path, output: &str, flags: &[&str]) -> Run {
        let mut command = binary::command(["decode"]);
        command.args(flags).arg("--vae").arg(&self.golden.folder);
        command.arg("--latents").arg(latents).arg("--output").arg(self.path(output));
        binary::run_command(command)
    }

    fn decode(&self, output: &str, flags: &[&str]) -> Run {
        self.decode_from(&self.golden.latents_file(), output, flags)
    }

    fn read_npy(&self, name: &str) -> HostTensor {
        let (values, shape) = npy::read(&std::fs::read(self.path(name)).expect("an output"));
        tensors::channels_last(&values, shape.try_into().expect("NCHW"))
    }

    /// What the picture in `name` decodes to if its latents are these, or close to them.
    fn write_latents(&self, name: &str, file: &RawFile) -> PathBuf {
        let path = self.path(name);
        file.write(&path);
        path
    }
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// What diffusers' image processor makes of decoded values.
fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// How far the bytes of a picture are from those of decoded values: the largest, and the mean.
fn byte_difference(file: &Path, sample: usize, values: &HostTensor) -> (u8, f64) {
    let picture = image::open(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).to_rgb8();
    let shape = values.shape();
    assert_eq!(picture.dimensions(), (shape.width as u32, shape.height as u32));
    let per_image = shape.height * shape.width * shape.channels;
    let expected = values.data()[sample * per_image..][..per_image].iter().map(|&v| to_byte(v));
    let differences: Vec<u8> = picture.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).collect();
    let sum: f64 = differences.iter().copied().map(f64::from).sum();
    (differences.iter().copied().max().expect("pixels"), sum / per_image as f64)
}

#[test]
fn raw_formats_hold_the_same_values() {
    let setup = Setup::new("f4-batch");
    setup.decode("picture.npy", &[]).expect_success();
    setup.decode("picture.safetensors", &[]).expect_success();
    let from_npy = setup.read_npy("picture.npy");
    assert_f32_close("npy", &from_npy, setup.golden.expected("whole"));
    let file = RawFile::read(&setup.path("picture.safetensors"));
    assert_eq!(file.tensors.keys().collect::<Vec<_>>(), ["sample"]);
    assert_eq!(file.tensors["sample"].dtype, Dtype::F32);
    assert_eq!(file.tensors["sample"].shape, [2, 3, 44, 84]);
    let from_safetensors = tensors::read(&setup.path("picture.safetensors")).remove("sample");
    assert_eq!(from_safetensors, Some(from_npy));
    assert_eq!(listing(setup.folder.path()), ["picture.npy", "picture.safetensors"]);
}

#[test]
fn pictures_hold_what_diffusers_image_processor_makes() {
    let setup = Setup::new("f8-flux");
    let expected = setup.golden.expected("whole");
    for name in ["a.png", "a.webp", "a.tiff", "a.tif", "A.PNG"] {
        setup.decode(name, &[]).expect_success();
        let (largest, mean) = byte_difference(&setup.path(name), 0, expected);
        // Two decodes that differ in the last bits may round to neighbouring bytes, now and then.
        assert!(largest <= 1 && mean < 0.01, "{name}: differs by {largest}, on average {mean}");
    }
    // Random weights make noise, which JPEG changes a lot; but not into another picture.
    for name in ["a.jpg", "a.jpeg"] {
        setup.decode(name, &[]).expect_success();
        let (_, mean) = byte_difference(&setup.path(name), 0, expected);
        assert!(mean < 40.0, "{name}: {mean} on average");
        let bytes = std::fs::read(setup.path(name)).expect("the output");
        assert!(bytes.starts_with(b"\xff\xd8\xff"), "{name} is no JPEG");
    }
}

#[test]
fn a_batch_becomes_numbered_files() {
    let setup = Setup::new("f4-batch");
    for extension in ["png", "jpg", "webp", "tiff"] {
        setup.decode(&format!("picture.{extension}"), &["--strategy", "tiled"]).expect_success();
    }
    let expected = setup.golden.expected("tiled");
    let mut names = Vec::new();
    for sample in 0..2 {
        for extension in ["jpg", "png", "tiff", "webp"] {
            let name = format!("picture-{sample}.{extension}");
            let (largest, _) = byte_difference(&setup.path(&name), sample, expected);
            assert!(extension == "jpg" || largest <= 1, "{name}: differs by {largest}");
            names.push(name);
        }
    }
    assert_eq!(listing(setup.folder.path()), names);
}

#[test]
fn existing_output_is_replaced() {
    let setup = Setup::new("f2-complete");
    std::fs::write(setup.path("a.npy"), "something else").expect("a file");
    setup.decode("a.npy", &[]).expect_success();
    assert_f32_close("a.npy", &setup.read_npy("a.npy"), setup.golden.expected("whole"));
    assert_eq!(listing(setup.folder.path()), ["a.npy"]);
}

#[test]
fn latents_of_every_format_and_type() {
    let setup = Setup::new("f2-complete");
    let (values, shape) = tensors::channels_first(&setup.golden.latents);
    let expected = setup.golden.expected("whole");
    let check = |name: &str, flags: &[&str], tolerance: f64| {
        setup.decode_from(&setup.path(name), "out.npy", flags).expect_success();
        let difference = Difference::new(&setup.read_npy("out.npy"), expected);
        assert!(difference.max_abs <= tolerance, "{name}: {difference:?}");
    };
    let exact = f32_bound(expected);

    std::fs::write(setup.path("a.npy"), npy::write(&values, &shape)).expect("a file");
    check("a.npy", &[], exact);
    std::fs::write(setup.path("b.npy"), npy::write(&values, &shape[1..])).expect("a file");
    check("b.npy", &[], exact);

    let named = |name: &str, tensor: RawTensor| (name.to_owned(), tensor);
    let latents = RawTensor::f32(&shape, &values);
    let without_batch = RawTensor::f32(&shape[1..], &values);
    let other = RawTensor::f32(&[2, 2], &[0.0; 4]);
    setup.write_latents(
        "three-axes.safetensors",
        &RawFile { tensors: [named("samples", without_batch)].into() },
    );
    check("three-axes.safetensors", &[], exact);
    setup.write_latents(
        "two.safetensors",
        &RawFile { tensors: [named("latents", latents.clone()), named("noise", other)].into() },
    );
    check("two.safetensors", &["--latents-key", "latents"], exact);

    // ComfyUI saves latents as its nodes have them, with an empty tensor as version.
    let version = RawTensor::f32(&[0], &[]);
    setup.write_latents(
        "comfy.latent",
        &RawFile {
            tensors: [named("latent_tensor", latents), named("latent_format_version_0", version)]
                .into(),
        },
    );
    check("comfy.latent", &[], exact);

    // Rounded latents make another picture, as far as rounding goes.
    let half = |dtype, bytes: Vec<u8>| RawFile {
        tensors: [named("latents", RawTensor { dtype, shape: shape.to_vec(), bytes })].into(),
    };
    let f16 = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    setup.write_latents("f16.safetensors", &half(Dtype::F16, f16));
    check("f16.safetensors", &[], 0.02);
    let bf16 = values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
    setup.write_latents("bf16.safetensors", &half(Dtype::BF16, bf16));
    check("bf16.safetensors", &[], 0.2);
}

/// What a pipeline gives with output_type="latent" is (z - shift) * scaling.
#[test]
fn latents_of_a_pipeline() {
    let setup = Setup::new("f2-complete");
    let mut config = json(&setup.golden.folder.join("config.json"));
    config["scaling_factor"] = 0.3611.into();
    config["shift_factor"] = 0.1159.into();
    let config_file = setup.path("config.json");
    std::fs::write(&config_file, config.to_string()).expect("a file");

    let mut latents = setup.golden.latents.clone();
    latents.data_mut().iter_mut().for_each(|z| *z = (*z - 0.1159) * 0.3611);
    let file = setup.write_latents("pipeline.safetensors", &RawFile::latents(&latents));
    let config_flag = config_file.to_str().expect("UTF-8");
    let flags = ["--config", config_flag, "--latent-space", "pipeline"];
    setup.decode_from(&file, "a.npy", &flags).expect_success();
    assert_f32_close("pipeline", &setup.read_npy("a.npy"), setup.golden.expected("whole"));

    setup.decode_from(&file, "b.npy", &flags[..2]).expect_success();
    let other = Difference::new(&setup.read_npy("b.npy"), setup.golden.expected("whole"));
    assert!(other.max_abs > 0.1, "without the flag they are taken as they are: {other:?}");
}

#[test]
fn report_says_what_was_done() {
    let setup = Setup::new("f4-batch");
    let report = setup.path("report.json");
    let report_flag = report.to_str().expect("UTF-8");
    let flags = ["--vae-patch-parallel-size", "3", "--report", report_flag];
    setup.decode("a.npy", &flags).expect_success();
    let report = json(&report);
    assert_eq!(report["strategy"], "tiled", "{report:#}");
    assert_eq!(report["ranks"]["requested"], 3, "{report:#}");
    assert_eq!(report["ranks"]["effective"], 3, "{report:#}");
    let notices = report["notices"].as_array().expect("notices");
    assert_eq!(notices.len(), 1, "{report:#}");
    assert!(notices[0].to_string().contains("tiling"), "{report:#}");

    // 11 x 21 cells in tiles of 8 with a step of 6: two rows of four, for each of two images.
    let pieces = report["pieces"].as_array().expect("pieces");
    assert_eq!(pieces.len(), 16, "{report:#}");
    let mut ranks: Vec<u64> = pieces.iter().map(|p| p["rank"].as_u64().expect("a rank")).collect();
    ranks.sort_unstable();
    ranks.dedup();
    assert_eq!(ranks, [0, 1, 2], "{report:#}");
    for piece in pieces {
        assert!(piece["seconds"].as_f64().expect("seconds") > 0.0, "{piece}");
    }
    let text = pieces.iter().map(Value::to_string).collect::<String>();
    assert!(text.contains("18"), "no piece starts at column 18: {report:#}");

    for part in ["load", "decode", "tuning", "stitch", "write"] {
        let seconds = report["seconds"][part].as_f64();
        assert!(seconds.is_some_and(|s| (0.0..60.0).contains(&s)), "{part}: {report:#}");
    }
    for kind in ["estimated", "measured"] {
        let bytes = report["peak_bytes"][kind].as_u64();
        assert!(bytes.is_some_and(|b| b > 100_000), "{kind}: {report:#}");
    }
    assert!(!report["ops"].as_array().expect("kinds of ops").is_empty(), "{report:#}");
    assert_eq!(listing(setup.folder.path()), ["a.npy", "report.json"]);

    setup.decode("a.npy", &["--report", report_flag, "--no-op-times"]).expect_success();
    let report = json(&setup.path("report.json"));
    assert!(report["ops"].as_array().expect("kinds of ops").is_empty(), "{report:#}");
    assert_eq!(report["pieces"].as_array().expect("pieces").len(), 2, "{report:#}");
}

#[test]
fn strategy_is_chosen_by_the_guide() {
    let setup = Setup::new("f8-sd");
    let report = setup.path("report.json");
    let strategy = |flags: &[&str]| {
        let mut all = flags.to_vec();
        all.extend(["--report", report.to_str().expect("UTF-8")]);
        setup.decode("a.npy", &all).expect_success();
        json(&report)["strategy"].as_str().expect("a strategy").to_owned()
    };
    assert_eq!(strategy(&[]), "whole");
    // 10 columns exceed a tile of 8.
    assert_eq!(strategy(&["--vae-use-tiling"]), "tiled");
    assert_eq!(strategy(&["--vae-patch-parallel-size", "2"]), "tiled");
    // Nothing exceeds a tile of 16.
    let large = ["--tile-sample-min-size", "128"];
    assert_eq!(strategy(&[&large[..], &["--vae-use-tiling"]].concat()), "whole");
    assert_eq!(strategy(&[&large[..], &["--vae-patch-parallel-size", "2"]].concat()), "patch");
    assert_eq!(strategy(&["--strategy", "patch", "--vae-patch-parallel-size", "4"]), "patch");
}

#[test]
fn other_tiles_than_the_models() {
    let setup = Setup::new("f2-complete");
    for (overlap, key) in
        [("0", "tiled_overlap_0"), ("0.5", "tiled_overlap_0.5"), ("0.75", "tiled_overlap_0.75")]
    {
        let flags = ["--strategy", "tiled", "--tile-overlap-factor", overlap];
        setup.decode("a.npy", &flags).expect_success();
        assert_f32_close(key, &setup.read_npy("a.npy"), setup.golden.expected(key));
    }
    // A tile as high and wide as everything is the whole.
    let flags = ["--strategy", "tiled", "--tile-sample-min-size", "64x64"];
    setup.decode("a.npy", &flags).expect_success();
    assert_f32_close("one tile", &setup.read_npy("a.npy"), setup.golden.expected("whole"));
    let flags = ["--strategy", "tiled", "--tile-sample-min-size", "64x16"];
    setup.decode("b.npy", &flags).expect_success();
    let columns = Difference::new(&setup.read_npy("b.npy"), setup.golden.expected("whole"));
    assert!(columns.max_abs > 0.01, "columns of tiles differ from the whole: {columns:?}");
}

#[test]
fn threads_and_ranks_do_not_change_tiles() {
    let setup = Setup::new("f8-flux");
    let bytes = |flags: &[&str]| {
        setup.decode("a.npy", &[&["--strategy", "tiled"], flags].concat()).expect_success();
        std::fs::read(setup.path("a.npy")).expect("the output")
    };
    let one = bytes(&["--threads", "1"]);
    for flags in [
        ["--threads", "3", "--vae-patch-parallel-size", "1"],
        ["--threads", "2", "--vae-patch-parallel-size", "2"],
        ["--threads", "1", "--vae-patch-parallel-size", "5"],
    ] {
        assert!(bytes(&flags) == one, "{flags:?}");
    }
}

#[test]
fn stderr_has_words_and_no_progress_bar() {
    let setup = Setup::new("f2-complete");
    let run = setup.decode("a.npy", &["--vae-patch-parallel-size", "2"]).expect_success();
    assert!(run.stderr.contains("tiling"), "tiling was switched on: {}", run.stderr);
    assert!(!run.stderr.contains(['\r', '\x1b', '█']), "{:?}", run.stderr);
    assert_eq!(run.stdout, "", "stdout is for what was asked to be printed");

    let quiet =
        setup.decode("a.npy", &["--quiet", "--vae-patch-parallel-size", "2"]).expect_success();
    assert_eq!(quiet.stderr, "");
    let verbose = setup.decode("a.npy", &["-v"]).expect_success();
    assert!(verbose.stderr.len() > run.stderr.len(), "{}", verbose.stderr);
    assert!(!verbose.stderr.contains(['\r', '\x1b', '█']), "{:?}", verbose.stderr);
    let has_head = verbose.stderr.lines().any(|line| line.ends_with("GFLOP/s"));
    assert!(has_head, "each kind of op has a line: {}", verbose.stderr);
}

/// The main job of README: the demo astronaut, tiled over four ranks, as a PNG.
#[test]
fn demo_astronaut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("astronaut.png");
    let mut command = binary::command(["decode", "--vae-use-tiling"]);
    command.args(["--vae-patch-parallel-size", "4"]);
    command.arg("--vae").arg(demo_folder().join("vae"));
    command.arg("--latents").arg(demo_folder().join("latents/astronaut.safetensors"));
    command.arg("--output").arg(&output);
    binary::run_command(command).expect_success();
    let picture = image::open(&output).expect("a PNG").to_rgb8();
    assert_eq!(picture.dimensions(), (512, 512));
    // The golden values keep every 7th row and column.
    let golden = halovae_tests::golden::folder().join("demo-vae/expected.safetensors");
    let expected = tensors::read(&golden).remove("tiled").expect("the tiled astronaut");
    let width = expected.shape().width;
    for (index, rgb) in expected.data().chunks_exact(3).enumerate() {
        let (row, column) = (7 * (index / width) as u32, 7 * (index % width) as u32);
        for (got, value) in picture.get_pixel(column, row).0.iter().zip(rgb) {
            assert!(got.abs_diff(to_byte(*value)) <= 1, "row {row}, column {column}");
        }
    }
}

/// Ctrl-C in the middle of a decode: nothing stays, neither output nor what it was to become.
#[cfg(unix)]
#[test]
fn interrupt_leaves_no_file() {
    let setup = Setup::new("f8-flux");
    // Many tiles of a small model: seconds of work, and rows in the file long before its end.
    let latents = halovae_tests::decode::random_tensor(
        halovae_engine::tensor::Shape::new(1, 300, 300, 16),
        1,
    );
    let latents = setup.write_latents("latents.safetensors", &RawFile::latents(&latents));
    for name in ["a.png", "a.npy", "a.webp"] {
        let outputs = tempfile::tempdir().expect("a temporary folder");
        let mut command = binary::command(["decode", "--threads", "1", "--vae-use-tiling"]);
        command.arg("--vae").arg(&setup.golden.folder).arg("--latents").arg(&latents);
        command.arg("--output").arg(outputs.path().join(name));
        command.arg("--report").arg(outputs.path().join("report.json"));
        let mut child = command.spawn().expect("the binary");
        binary::wait_until_writing(&mut child, outputs.path());
        let id = child.id().to_string();
        let kill = Command::new("kill").args(["-INT", &id]).status().expect("kill");
        assert!(kill.success(), "{name}: it ended before it was interrupted");
        let run = binary::finish(child);
        assert_eq!(run.status.code(), Some(130), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("halovae: error: cancelled"), "{name}: {}", run.stderr);
        assert_eq!(listing(outputs.path()), [""; 0], "{name}");
    }
}

/// Cut into shards, on several ranks or in turns with little memory: the picture of a whole decode,
/// and a report that says how.
#[test]
fn sharded_is_exact() {
    let setup = Setup::new("f8-flux");
    let scratch = setup.path("scratch");
    std::fs::create_dir(&scratch).expect("a folder");
    let scratch = scratch.to_str().expect("UTF-8").to_owned();
    let report = setup.path("report.json");
    let report_flag = report.to_str().expect("UTF-8").to_owned();
    let cases: [(&[&str], u64, u64); 3] = [
        (&["--vae-patch-parallel-size", "4"], 4, 4),
        (&["--shard-grid", "2x3"], 1, 6),
        (&["--shard-grid", "3x2", "--max-memory", "100MiB", "--scratch-dir", &scratch], 1, 6),
    ];
    for (flags, ranks, pieces) in cases {
        let common = ["--strategy", "sharded", "--report", &report_flag];
        setup.decode("sharded.npy", &[&common[..], flags].concat()).expect_success();
        let picture = setup.read_npy("sharded.npy");
        assert_f32_close(&format!("{flags:?}"), &picture, setup.golden.expected("whole"));
        let report = json(&report);
        assert_eq!(report["strategy"], "sharded", "{report:#}");
        assert_eq!(report["ranks"]["effective"].as_u64(), Some(ranks), "{report:#}");
        let listed = report["pieces"].as_array().expect("pieces").len() as u64;
        assert_eq!(listed, pieces, "{report:#}");
    }
    assert_eq!(std::fs::read_dir(&scratch).expect("the folder").count(), 0);
}
