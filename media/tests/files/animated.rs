//! Pictures that move: animated PNG and GIF.

use halovae_engine::tensor::Shape;
use halovae_media::{Depth, Options};

use crate::clip::{Clip, psnr};
use crate::ffmpeg::{assert_fields, frames, probe, times, words};

fn options(depth: Depth, rate: &str) -> Options {
    let mut options = Options::default();
    options.bit_depth = depth;
    options.fps = Some(rate.parse().unwrap());
    options
}

fn animated(depth: Depth, rate: &str) -> Options {
    let mut options = options(depth, rate);
    options.animated = true;
    options
}

#[test]
fn an_animated_png_gives_back_every_level() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    for (channels, depth, pixels) in [
        (1, Depth::Eight, "gray"),
        (3, Depth::Eight, "rgb24"),
        (4, Depth::Eight, "rgba"),
        (1, Depth::Sixteen, "gray16be"),
        (3, Depth::Sixteen, "rgb48be"),
        (4, Depth::Sixteen, "rgba64be"),
    ] {
        for count in [1, 5] {
            let clip = Clip::new(Shape::new(1, 37, 51, channels).over(count));
            clip.write(&path, animated(depth, "30000/1001")).unwrap();
            let stream = probe(&path);
            assert_fields(
                &stream,
                &[
                    ("codec_name", "apng"),
                    ("pix_fmt", pixels),
                    ("height", "37"),
                    ("width", "51"),
                    ("nb_read_frames", &count.to_string()),
                ],
            );
            let exact = match depth {
                Depth::Eight => frames(&path, pixels) == clip.bytes(0, [37, 51]),
                _ => words(&path, &pixels.replace("be", "le")) == clip.words(0, [37, 51]),
            };
            assert!(exact, "{count} frames of {channels} channels, {depth:?}");
            for (frame, time) in times(&path).into_iter().enumerate() {
                let exact = frame as f64 * 1001.0 / 30000.0;
                // ffmpeg counts in 1/100000 s.
                assert!((time - exact).abs() < 1e-4, "frame {frame} at {time}");
            }
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_gif_is_close_and_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    for (channels, rate, [number, per], least) in [
        (3, "24", [24.0, 1.0], 34.0),
        (3, "30000/1001", [30000.0, 1001.0], 34.0),
        (3, "50", [50.0, 1.0], 34.0),
        // All of its 256 levels.
        (1, "16", [16.0, 1.0], 60.0),
    ] {
        let clip = Clip::new(Shape::new(1, 96, 131, channels).over(13));
        clip.write(&path, options(Depth::Eight, rate)).unwrap();
        assert_fields(
            &probe(&path),
            &[("codec_name", "gif"), ("height", "96"), ("width", "131"), ("nb_read_frames", "13")],
        );
        let pixels = clip.bytes(0, [96, 131]);
        let expected = match channels {
            1 => pixels.into_iter().flat_map(|level| [level; 3]).collect(),
            _ => pixels,
        };
        let db = psnr(&frames(&path, "rgb24"), &expected);
        assert!(db > least, "{rate}: {db} dB");
        for (frame, time) in times(&path).into_iter().enumerate() {
            let exact = frame as f64 * per / number;
            assert!((time - exact).abs() < 0.005 + 1e-6, "frame {frame} at {time}");
        }
    }
}

#[test]
fn a_batch_becomes_a_file_each() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::new(Shape::new(2, 32, 48, 3).over(3));
    let pngs = clip.write(&folder.path().join("a.png"), animated(Depth::Eight, "8")).unwrap();
    let gifs = clip.write(&folder.path().join("a.gif"), options(Depth::Eight, "8")).unwrap();
    for video in 0..2 {
        let expected = clip.bytes(video, [32, 48]);
        assert!(frames(&pngs[video], "rgb24") == expected);
        assert!(psnr(&frames(&gifs[video], "rgb24"), &expected) > 34.0);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn what_they_have_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::new(Shape::new(1, 32, 48, 4).over(3));
    let refused = |name: &str, options: Options, words: &[&str]| {
        let told = clip.write(&folder.path().join(name), options).unwrap_err();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    };
    let (eight, sixteen) = (Depth::Eight, Depth::Sixteen);
    refused("a.gif", options(eight, "8"), &["no transparency", "--animated"]);
    refused("a.gif", options(sixteen, "8"), &["GIF has 8 bits"]);
    refused("a.gif", options(eight, "60"), &["--fps", "60"]);
    refused("a.png", animated(eight, "65536/65537"), &["65535", "--fps"]);
    refused("a.png", options(eight, "8"), &["no frames per second", "--animated"]);
    refused("a.png", Options::default(), &["3 frames", "--animated"]);
    refused("%d.png", animated(eight, "8"), &["field for the number"]);
    refused("a.webp", animated(eight, "8"), &["no animated WebP", ".png", ".webm"]);
    for name in ["a.jpg", "a.tiff", "a.gif", "a.mp4", "a.y4m", "a.npy"] {
        refused(name, animated(eight, "8"), &["--animated", ".png"]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
