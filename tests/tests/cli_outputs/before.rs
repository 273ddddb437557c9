//! Outputs that cannot be, before anything is decoded, and where text goes.

use crate::Setup;

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
