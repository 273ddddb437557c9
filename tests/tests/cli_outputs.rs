//! Files that the command line writes: never onto what it reads, refused before a decode if they
//! cannot be, with as many bits and channels as asked for, and gone with a process that is killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::binary::{self, Run, listing};
use halovae_tests::decode::random_tensor;
use halovae_tests::disk::{CONFIG, RawFile, RawTensor, WEIGHTS, copy_checkpoint};
use halovae_tests::golden::Golden;
use halovae_tests::{npy, tensors};
use image::DynamicImage;
use tempfile::TempDir;

/// A folder with a copy of a golden model's folder `vae` and its latents `latents.safetensors`.
struct Setup {
    folder: TempDir,
}

impl Setup {
    fn new(name: &str) -> Self {
        let (golden, folder) = (Golden::load(name), tempfile::tempdir().expect("a folder"));
        copy_checkpoint(&golden.folder, &folder.path().join("vae"));
        RawFile::latents(&golden.latents).write(&folder.path().join("latents.safetensors"));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs in the folder, with these words as arguments.
    fn run(&self, line: &str) -> Run {
        let mut command = binary::command(line.split_whitespace());
        command.current_dir(self.folder.path());
        binary::run_command(command)
    }

    /// `decode` of the latents with further flags.
    fn decode(&self, flags: &str) -> Run {
        self.run(&format!("decode --vae vae --latents latents.safetensors {flags}"))
    }

    /// Every file below the folder with its content, and links as such.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut contents = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for name in listing(&folder) {
                let path = folder.join(name);
                let kind = path.symlink_metadata().expect("an entry").file_type();
                let content = if kind.is_symlink() {
                    let to = path.read_link().expect("a link");
                    format!("a link to {}", to.display()).into_bytes()
                } else if kind.is_dir() {
                    folders.push(path.clone());
                    b"a folder".to_vec()
                } else {
                    std::fs::read(&path).expect("a file of the test's own")
                };
                contents.insert(path, content);
            }
        }
        contents
    }

    /// Fails unless the run is refused as bad usage, in one line with these words, and nothing in the
    /// folder changes.
    #[track_caller]
    fn assert_refused(&self, line: &str, words: &[&str]) {
        let before = self.contents();
        let run = self.run(line);
        assert_eq!(run.status.code(), Some(2), "{line}\n{}", run.stderr);
        let errors: Vec<_> =
            run.stderr.lines().filter(|line| line.starts_with("halovae: error: ")).collect();
        assert_eq!(errors.len(), 1, "{line}\n{}", run.stderr);
        for word in words {
            assert!(errors[0].contains(word), "{line}\n{word:?} is not in {}", errors[0]);
        }
        let after = self.contents();
        assert!(before == after, "{line} changed the folder: {:?}", after.keys());
    }

    #[track_caller]
    fn assert_decode_refused(&self, flags: &str, words: &[&str]) {
        let line = format!("decode --vae vae --latents latents.safetensors {flags}");
        self.assert_refused(&line, words);
    }
}

/// Splits the weights in two shards with an index, in a folder of their own.
fn shard(from: &Path, to: &Path) {
    let weights = RawFile::read(&from.join(WEIGHTS));
    std::fs::create_dir(to).expect("a folder");
    std::fs::copy(from.join(CONFIG), to.join(CONFIG)).expect("a config");
    let mut shards = [RawFile::default(), RawFile::default()];
    let mut map = serde_json::Map::new();
    for (index, (name, tensor)) in weights.tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", index % 2).into());
        shards[index % 2].tensors.insert(name, tensor);
    }
    for (index, shard) in shards.iter().enumerate() {
        shard.write(&to.join(format!("part-{index}.safetensors")));
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    std::fs::write(to.join(format!("{WEIGHTS}.index.json")), index).expect("an index");
}

#[test]
fn no_command_writes_onto_what_it_reads() {
    let setup = Setup::new("f2-complete");
    shard(&setup.path("vae"), &setup.path("sharded"));
    std::fs::create_dir(setup.path("pipeline")).expect("a folder");
    copy_checkpoint(&setup.path("vae"), &setup.path("pipeline/vae"));
    std::fs::create_dir(setup.path("planned")).expect("a folder");
    for copy in ["planned/config.json", "other.json"] {
        std::fs::copy(setup.path("vae/config.json"), setup.path(copy)).expect("a config");
    }
    copy_checkpoint(&setup.path("vae"), &setup.path("hub/models--o--n/snapshots/0a/vae"));
    let cached = "hub/models--o--config/snapshots/0a";
    std::fs::create_dir_all(setup.path(cached)).expect("folders");
    std::fs::copy(setup.path("vae/config.json"), setup.path(cached).join(CONFIG))
        .expect("a config");
    for model in ["hub/models--o--n", "hub/models--o--config"] {
        std::fs::create_dir(setup.path(model).join("refs")).expect("a folder");
        std::fs::write(setup.path(model).join("refs/main"), "0a").expect("a reference");
    }
    let weights = format!("vae/{WEIGHTS}");
    std::fs::hard_link(setup.path(&weights), setup.path("hard.safetensors")).expect("a link");
    let latents = setup.path("latents.safetensors");
    std::fs::hard_link(&latents, setup.path("hard-latents.safetensors")).expect("a link");
    #[cfg(unix)]
    for (to, link) in [
        (weights.as_str(), "soft.safetensors"),
        ("soft.safetensors", "softer.safetensors"),
        ("vae", "folder"),
        ("latents.safetensors", "picture.npy"),
    ] {
        std::os::unix::fs::symlink(to, setup.path(link)).expect("a link");
    }

    let overwrite = ["would overwrite"];
    let mut outputs = vec![
        ("vae", format!("--output {weights}")),
        ("vae", format!("--output vae/../{weights}")),
        ("vae", "--output hard.safetensors".into()),
        ("vae", "--output latents.safetensors".into()),
        ("vae", "--output hard-latents.safetensors".into()),
        ("pipeline", format!("--output pipeline/vae/{WEIGHTS}")),
        ("pipeline", "--output a.png --report pipeline/vae/config.json".into()),
        ("vae", "--output a.png --report vae/config.json".into()),
        ("vae", format!("--output a.png --report {weights}")),
        ("vae", "--output a.png --report latents.safetensors".into()),
        (weights.as_str(), "--output a.png --report vae/config.json".into()),
        (weights.as_str(), format!("--output {weights}")),
        ("vae", "--config other.json --output a.png --report other.json".into()),
        ("sharded", "--output sharded/part-0.safetensors".into()),
        ("sharded", "--output sharded/part-1.safetensors".into()),
        ("sharded", format!("--output a.png --report sharded/{WEIGHTS}.index.json")),
        ("sharded", "--output a.png --report sharded/config.json".into()),
        ("hub/models--o--n", "--output a.png --report hub/models--o--n/refs/main".into()),
    ];
    if cfg!(unix) {
        outputs.extend([
            ("vae", "--output soft.safetensors".to_owned()),
            ("vae", "--output softer.safetensors".into()),
            ("vae", format!("--output folder/{WEIGHTS}")),
            ("vae", "--output picture.npy".into()),
            ("vae", "--output a.png --report folder/config.json".into()),
            ("folder", format!("--output {weights}")),
        ]);
    }
    for (vae, flags) in &outputs {
        let line = format!("decode --vae {vae} --latents latents.safetensors {flags}");
        setup.assert_refused(&line, &overwrite);
    }

    let size = "--height 64 --width 64";
    for line in [
        format!("plan --vae vae {size} --output vae/config.json"),
        format!("plan --vae vae {size} --output {weights} --format svg"),
        format!("plan --vae vae {size} --output hard.safetensors --format json"),
        format!("plan --vae vae --compare --compare-ranks 1 {size} --output {weights}"),
        format!("plan --vae planned {size} --output planned/config.json"),
        format!("plan --vae vae --config other.json {size} --output other.json"),
        format!("plan --vae planned --config other.json {size} --output other.json"),
        format!("plan --vae planned --config other.json {size} --output planned/config.json"),
        format!("plan --vae hub/models--o--n {size} --output hub/models--o--n/refs/main"),
        format!("plan --vae hub/models--o--config {size} --output hub/models--o--config/refs/main"),
        format!("plan --vae sharded {size} --output sharded/{WEIGHTS}.index.json"),
    ] {
        setup.assert_refused(&line, &overwrite);
    }
    // What is not read may be replaced: the config that another one stands in for, and its neighbours.
    setup.decode("--config other.json --output a.npy --report vae/config.json").expect_success();
    setup.decode("--config other.json --output vae/a.npy").expect_success();
}

/// The names of a batch are what is written, whatever their extension says of them.
#[test]
fn numbered_files_are_held_against_inputs_and_reports() {
    let setup = Setup::new("f4-batch");
    let values = tensors::channels_first(&Golden::load("f4-batch").latents);
    std::fs::write(setup.path("a-1.png"), npy::write(&values.0, &values.1)).expect("latents");
    let line = "decode --vae vae --latents a-1.png --output a.png";
    setup.assert_refused(line, &["would overwrite", "a-1.png"]);
    let same = ["same file", "--report", "--output"];
    setup.assert_decode_refused("--output b.png --report b-1.png", &same);
    setup.assert_decode_refused("--output b.png --report vae/../b-0.png", &same);
    setup.assert_decode_refused("--output b.npy --report ./b.npy", &same);
    #[cfg(unix)]
    {
        std::fs::write(setup.path("one.png"), "one").expect("a file");
        for link in ["c-0.png", "c-1.png"] {
            std::os::unix::fs::symlink("one.png", setup.path(link)).expect("a link");
        }
        setup.assert_decode_refused("--output c.png", &["same file", "c-0.png", "c-1.png"]);
    }
    // The name that is given is not written.
    setup.decode("--output d.png --report d.png").expect_success();
}

/// All of these are refused as bad usage: what fails after a decode ends otherwise.
#[test]
fn outputs_that_cannot_be_are_refused_before_the_decode() {
    let setup = Setup::new("f4-batch");
    let long = |length: usize, end: &str| "a".repeat(length - end.len()) + end;
    setup.assert_decode_refused(&format!("--output {}", long(256, ".npy")), &["256 bytes"]);
    // 254 bytes, and 256 with the number.
    setup.assert_decode_refused(
        &format!("--output {}", long(254, ".png")),
        &["256 bytes", "-0.png"],
    );
    let report = format!("--output a.npy --report {}", long(256, ".json"));
    setup.assert_decode_refused(&report, &["256 bytes", "shorter"]);
    let deep = format!("--output {}a.npy", "vae/../".repeat(600));
    setup.assert_decode_refused(&deep, &["a.npy"]);
    let plan = "plan --scale 8 --tile-sample-min-size 512 --height 512 --width 512";
    setup.assert_refused(&format!("{plan} --output {}", long(256, ".svg")), &["256 bytes"]);

    std::fs::create_dir(setup.path("b-1.png")).expect("a folder");
    setup.assert_decode_refused("--output b.png", &["b-1.png", "folder"]);
    setup.assert_decode_refused("--output none/a.png", &["none", "create it first"]);
    setup.assert_decode_refused("--output a.png --report none/a.json", &["none"]);
    setup.assert_decode_refused("--output a.bmp", &[".bmp"]);
    for end in ["/", "/.", "/./", "/.."] {
        for there in ["new", "config"] {
            std::fs::write(setup.path("config.npy"), "old").expect("a file");
            let folder = ["name of a folder"];
            setup.assert_decode_refused(&format!("--output {there}.npy{end}"), &folder);
            let report = format!("--output a.npy --report {there}.npy{end}");
            setup.assert_decode_refused(&report, &folder);
            setup.assert_refused(&format!("{plan} --output {there}.npy{end}"), &folder);
        }
    }
    #[cfg(unix)]
    {
        for link in ["link.npy", "c-1.png", "link.json"] {
            std::os::unix::fs::symlink("nowhere/at-all", setup.path(link)).expect("a link");
        }
        let link = ["is a link to `nowhere/at-all`", "remove the link"];
        setup.assert_decode_refused("--output link.npy", &link);
        setup.assert_decode_refused("--output c.png", &link);
        setup.assert_decode_refused("--output a.npy --report link.json", &link);
        setup.assert_refused(&format!("{plan} --output link.json"), &link);
        std::os::unix::fs::symlink("loop.npy", setup.path("loop.npy")).expect("a link");
        setup.assert_decode_refused("--output loop.npy", &["is a link to `loop.npy`"]);
    }
    for format in ["jpg", "webp", "npy", "safetensors"] {
        let flags = format!("--bit-depth 16 --output a.{format}");
        setup.assert_decode_refused(&flags, &["--bit-depth", ".png or .tiff"]);
    }
    let sharded = "--strategy sharded --max-memory 1GiB --output a.png --scratch-dir";
    setup.assert_decode_refused(&format!("{sharded} none"), &["none", "--scratch-dir"]);
    setup.assert_decode_refused(&format!("{sharded} latents.safetensors"), &["--scratch-dir"]);
    setup.assert_decode_refused("--bit-depth 12 --output a.png", &["--bit-depth"]);

    // The longest names that there can be.
    let flags = format!("--output {} --report {}", long(255, ".npy"), long(255, ".json"));
    setup.decode(&flags).expect_success();
    setup.decode(&format!("--output {}", long(253, ".png"))).expect_success();
}

/// All files get their names, or none does.
#[cfg(unix)]
#[test]
fn a_report_that_cannot_be_written_leaves_the_old_picture() {
    let setup = Setup::new("f2-complete");
    // A picture of a few bytes, so that the report is what there is no room for.
    let latents = random_tensor(Shape::new(1, 2, 2, 4), 1);
    RawFile::latents(&latents).write(&setup.path("latents.safetensors"));
    for name in ["a.png", "r.json"] {
        std::fs::write(setup.path(name), "old").expect("a file");
    }
    let before = setup.contents();
    let limited = |flags: &str| {
        let mut command = Command::new("sh");
        // Files of one block, beyond which a write fails.
        command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]).arg(binary::path());
        let line = format!("decode --backend cpu --vae vae --latents latents.safetensors {flags}");
        command.args(line.split(' ')).current_dir(setup.folder.path());
        binary::run_command(command)
    };
    let run = limited("--output a.png --report r.json");
    assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
    assert_eq!(run.stderr.matches("cannot write `r.json`").count(), 1, "{}", run.stderr);
    let after = setup.contents();
    assert!(before == after, "the folder changed: {:?}", after.keys());
    // There is room for the picture.
    limited("--output a.png").expect_success();
    assert_ne!(std::fs::read(setup.path("a.png")).expect("a picture"), b"old");
}

/// As it does for most programs, unless it is a part of a path.
#[test]
fn a_dash_is_stdout() {
    let setup = Setup::new("f2-complete");
    let plan = "plan --vae vae --height 64 --width 64 --format json";
    let expected = setup.run(plan).expect_success().stdout;
    let before = setup.contents();
    let run = setup.run(&format!("{plan} --output -"));
    assert!(before == setup.contents(), "a file was written");
    assert_eq!(run.expect_success().stdout, expected);
    setup.run(&format!("{plan} --output ./-")).expect_success();
    assert_eq!(std::fs::read(setup.path("-")).expect("a plan"), expected.as_bytes());

    std::fs::remove_file(setup.path("-")).expect("a plan");
    let run = setup.decode("--output a.png --report -").expect_success();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["output"], serde_json::json!(["a.png"]));
    assert!(setup.path("a.png").exists() && !setup.path("-").exists());
}

/// As `cp` has it: who may not write to a file is refused, and who may (root may always) leaves its
/// mode as it is.
#[cfg(unix)]
#[test]
fn modes_of_outputs_are_kept() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new("f4-batch");
    let is_allowed = |mode: u32| {
        let path = setup.path("probe");
        std::fs::write(&path, "old").expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its owner");
        let is_allowed = std::fs::OpenOptions::new().write(true).open(&path).is_ok();
        std::fs::remove_file(path).expect("a file");
        is_allowed
    };
    for mode in [0o444, 0o600, 0o640, 0o666] {
        let files = ["a.npy", "b-0.png", "report.json"];
        for flags in ["--output a.npy --report report.json", "--output b.png"] {
            for name in files {
                let path = setup.path(name);
                std::fs::write(&path, "old").expect("a file");
                std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("its owner");
            }
            match is_allowed(mode) {
                true => drop(setup.decode(flags).expect_success()),
                false => setup.assert_decode_refused(flags, &["protected"]),
            }
            for name in files {
                let found = setup.path(name).metadata().expect("a file").permissions().mode();
                assert_eq!(found & 0o777, mode, "{name} after {flags}");
                std::fs::remove_file(setup.path(name)).expect("a file");
            }
        }
    }
}

/// Root may write to any file; the same command without that privilege is refused before it decodes.
#[cfg(target_os = "linux")]
#[test]
fn protected_files_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::new("f4-batch");
    let cases = [
        ("a.npy", "--output a.npy"),
        ("b-1.png", "--output b.png"),
        ("report.json", "--output c.npy --report report.json"),
    ];
    for (name, flags) in cases {
        let path = setup.path(name);
        std::fs::write(&path, "old").expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).expect("its owner");
        let is_privileged = std::fs::OpenOptions::new().write(true).open(&path).is_ok();
        let mut command = match is_privileged {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--bounding-set=-dac_override", "--inh-caps=-dac_override"]);
                command.arg(binary::path());
                command
            }
            false => Command::new(binary::path()),
        };
        let line = format!("decode --quiet --vae vae --latents latents.safetensors {flags}");
        command.args(line.split_whitespace()).current_dir(setup.folder.path());
        let before = setup.contents();
        let run = binary::run_command(command);
        assert_eq!(run.status.code(), Some(2), "{flags}: {}", run.stderr);
        assert!(run.stderr.contains(name) && run.stderr.contains("protected"), "{}", run.stderr);
        assert!(before == setup.contents(), "{flags} changed the folder");
    }
}

/// The values of a raw output, channels last.
fn raw(path: &Path) -> HostTensor {
    let (values, shape) = npy::read(&std::fs::read(path).expect("an output"));
    tensors::channels_last(&values, shape.try_into().expect("NCHW"))
}

/// What a value is of `levels` levels, halves to even.
fn level(value: f32, levels: u16) -> u16 {
    let unit = (f64::from(value) * 0.5 + 0.5).clamp(0.0, 1.0);
    (unit * f64::from(levels)).round_ties_even() as u16
}

fn samples(picture: DynamicImage) -> (Vec<u16>, u16) {
    let wide = |bytes: Vec<u8>| (bytes.into_iter().map(u16::from).collect(), 255);
    match picture {
        DynamicImage::ImageRgb8(picture) => wide(picture.into_raw()),
        DynamicImage::ImageRgba8(picture) => wide(picture.into_raw()),
        DynamicImage::ImageRgb16(picture) => (picture.into_raw(), 65535),
        DynamicImage::ImageRgba16(picture) => (picture.into_raw(), 65535),
        other => panic!("{:?} is no colour of these tests", other.color()),
    }
}

/// Fails unless the pictures, one for each image of `values`, are these values in as many levels.
#[track_caller]
fn assert_pictures(setup: &Setup, name: &str, values: &HostTensor, levels: u16) {
    let shape = values.shape();
    let (stem, extension) = name.split_once('.').expect("an extension");
    let per_image = shape.height * shape.width * shape.channels;
    for (image, values) in values.data().chunks_exact(per_image).enumerate() {
        let picture = image::open(setup.path(&format!("{stem}-{image}.{extension}")));
        let picture = picture.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            (picture.width() as usize, picture.height() as usize),
            (shape.width, shape.height)
        );
        assert_eq!(picture.color().has_alpha(), shape.channels == 4, "{name}");
        let (found, found_levels) = samples(picture);
        assert_eq!(found_levels, levels, "{name}");
        assert_eq!(found.len(), values.len(), "{name}");
        for (index, (&found, &value)) in found.iter().zip(values).enumerate() {
            // 8 bits are computed in f32, as ever: a value within its rounding of a half may fall to
            // the other side.
            let expected = level(value, levels);
            let is_close = levels == 255 && found.abs_diff(expected) <= 1;
            let unit = (f64::from(value) * 0.5 + 0.5) * f64::from(levels);
            let is_half = (unit.fract() - 0.5).abs() < 1e-4;
            assert!(
                found == expected || (is_close && is_half),
                "{name}, {index}: {found}, {value}"
            );
        }
    }
}

#[test]
fn sixteen_bits_a_channel() {
    let setup = Setup::new("f4-batch");
    setup.decode("--output raw.npy").expect_success();
    let values = raw(&setup.path("raw.npy"));
    for name in ["a.png", "a.tiff"] {
        setup.decode(&format!("--bit-depth 16 --output {name}")).expect_success();
        assert_pictures(&setup, name, &values, 65535);
        setup.decode(&format!("--bit-depth 8 --output {name}")).expect_success();
        assert_pictures(&setup, name, &values, 255);
    }
}

/// A decoder of four channels, the last of them alpha.
#[test]
fn the_fourth_channel_is_alpha() {
    let setup = Setup::new("f4-batch");
    let mut weights = RawFile::read(&setup.path("vae").join(WEIGHTS));
    for name in ["decoder.conv_out.weight", "decoder.conv_out.bias"] {
        let mut shape = weights.tensors[name].shape.clone();
        shape[0] = 4;
        let count = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|i: usize| (i * 7 % 13) as f32 / 26.0 - 0.25).collect();
        weights.tensors.insert(name.into(), RawTensor::f32(&shape, &values));
    }
    weights.write(&setup.path("vae").join(WEIGHTS));
    let config = setup.path("vae").join(CONFIG);
    let text = std::fs::read_to_string(&config).expect("a config");
    let text = text.replace("\"out_channels\": 3", "\"out_channels\": 4");
    std::fs::write(config, text).expect("a config");

    setup.decode("--output raw.npy").expect_success();
    let values = raw(&setup.path("raw.npy"));
    assert_eq!(values.shape().channels, 4, "raw values keep every channel");
    for (name, depth, levels) in [
        ("a.png", 8, 255),
        ("a.png", 16, 65535),
        ("a.tiff", 8, 255),
        ("a.tiff", 16, 65535),
        ("a.webp", 8, 255),
    ] {
        setup.decode(&format!("--bit-depth {depth} --output {name}")).expect_success();
        assert_pictures(&setup, name, &values, levels);
    }
    setup.assert_decode_refused("--output a.jpg", &["transparency", ".png", ".tiff", ".webp"]);
}

/// A batch takes one open file at a time, however many images it has.
#[cfg(unix)]
#[test]
fn a_batch_of_more_images_than_files_can_be_open() {
    const IMAGES: usize = 100;
    let setup = Setup::new("f2-complete");
    let latents = random_tensor(Shape::new(IMAGES, 2, 2, 4), 1);
    RawFile::latents(&latents).write(&setup.path("latents.safetensors"));
    std::fs::create_dir(setup.path("out")).expect("a folder");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(binary::path());
    command.args("decode --vae vae --latents latents.safetensors --output out/a.png".split(' '));
    command.args(["--backend", "cpu"]).current_dir(setup.folder.path());
    binary::run_command(command).expect_success();
    assert_eq!(listing(&setup.path("out")).len(), IMAGES);
}

/// Killed in the middle, a decode of one file leaves nothing, and one of several leaves what the next
/// run to that folder removes, but not while it lives.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_decode_leaves_nothing_for_long() {
    let setup = Setup::new("f8-flux");
    for (images, name) in [(1, "a.png"), (1, "a.npy"), (2, "a.png")] {
        // Many tiles of a small model: seconds of work.
        let latents = random_tensor(Shape::new(images, 300, 300, 16), 1);
        RawFile::latents(&latents).write(&setup.path("latents.safetensors"));
        let outputs = setup.path(&format!("{images}-{name}"));
        std::fs::create_dir(&outputs).expect("a folder");
        let output = outputs.join(name);
        let plan = |expected: &[&str]| {
            let flags =
                "plan --scale 8 --tile-sample-min-size 512 --height 512 --width 512 --output";
            let mut arguments: Vec<OsString> = flags.split(' ').map(Into::into).collect();
            arguments.push(outputs.join("plan.txt").into());
            binary::run(arguments).expect_success();
            std::fs::remove_file(outputs.join("plan.txt")).expect("the plan");
            let left = listing(&outputs);
            let is_as_expected = left.len() == expected.len()
                && left.iter().zip(expected).all(|(name, end)| name.ends_with(end));
            assert!(is_as_expected, "{left:?}, expected {expected:?}");
        };
        let mut command = binary::command(["decode", "--threads", "1", "--vae-use-tiling"]);
        command.args(["--backend", "cpu", "--vae", "vae", "--latents", "latents.safetensors"]);
        command.arg("--output").arg(&output).current_dir(setup.folder.path());
        let mut child = binary::spawn(command);
        binary::wait_until_writing(&mut child, &outputs);
        // On a file system without nameless files, one file is as several.
        let is_named = images > 1 || !listing(&outputs).is_empty();
        let pending = if is_named { &[".partial"][..] } else { &[] };
        // It must not end meanwhile.
        let stop = Command::new("kill").args(["-STOP", &child.id().to_string()]).status();
        assert!(stop.expect("kill").success());
        plan(pending);
        child.kill().expect("a child of this process");
        child.wait().expect("a child of this process");
        plan(&[]);
    }
}
