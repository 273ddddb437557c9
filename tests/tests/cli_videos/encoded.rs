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
    fake_ffmpeg(&setup, dies);
    assert_told(1, &["cannot write `a.mkv`", "ffmpeg failed", "3", "no such luck"]);
    // In the middle of the video.
    fake_ffmpeg(&setup, &format!("read a; read b; {dies}"));
    assert_told(1, &["cannot write `a.mkv`", "no such luck"]);
    // At its end.
    fake_ffmpeg(&setup, &format!("while read a; do :; done; {dies}"));
    assert_told(1, &["cannot write `a.mkv`", "no such luck"]);
    fake_ffmpeg(&setup, "kill -9 $$");
    assert_told(1, &["ffmpeg failed", "signal", "it said nothing"]);
    // It says that all went well, and there is nothing.
    fake_ffmpeg(&setup, "while read a; do :; done; exit 0");
    assert_told(1, &["ffmpeg failed"]);
    std::fs::write(setup.path("bin/ffmpeg"), "#!/bin/sh\necho broken >&2\nexit 1")
        .expect("a script");
    assert_told(2, &["does not run", "broken"]);
}
