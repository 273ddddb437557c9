//! Videos that are encoded, as others read them.

use halovae_tests::binary::listing;
use halovae_tests::decode::random_tensor;
use halovae_tests::ffmpeg;

use crate::{Setup, channels_first};
use halovae_engine::tensor::Shape;

#[test]
fn an_mp4_has_every_frame_at_the_models_rate() {
    let setup = Setup::new("wan");
    let run = setup.decode("--output a.mp4").expect_success();
    assert_eq!(run.stderr, "");
    let fields = |rate: &'static str| {
        [
            ("codec_name", "h264"),
            ("height", "72"),
            ("width", "104"),
            ("nb_read_frames", "17"),
            ("r_frame_rate", rate),
        ]
    };
    let bt709 = [
        ("color_space", "bt709"),
        ("color_primaries", "bt709"),
        ("color_transfer", "bt709"),
        ("color_range", "tv"),
    ];
    let stream = ffmpeg::probe(&setup.path("a.mp4"));
    ffmpeg::assert_fields(&stream, &fields("16/1"));
    ffmpeg::assert_fields(&stream, &bt709);

    setup.decode("--output b.mp4 --fps 30000/1001 --crf 30").expect_success();
    ffmpeg::assert_fields(&ffmpeg::probe(&setup.path("b.mp4")), &fields("30000/1001"));
    let bytes = |name: &str| setup.read(name).len();
    assert!(bytes("b.mp4") < bytes("a.mp4"));
    assert_eq!(listing(setup.folder.path()), ["a.mp4", "b.mp4"]);

    // The decoded frames, and not some others: those of a .y4m, but for what H.264 loses.
    setup.decode("--output a.y4m").expect_success();
    let luma = |name: &str| ffmpeg::luma(&setup.path(name), 72 * 104);
    let (got, expected) = (luma("a.mp4"), luma("a.y4m"));
    assert_eq!(got.len(), 17);
    for (frame, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let db = ffmpeg::psnr(got, expected);
        assert!(db > 40.0, "frame {frame}: {db} dB");
    }
}

#[test]
fn odd_sides_are_padded_if_that_is_asked_for() {
    let setup = Setup::new("f1-one-level");
    let (values, [_, c, _, h, w]) = channels_first(&random_tensor(Shape::new(1, 17, 19, 4), 3));
    setup.write_npy("odd.npy", &values, &[1, c, h, w]);
    let run = setup.decode_from("odd.npy", "--output a.mp4");
    assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
    for word in ["17 x 19", "--pad", ".y4m", "%05d.png"] {
        assert!(run.stderr.contains(word), "{}", run.stderr);
    }
    assert_eq!(listing(setup.folder.path()), ["odd.npy"]);
    setup.decode_from("odd.npy", "--output a.mp4 --pad").expect_success();
    let stream = ffmpeg::probe(&setup.path("a.mp4"));
    ffmpeg::assert_fields(&stream, &[("height", "18"), ("width", "20"), ("nb_read_frames", "1")]);
}

#[test]
fn a_batch_becomes_a_file_each() {
    let setup = Setup::new("wan");
    let latents = random_tensor(Shape::new(2, 3, 4, 4).over(2), 7);
    let (values, shape) = channels_first(&latents);
    setup.write_npy("two.npy", &values, &shape);
    setup.decode_from("two.npy", "--output a.mp4").expect_success();
    for name in ["a-0.mp4", "a-1.mp4"] {
        let fields = [("height", "24"), ("width", "32"), ("nb_read_frames", "5")];
        ffmpeg::assert_fields(&ffmpeg::probe(&setup.path(name)), &fields);
    }
    assert_eq!(listing(setup.folder.path()), ["a-0.mp4", "a-1.mp4", "two.npy"]);
}

#[test]
fn pictures_move_if_that_is_asked_for() {
    let setup = Setup::new("wan");
    for (flags, codec) in
        [("--output a.gif", "gif"), ("--output a.png --animated --bit-depth 16", "apng")]
    {
        assert_eq!(setup.decode(flags).expect_success().stderr, "");
        let name = flags.split(' ').nth(1).expect("a name");
        let fields =
            [("codec_name", codec), ("height", "72"), ("width", "104"), ("nb_read_frames", "17")];
        ffmpeg::assert_fields(&ffmpeg::probe(&setup.path(name)), &fields);
    }
    assert_eq!(listing(setup.folder.path()), ["a.gif", "a.png"]);
    // Four channels, of which the last is alpha.
    let layered = Setup::new("qwen-layered");
    layered.decode("--output a.png --animated").expect_success();
    let fields = [("codec_name", "apng"), ("pix_fmt", "rgba"), ("nb_read_frames", "5")];
    ffmpeg::assert_fields(&ffmpeg::probe(&layered.path("a.png")), &fields);
    layered.assert_refused("--output a.gif", &["no transparency", "--animated"]);
}

/// They are there when the decode has failed, and are frames as of a decode into pictures.
#[test]
fn previews_stay_whatever_becomes_of_the_video() {
    let setup = Setup::new("wan");
    std::fs::create_dir(setup.path("all")).expect("a folder");
    setup.decode("--output all/%05d.png").expect_success();
    let assert_previews = |names: &[(&str, usize)]| {
        for (name, frame) in names {
            let preview = setup.read(name);
            assert!(preview == setup.read(&format!("all/{frame:05}.png")), "{name}");
        }
        let listed = listing(setup.folder.path());
        let listed: Vec<_> = listed.iter().filter(|name| name.contains("preview")).collect();
        assert!(listed.iter().eq(names.iter().map(|(name, _)| name)), "{listed:?}");
        for (name, _) in names {
            std::fs::remove_file(setup.path(name)).expect("a preview");
        }
    };
    let run = setup.decode("--output a.mp4 --preview 8 --report a.json").expect_success();
    assert_eq!(run.stderr, "");
    let report = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&setup.read(name)).expect("JSON")
    };
    let [told, without] = [report("a.json"), {
        setup.decode("--output b.mp4 --report b.json").expect_success();
        report("b.json")
    }];
    assert_eq!(told["output"], serde_json::json!(["a.mp4"]));
    let previews: Vec<_> =
        ["00000", "00008", "00016"].map(|frame| format!("a.preview-{frame}.png")).into();
    assert_eq!(told["previews"], serde_json::json!(previews));
    assert!(without.get("previews").is_none(), "{without}");
    let all = [("a.preview-00000.png", 0), ("a.preview-00008.png", 8), ("a.preview-00016.png", 16)];
    assert_previews(&all);
    setup.decode("--output %d.tiff --preview 16").expect_success();
    assert_previews(&[("0.preview.png", 0), ("16.preview.png", 16)]);

    // The video does not fit a disk that its previews fit.
    if cfg!(unix) {
        let mut shell = std::process::Command::new("sh");
        let line = "ulimit -f 80; exec \"$0\" \"$@\"";
        shell.args(["-c", line]).arg(halovae_tests::binary::path());
        let decode = setup.command(
            "decode --backend cpu --vae VAE --latents LATENTS --output a.mkv --codec rawvideo --preview 4",
        );
        shell.args(decode.get_args()).current_dir(setup.folder.path());
        let run = halovae_tests::binary::run_command(shell);
        assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("cannot write `a.mkv`"), "{}", run.stderr);
        assert!(!setup.path("a.mkv").exists() && setup.path("a.preview-00000.png").exists());
    }
    let image = Setup::new("f4-batch");
    image.assert_refused("--output a.png --preview 4", &["--preview", "gives images"]);
    setup
        .assert_refused("--output - --preview 4", &["--preview", "standard output", "name a file"]);
}

/// What no format of pictures has: a file that grows over time, on a thread of its own.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_decode() {
    let setup = Setup::new("wan");
    for output in ["a.mp4", "a.gif", "a.png --animated", "a.y4m", "a.webm"] {
        let line = format!("decode --backend cpu --vae VAE --latents LATENTS --output {output}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -f 40; exec \"$0\" \"$@\""]).arg(halovae_tests::binary::path());
        shell.args(setup.command(&line).get_args()).current_dir(setup.folder.path());
        let run = halovae_tests::binary::run_command(shell);
        assert_eq!(run.status.code(), Some(1), "{output}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{output}: {}", run.stderr);
        assert!(run.stderr.contains("cannot write `a."), "{output}: {}", run.stderr);
        assert_eq!(listing(setup.folder.path()), [""; 0], "{output}");
    }
}

#[test]
fn an_installed_ffmpeg_encodes_if_that_is_asked_for() {
    let setup = Setup::new("wan");
    for (flags, codec, pixels) in [
        ("--output a.mkv", "h264", "yuv420p"),
        ("--output a.webm --crf 30", "vp9", "yuv420p"),
        ("--output a.mov --codec libx265 --bit-depth 16", "hevc", "yuv420p12le"),
    ] {
        assert_eq!(setup.decode(flags).expect_success().stderr, "");
        let name = flags.split(' ').nth(1).expect("a name");
        let fields = [
            ("codec_name", codec),
            ("pix_fmt", pixels),
            ("nb_read_frames", "17"),
            ("r_frame_rate", "16/1"),
        ];
        ffmpeg::assert_fields(&ffmpeg::probe(&setup.path(name)), &fields);
    }
    assert_eq!(listing(setup.folder.path()), ["a.mkv", "a.mov", "a.webm"]);
}

/// What ffmpeg refuses is told before the decode, in the words that tell why.
#[test]
fn what_ffmpeg_refuses_is_told_before_the_decode() {
    let setup = Setup::new("wan");
    let refused = |flags: &str, words: &[&str]| {
        setup.assert_refused(flags, words);
        let run = setup.decode(&format!("{flags} --verbose"));
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(!run.stderr.contains(".halovae-"), "{}", run.stderr);
    };
    refused("--output a.webm --codec libx264", &["`a.webm`", "libx264", "WebM"]);
    refused("--output a.mkv --codec libx265 --crf 60", &["`a.mkv`", "libx265", "51"]);
    refused("--output a.mov --codec h263 --preview 4", &["`a.mov`", "h263", "104x72", "352x288"]);
}

/// Stands in for ffmpeg: tells of an encoder, and then does this.
#[cfg(unix)]
fn fake_ffmpeg(setup: &Setup, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = setup.path("bin/ffmpeg");
    std::fs::create_dir_all(setup.path("bin")).expect("a folder");
    let help = "echo 'Encoder libx264 [x]:'; echo '    Supported pixel formats: yuv420p'";
    let text = format!("#!/bin/sh\ncase \"$*\" in *encoder=*) {help}; exit 0;; esac\n{script}\n");
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a mode");
}

/// Makes a program that stands in for ffmpeg, of a script.
#[cfg(target_os = "linux")]
type Fake = fn(&Setup, &str);

/// The same, with a first frame, that of the trial, which all goes well with.
#[cfg(unix)]
fn fake_ffmpeg_after_trial(setup: &Setup, script: &str) {
    let tried = setup.path("bin/tried");
    let _ = std::fs::remove_file(&tried);
    let write = "while read a; do :; done; for to; do :; done; echo x > \"${to#file:}\"; exit 0";
    let tried = tried.display();
    fake_ffmpeg(setup, &format!("if [ ! -e {tried} ]; then : > {tried}; {write}; fi\n{script}"));
}

#[cfg(unix)]
#[test]
fn an_ffmpeg_that_is_missing_or_dies_is_told() {
    let setup = Setup::new("wan");
    let assert_told = |code: i32, words: &[&str]| {
        let line = "decode --backend cpu --vae VAE --latents LATENTS --output a.mkv";
        let mut command = setup.command(line);
        command.env("PATH", setup.path("bin"));
        let run = halovae_tests::binary::run_command(command);
        assert_eq!(run.status.code(), Some(code), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "{word:?} is not in {}", run.stderr);
        }
        assert!(listing(setup.folder.path()).iter().all(|name| name == "bin"));
    };
    assert_told(2, &["not on the PATH", "apt-get install ffmpeg", ".y4m"]);
    let dies = "echo one >&2; echo 'Error: no such luck' >&2; exit 3";
    // At the trial.
    fake_ffmpeg(&setup, dies);
    assert_told(2, &["`a.mkv`", "libx264", "ffmpeg failed", "3", "no such luck"]);
    let names = "for to; do :; done; echo \"cannot open $to\" >&2; exit 3";
    fake_ffmpeg(&setup, names);
    assert_told(2, &["cannot open a.mkv\n"]);
    fake_ffmpeg(&setup, "while read a; do :; done; exit 0");
    assert_told(2, &["ffmpeg ended and has not written"]);
    // At the video's beginning.
    fake_ffmpeg_after_trial(&setup, dies);
    assert_told(1, &["cannot write `a.mkv`", "ffmpeg failed", "3", "no such luck"]);
    fake_ffmpeg_after_trial(&setup, names);
    assert_told(1, &["cannot open a.mkv\n"]);
    // In the middle of it.
    fake_ffmpeg_after_trial(&setup, &format!("read a; read b; {dies}"));
    assert_told(1, &["cannot write `a.mkv`", "no such luck"]);
    // At its end.
    fake_ffmpeg_after_trial(&setup, &format!("while read a; do :; done; {dies}"));
    assert_told(1, &["cannot write `a.mkv`", "no such luck"]);
    fake_ffmpeg_after_trial(&setup, "kill -9 $$");
    assert_told(1, &["ffmpeg failed", "signal", "said nothing"]);
    // It says that all went well, and there is nothing.
    fake_ffmpeg_after_trial(&setup, "while read a; do :; done; exit 0");
    assert_told(1, &["ffmpeg ended and has not written"]);
    std::fs::write(setup.path("bin/ffmpeg"), "#!/bin/sh\necho broken >&2\nexit 1")
        .expect("a script");
    assert_told(2, &["does not run", "broken"]);
}

/// Whether the process that wrote its number there is gone, or soon will be.
#[cfg(target_os = "linux")]
fn ends(pid: &std::path::Path) -> bool {
    use std::time::{Duration, Instant};
    let id = std::fs::read_to_string(pid).expect("a number");
    let status = std::path::PathBuf::from(format!("/proc/{}/status", id.trim()));
    let until = Instant::now() + Duration::from_secs(30);
    // A zombie has ended, and waits for a parent that may never ask.
    let runs = || std::fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
    while runs() && Instant::now() < until {
        std::thread::yield_now();
    }
    !runs()
}

/// What a script leaves behind keeps neither its error nor this process waiting, and ends with it.
#[cfg(target_os = "linux")]
#[test]
fn nothing_outlives_the_program() {
    let setup = Setup::new("wan");
    let pid = setup.path("bin/pid");
    let path = std::env::var("PATH").unwrap_or_default();
    let command = || {
        let line = "decode --backend cpu --vae VAE --latents LATENTS --output a.mkv";
        let mut command = setup.command(line);
        command.env("PATH", format!("{}:{path}", setup.path("bin").display()));
        command
    };
    let leaves = format!("sleep 600 & echo $! > {}; echo bad >&2; exit 3", pid.display());
    let begun = std::time::Instant::now();
    // At the trial, and at the video.
    let begin: [(Fake, i32); 2] = [(fake_ffmpeg, 2), (fake_ffmpeg_after_trial, 1)];
    for (fake, code) in begin {
        fake(&setup, &leaves);
        let run = halovae_tests::binary::run_command(command());
        assert_eq!(run.status.code(), Some(code), "{}", run.stderr);
        assert!(run.stderr.contains("bad") && begun.elapsed().as_secs() < 300, "{}", run.stderr);
        assert!(ends(&pid));
        std::fs::remove_file(&pid).expect("a file");
    }

    // One that reads nothing, and would not end.
    for (fake, _) in begin {
        fake(&setup, &format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", pid.display()));
        let child = command().spawn().expect("the binary");
        while !pid.exists() {
            std::thread::yield_now();
        }
        let id = child.id().to_string();
        let kill = std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill");
        assert!(kill.success());
        let run = halovae_tests::binary::finish(child);
        assert_eq!(run.status.code(), Some(130), "{}", run.stderr);
        assert!(ends(&pid));
        std::fs::remove_file(&pid).expect("a file");
        assert!(listing(setup.folder.path()).iter().all(|name| name == "bin"));
    }
}
