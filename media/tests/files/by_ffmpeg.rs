//! Videos by the program ffmpeg.

use halovae_engine::tensor::Shape;
use halovae_media::{Depth, FrameRate, Options, OutputError, OutputFile};

use crate::clip::{Clip, psnr, psnr_of_words};
use crate::ffmpeg::{BT709, assert_fields, frames, probe, words};

const HEIGHT: usize = 144;
const WIDTH: usize = 208;
const FRAMES: usize = 7;

fn clip() -> Clip {
    Clip::new(Shape::new(1, HEIGHT, WIDTH, 3).over(FRAMES))
}

fn options(codec: Option<&str>, depth: Depth) -> Options {
    let mut options = Options::default();
    options.codec = codec.map(str::to_owned);
    options.bit_depth = depth;
    options.fps = Some("30000/1001".parse().unwrap());
    options
}

#[test]
fn others_read_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (eight, sixteen) = (Depth::Eight, Depth::Sixteen);
    for (name, codec, depth, codec_name, pixels, least) in [
        ("a.mkv", None, eight, "h264", "yuv420p", 40.0),
        ("a.mov", None, eight, "h264", "yuv420p", 40.0),
        ("a.webm", None, eight, "vp9", "yuv420p", 40.0),
        ("a.mp4", Some("libx264"), eight, "h264", "yuv420p", 40.0),
        ("b.mp4", Some("libx264"), sixteen, "h264", "yuv420p10le", 40.0),
        ("c.mp4", Some("libx265"), eight, "hevc", "yuv420p", 40.0),
        ("d.mp4", Some("libx265"), sixteen, "hevc", "yuv420p12le", 40.0),
        ("b.webm", Some("libvpx-vp9"), sixteen, "vp9", "yuv420p12le", 40.0),
        ("b.mkv", Some("ffv1"), sixteen, "ffv1", "yuv420p16le", 40.0),
        // Without chroma at half the resolution: ffmpeg converts, and reads what it wrote as 12 bits.
        ("b.mov", Some("prores_ks"), sixteen, "prores", "yuv444p12le", 42.0),
    ] {
        let path = folder.path().join(name);
        clip().write(&path, options(codec, depth)).unwrap();
        let stream = probe(&path);
        assert_fields(&stream, &BT709);
        assert_fields(
            &stream,
            &[
                ("codec_name", codec_name),
                ("pix_fmt", pixels),
                ("width", "208"),
                ("height", "144"),
                ("r_frame_rate", "30000/1001"),
                ("nb_read_frames", "7"),
            ],
        );
        let db = psnr(&frames(&path, "rgb24"), &clip().bytes(0, [HEIGHT, WIDTH]));
        assert!(db > least, "{name}: {db} dB");
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 10);
}

/// A lossless encoder of pixels, and one of odd sides: every level comes back.
#[test]
fn what_loses_nothing_gives_back_every_level() {
    let folder = tempfile::tempdir().unwrap();
    for (height, width, channels) in [(30, 40, 3), (17, 19, 3), (17, 19, 1)] {
        let clip = Clip::new(Shape::new(1, height, width, channels).over(3));
        let path = folder.path().join("a.mov");
        clip.write(&path, options(Some("png"), Depth::Sixteen)).unwrap();
        let format = if channels == 1 { "gray16le" } else { "rgb48le" };
        assert!(words(&path, format) == clip.words(0, [height, width]), "{height} x {width}");
    }
}

/// The same levels as a .y4m of 16 bits, by a container that tells where chroma stands.
#[test]
fn sixteen_bits_are_not_rounded_on_their_way() {
    let folder = tempfile::tempdir().unwrap();
    let (coded, plain) = (folder.path().join("a.mkv"), folder.path().join("a.y4m"));
    clip().write(&coded, options(Some("ffv1"), Depth::Sixteen)).unwrap();
    clip().write(&plain, options(None, Depth::Sixteen)).unwrap();
    assert!(words(&coded, "yuv420p16le") == words(&plain, "yuv420p16le"));
    // Of which 8 bits would not have 60 dB.
    let luma_of = |clip: Clip| {
        let pixels = clip.words(0, [HEIGHT, WIDTH]);
        let luma = |pixel: &[u16]| {
            let [r, g, b] = [0, 1, 2].map(|channel| f64::from(pixel[channel]) / 65535.0);
            (4096.0 + 56064.0 * (0.2126 * r + 0.7152 * g + 0.0722 * b)).round() as u16
        };
        pixels.chunks(3).map(luma).collect::<Vec<_>>()
    };
    let got: Vec<u16> = words(&coded, "yuv420p16le")
        .chunks(HEIGHT * WIDTH * 3 / 2)
        .flat_map(|frame| frame[..HEIGHT * WIDTH].to_vec())
        .collect();
    let db = psnr_of_words(&got, &luma_of(clip()));
    assert!(db > 90.0, "{db} dB");
}

#[test]
fn odd_sides_are_padded_if_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::new(Shape::new(2, 33, 47, 3).over(2));
    let path = folder.path().join("a.mkv");
    let refused = clip.write(&path, options(None, Depth::Eight)).unwrap_err();
    assert!(refused.contains("33 x 47") && refused.contains("--pad"), "{refused}");
    let mut padded = options(None, Depth::Eight);
    padded.pad = true;
    let files = clip.write(&path, padded).unwrap();
    for (video, file) in files.iter().enumerate() {
        assert_fields(&probe(file), &[("height", "34"), ("width", "48")]);
        let db = psnr(&frames(file, "rgb24"), &clip.bytes(video, [34, 48]));
        assert!(db > 40.0, "{db} dB");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn what_an_encoder_has_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, options: Options| {
        clip().write(&folder.path().join(name), options).unwrap_err()
    };
    for codec in ["nonesuch", "aac", "libx264 ", "-y", "", "encoder=libx264", "h264"] {
        let told = refused("a.mkv", options(Some(codec), Depth::Eight));
        assert!(
            told.contains("no encoder of videos") && told.contains("ffmpeg -encoders"),
            "{told}"
        );
    }
    let told = refused("a.mkv", options(Some("mpeg4"), Depth::Sixteen));
    assert!(told.contains("8 bits") && told.contains("libx265"), "{told}");
    let mut quality = options(Some("mpeg4"), Depth::Eight);
    quality.crf = Some(20);
    assert!(refused("a.mkv", quality).contains("no --crf"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// What ffmpeg alone can tell, it tells before there are frames: one of them is tried.
#[test]
fn what_ffmpeg_refuses_is_told_before_the_first_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let coded = |codec: &str, crf: Option<u8>| {
        let mut options = options(Some(codec), Depth::Eight);
        options.crf = crf;
        options
    };
    let shape = |height, width| Shape::new(2, height, width, 3).over(5);
    for (name, options, sides, words) in [
        // A codec that the container does not take,
        ("a.webm", coded("libx264", None), [144, 208], &["libx264", "WebM"][..]),
        ("a.mp4", coded("ffv1", None), [144, 208], &["ffv1", "mp4: ", "codec"]),
        // a quality that the encoder has not,
        ("a.mkv", coded("libx265", Some(63)), [144, 208], &["libx265", "51"]),
        // and sides.
        ("a.mov", coded("h263", None), [144, 208], &["h263", "176x144"]),
        ("a.mkv", coded("libx265", None), [8, 8], &["libx265", "too small"]),
    ] {
        let output = OutputFile::check(Some(&path(name)), options).unwrap();
        let shape = shape(sides[0], sides[1]);
        output.files(shape).unwrap();
        let error = output.probe(shape, FrameRate::DEFAULT).unwrap_err();
        assert!(matches!(error, OutputError::Refused { .. }), "{error}");
        let told = error.to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
        for noise in [".halovae", "0x", "[info]", "Error initializing", "\n"] {
            assert!(!told.contains(noise), "{told}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
    }
    for (name, options) in [("a.mkv", coded("libx264", None)), ("a.y4m", Options::default())] {
        let output = OutputFile::check(Some(&path(name)), options).unwrap();
        output.probe(shape(144, 208), FrameRate::DEFAULT).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name}");
    }
}
