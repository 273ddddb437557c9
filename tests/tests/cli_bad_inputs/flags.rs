//! Outputs that cannot be, and flags that are wrong.

use std::process::{Command, Stdio};

use halovae_tests::disk::{CONFIG, RawTensor};
use halovae_tests::{binary, npy};

use crate::{OUT, Setup, Way, decode_arguments};

pub(crate) fn outputs(setup: &mut Setup) {
    setup.decode("an unknown extension", &["a.bmp", ".bmp", ".png"], "a.bmp", "");
    setup.decode("no extension", &["extension", ".png"], "picture", "");
    setup.decode("an extension of a line break", &["extension"], "a.p\u{1b}ng", "");
    setup.decode("a missing folder", &["none", "does not exist"], "none/a.png", "");
    setup.decode("a folder", &["folder.png", "folder"], "folder.png", "");
    setup.decode("a name that ends as a folder's", &["folder"], "a.png/", "");
    setup.decode("a file for a folder", &["existing.png"], "existing.png/a.png", "");
    if cfg!(unix) {
        setup.decode("a device", &["/dev/full"], "/dev/full", "");
    }
    setup.decode(
        "a report in a missing folder",
        &["none", "report.json"],
        "a.png",
        "--report {out}/none/report.json",
    );
    setup.decode("a report for a folder", &["folder.png"], "a.png", "--report {out}/folder.png");

    // One row of cells, wide enough for a picture of 65536 columns.
    let wide = setup.file("wide.npy", npy::write(&vec![0.5; 4 * 32768], &[1, 4, 1, 32768]));
    let vae = setup.golden.folder.clone();
    let arguments = decode_arguments(&vae, &wide, "a.jpg", "");
    setup.add("a picture too wide for JPEG", &["65536", "65535", "JPEG"], arguments);
    setup.of_flags();
    let arguments = decode_arguments(&vae, &wide, "a.webp", "");
    setup.add("a picture too wide for WebP", &["65536", "16383", "WebP"], arguments);
    setup.of_flags();
    let grey = setup.with_changed("five-channels", |file| {
        file.tensors.insert(
            "decoder.conv_out.weight".into(),
            RawTensor::f32(&[5, 16, 3, 3], &[0.1; 5 * 16 * 9]),
        );
        file.tensors.insert("decoder.conv_out.bias".into(), RawTensor::f32(&[5], &[0.0; 5]));
    });
    let text = std::fs::read_to_string(grey.join(CONFIG)).expect("a config");
    std::fs::write(grey.join(CONFIG), text.replace("\"out_channels\": 3", "\"out_channels\": 5"))
        .expect("a config");
    setup.vae("five channels in a PNG", &["5 channels", ".npy"], &grey);
    setup.of_flags();

    if cfg!(unix) {
        for output in ["a.png", "a.jpg", "a.webp", "a.tiff", "a.npy", "a.safetensors", "a.mp4"] {
            setup.decode("a full disk", &["cannot write"], output, "");
            setup.on(Way::FullDisk);
        }
        setup.decode("a full disk and frames", &["cannot write"], "a.png", "--animated");
        setup.on(Way::FullDisk);
        let words = &["cannot write", "ffmpeg failed"];
        for (output, codec) in [("a.mkv", "ffv1"), ("a.mp4", "png"), ("a.mov", "png")] {
            setup.decode("a full disk and ffmpeg", words, output, &format!("--codec {codec}"));
            setup.on(Way::FullDisk);
        }
        setup.decode("a full disk and an existing file", &["existing.png"], "existing.png", "");
        setup.on(Way::FullDisk);
    }
}

pub(crate) fn decode_flags(setup: &mut Setup) {
    let mut flags = |what, words, flags: &str| setup.decode(what, words, "a.png", flags);
    flags("zero ranks", &["--vae-patch-parallel-size is 0"], "--vae-patch-parallel-size 0");
    flags("negative ranks", &["vae-patch-parallel-size"], "--vae-patch-parallel-size=-1");
    flags(
        "more ranks than u32",
        &["vae-patch-parallel-size"],
        "--vae-patch-parallel-size 4294967296",
    );
    flags(
        "u32::MAX ranks",
        &["4294967295"],
        "--vae-patch-parallel-size 4294967295 --strategy patch",
    );
    flags("u32::MAX ranks, tiled", &["4294967295"], "--vae-patch-parallel-size 4294967295");
    flags("zero threads", &["threads"], "--threads 0");
    flags("absurdly many threads", &["threads"], "--threads 1000000");
    flags("overlap of 1", &["overlap", "below 1"], "--vae-use-tiling --tile-overlap-factor 1");
    flags("overlap above 1", &["overlap", "below 1"], "--vae-use-tiling --tile-overlap-factor 1.5");
    flags("negative overlap", &["overlap"], "--vae-use-tiling --tile-overlap-factor=-0.25");
    flags("overlap that is NaN", &["overlap"], "--vae-use-tiling --tile-overlap-factor nan");
    flags("overlap that is infinite", &["overlap"], "--vae-use-tiling --tile-overlap-factor inf");
    flags(
        "overlap of part of a cell",
        &["overlap", "whole"],
        "--vae-use-tiling --tile-overlap-factor 0.3",
    );
    flags(
        "overlap of almost all",
        &["overlap", "tiles over one pixel"],
        "--vae-use-tiling --tile-sample-min-size 256 --tile-overlap-factor 0.9921875",
    );
    flags("overlap that is a word", &["overlap"], "--tile-overlap-factor half");
    flags("a tile of 0", &["tile", "0"], "--vae-use-tiling --tile-sample-min-size 0");
    flags(
        "a tile of part of a cell",
        &["--tile-sample-min-size"],
        "--vae-use-tiling --tile-sample-min-size 15",
    );
    flags("a tile less than a cell", &["tile"], "--vae-use-tiling --tile-sample-min-size 1");
    flags("a tile of three sides", &["tile-sample-min-size"], "--tile-sample-min-size 16x16x16");
    flags("a tile beyond u32", &["tile-sample-min-size"], "--tile-sample-min-size 4294967296");
    flags(
        "tiles of frames of images",
        &["--tile-sample-min-frames", "decodes images"],
        "--tile-sample-min-frames 16",
    );
    flags("an unknown strategy", &["strategy", "diagonal"], "--strategy diagonal");
    flags("a strategy of another version", &["strategy"], "--strategy");
    flags("shards of another strategy", &["--shard-grid", "sharded"], "--shard-grid 2x2");
    flags("shards in one number", &["shard-grid"], "--strategy sharded --shard-grid 4");
    flags("no shards", &["at least 1 along each axis", "0"], "--strategy sharded --shard-grid 0x2");
    flags("a memory for no shards", &["--max-memory", "sharded"], "--max-memory 1GiB");
    flags("no memory", &["max-memory"], "--strategy sharded --max-memory 0");
    flags("a memory in words", &["max-memory"], "--strategy sharded --max-memory much");
    flags("a memory that nothing fits", &["least"], "--strategy sharded --max-memory 1MiB");
    flags("scratch without a bound", &["max-memory"], "--strategy sharded --scratch-dir /");
    flags(
        "u32::MAX shards",
        &["4294967295"],
        "--strategy sharded --vae-patch-parallel-size 4294967295",
    );
    flags("an unknown backend", &["backend", "abacus"], "--backend abacus");
    flags("an unknown space", &["latent-space"], "--latent-space outer");
    flags("an unknown flag", &["--fast"], "--fast");
    flags("quiet and verbose", &["--quiet"], "--quiet --verbose");
    flags("a word too many", &["again"], "again");
    flags("a flag twice", &["strategy"], "--strategy whole --strategy tiled");

    setup.flags(
        "more shards than take turns",
        &["150000", "1024"],
        "plan --scale 8 --tile-sample-min-size 512 --latent-height 300 --latent-width 500 \
         --strategy sharded --shard-grid 300x500",
    );
    setup.flags("no latents", &["--latents"], "decode --vae somewhere --output a.png");
    setup.flags("no vae", &["--vae"], "decode --latents a.npy --output a.png");
    setup.flags("no output", &["--output"], "decode --vae somewhere --latents a.npy");
    setup.flags("an empty vae", &["--vae"], "decode --vae= --latents a.npy --output a.png");
}

pub(crate) fn plans(setup: &mut Setup) {
    const SIZE: &str = "--height 1024 --width 1024";
    const MODEL: &str = "--scale 8 --tile-sample-min-size 512";
    let mut plan = |what, words, line: &str| setup.flags(what, words, &format!("plan {line}"));
    plan("neither vae nor scale", &["--vae", "--scale"], SIZE);
    plan("both vae and scale", &["--scale"], &format!("{SIZE} {MODEL} --vae somewhere"));
    plan("a scale and no tile", &["tile-sample-min-size"], &format!("{SIZE} --scale 8"));
    plan("no size", &["--height"], MODEL);
    plan("no width", &["--width"], &format!("{MODEL} --height 1024"));
    plan("a height twice", &["height"], &format!("{MODEL} {SIZE} --latent-height 128"));
    plan("zero height", &["height"], &format!("{MODEL} --height 0 --width 1024"));
    plan("zero latent width", &["width"], &format!("{MODEL} --height 1024 --latent-width 0"));
    plan("a scale of 0", &["scale"], &format!("{SIZE} --scale 0 --tile-sample-min-size 512"));
    plan("part of a cell", &["1001", "8"], &format!("{MODEL} --height 1001 --width 1024"));
    plan(
        "a picture beyond u32",
        &["4294967295"],
        &format!("{MODEL} --latent-height 4294967295 --latent-width 1"),
    );
    plan("a height beyond u32", &["--height"], &format!("{MODEL} --height 4294967296 --width 8"));
    plan("negative height", &["--height"], &format!("{MODEL} --height=-8 --width 8"));
    plan(
        "zero ranks",
        &["--vae-patch-parallel-size"],
        &format!("{SIZE} {MODEL} --vae-patch-parallel-size 0"),
    );
    for flag in [
        "data-parallel-size",
        "cfg-parallel-size",
        "ulysses-degree",
        "ring-degree",
        "pipeline-parallel-size",
        "tensor-parallel-size",
    ] {
        plan("a group factor of 0", &["is 0"], &format!("{SIZE} {MODEL} --{flag} 0"));
    }
    plan(
        "a group that overflows",
        &["ulysses_degree", "4294967295"],
        &format!("{SIZE} {MODEL} --data-parallel-size 65536 --ulysses-degree 65536"),
    );
    plan(
        "overlap of 1",
        &["overlap", "below 1"],
        &format!("{SIZE} {MODEL} --vae-use-tiling --tile-overlap-factor 1"),
    );
    plan(
        "a tile of 0",
        &["tile", "0"],
        &format!("{SIZE} --scale 8 --tile-sample-min-size 0 --vae-use-tiling"),
    );
    plan(
        "tiles that disagree",
        &["tile_latent_min_size"],
        &format!("{SIZE} {MODEL} --tile-latent-min-size 63 --vae-use-tiling"),
    );
    plan(
        "a stride of 0",
        &["tile-sample-stride", "multiple of 8"],
        &format!("{SIZE} {MODEL} --tile-sample-stride 0 --vae-use-tiling"),
    );
    plan(
        "a stride beyond the tile",
        &["gaps"],
        &format!("{SIZE} {MODEL} --tile-sample-stride 520 --vae-use-tiling"),
    );
    plan(
        "a stride of part of a cell",
        &["multiple"],
        &format!("{SIZE} {MODEL} --tile-sample-stride 300 --vae-use-tiling"),
    );
    plan(
        "stride and overlap",
        &["tile-overlap-factor"],
        &format!("{SIZE} {MODEL} --tile-sample-stride 384 --tile-overlap-factor 0.25"),
    );
    plan("an unknown format", &["format", "pdf"], &format!("{SIZE} {MODEL} --format pdf"));
    plan(
        "an output in a missing folder",
        &["none"],
        &format!("{SIZE} {MODEL} --output {OUT}/none/plan.svg"),
    );
    plan(
        "an output that is a folder",
        &["folder.png"],
        &format!("{SIZE} {MODEL} --output {OUT}/folder.png"),
    );
    // More tiles than a reader can look at, or any memory can hold.
    for format in ["json", "svg"] {
        plan(
            "more tiles than can be listed",
            &["pieces"],
            &format!(
                "--scale 1 --tile-sample-min-size 16 --latent-height 4294967295 \
             --latent-width 4294967295 --strategy tiled --format {format}"
            ),
        );
    }
    if cfg!(target_os = "linux") {
        plan(
            "a full stdout",
            &["cannot write", "stdout"],
            &format!("{SIZE} {MODEL} --format json"),
        );
        setup.on(Way::FullStdout);
    }
}

pub(crate) fn other_commands(setup: &mut Setup) {
    setup.flags("an unknown command", &["encode"], "encode --vae somewhere");
    setup.flags("a checkpoint to inspect that is not there", &["nowhere"], "inspect --vae nowhere");
    setup.of_input();
    let vae = setup.golden.folder.display().to_string();
    setup.flags(
        "inspect at part of a cell",
        &["31", "2"],
        &format!("inspect --vae {vae} --height 31"),
    );
    setup.flags("inspect at no size", &["0"], &format!("inspect --vae {vae} --width 0"));
    setup.flags("an unknown shell", &["tcsh"], "completions tcsh");
    setup.flags("devices of something", &["cuda"], "devices cuda");
    if cfg!(target_os = "linux") {
        setup.flags("a man page to a full device", &["cannot write", "stdout"], "man");
        setup.on(Way::FullStdout);
    }
    assert!(
        setup.cases.iter().all(|case| case.way != Way::FullStdout || cfg!(target_os = "linux"))
    );
    // Not one of these reads its standard input.
    let mut command = Command::new(binary::path());
    command.args(["decode", "--vae", "-", "--latents", "-", "--output", "-"]).stdin(Stdio::null());
    assert!(!binary::run_command(command).status.success());
}
