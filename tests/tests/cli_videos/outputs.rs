//! What is written of a video.

use halovae_engine::tensor::Shape;
use halovae_tests::binary::listing;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::random_tensor;
use halovae_tests::disk::copy_checkpoint;
use halovae_tests::ffmpeg;
use halovae_tests::y4m::Video;

use crate::{Setup, channels_first};

/// Where the golden model's video is: frames of 9 x 13 cells of 8 pixels.
const FRAMES: usize = 17;
const HEIGHT: usize = 72;
const WIDTH: usize = 104;

/// Every plane of a frame by BT.709 in limited range, without rounding.
fn planes(rgb: &[Vec<f32>; 3], height: usize, width: usize) -> [Vec<f64>; 3] {
    let unit = |value: f32| (f64::from(value) / 2.0 + 0.5).clamp(0.0, 1.0);
    let pixel = |at: usize| [0, 1, 2].map(|channel: usize| unit(rgb[channel][at]));
    let luma = |[r, g, b]: [f64; 3]| 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let y = (0..height * width).map(|at| 16.0 + 219.0 * luma(pixel(at))).collect();
    let chroma = |difference: &dyn Fn([f64; 3]) -> f64| {
        let mut plane = Vec::new();
        for (row, column) in
            (0..height).step_by(2).flat_map(|row| (0..width).step_by(2).map(move |c| (row, c)))
        {
            let rows = row..(row + 2).min(height);
            let places =
                rows.flat_map(|y| (column..(column + 2).min(width)).map(move |x| y * width + x));
            let values: Vec<f64> = places.map(|at| difference(pixel(at))).collect();
            plane.push(128.0 + 224.0 * values.iter().sum::<f64>() / values.len() as f64);
        }
        plane
    };
    let cb = chroma(&|pixel| (pixel[2] - luma(pixel)) / 1.8556);
    let cr = chroma(&|pixel| (pixel[0] - luma(pixel)) / 1.5748);
    [y, cb, cr]
}

/// Fails unless each frame of the video is that of the array, but for rounding.
#[track_caller]
fn assert_same(video: &Video, (values, shape): &(Vec<f32>, Vec<usize>), sample: usize) {
    let &[_, 3, frames, height, width] = &shape[..] else { panic!("{shape:?} is no video") };
    assert_eq!((video.frames.len(), video.height, video.width), (frames, height, width));
    for (t, frame) in video.frames.iter().enumerate() {
        let plane = |channel: usize| {
            let at = ((sample * 3 + channel) * frames + t) * height * width;
            values[at..at + height * width].to_vec()
        };
        let expected = planes(&[0, 1, 2].map(plane), height, width);
        for (got, expected) in frame.iter().zip(&expected) {
            assert_eq!(got.len(), expected.len());
            for (&got, expected) in got.iter().zip(expected) {
                let difference = (f64::from(got) - expected).abs();
                assert!(difference < 0.501, "frame {t}: {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn a_video_file_holds_the_decoded_values() {
    let setup = Setup::new("wan");
    setup.decode("--output a.npy").expect_success();
    let values = setup.read_npy("a.npy");
    assert_eq!(values.1, [1, 3, FRAMES, HEIGHT, WIDTH]);

    let run = setup.decode("--output a.y4m").expect_success();
    assert_eq!(run.stderr, "", "the model tells how many frames make a second");
    let video = Video::read(&setup.read("a.y4m"));
    assert_eq!(video.parameters, ["F16:1", "Ip", "A1:1", "C420jpeg", "XCOLORRANGE=LIMITED"]);
    assert_same(&video, &values, 0);

    setup.decode("--output b.y4m --fps 30000/1001").expect_success();
    let other = Video::read(&setup.read("b.y4m"));
    assert_eq!((&other.frames, other.parameters[0].as_str()), (&video.frames, "F30000:1001"));

    // Standard output has the bytes of the file, and nothing else.
    let output = setup.decode_to_stdout("-v");
    assert!(output.status.success());
    assert!(output.stdout == setup.read("a.y4m"), "standard output has other bytes");
    assert_eq!(listing(setup.folder.path()), ["a.npy", "a.y4m", "b.y4m"]);

    setup.decode("--output a.safetensors").expect_success();
    let read = halovae_tests::tensors::read(&setup.path("a.safetensors")).remove("sample");
    let read = read.expect("the key `sample`");
    assert_eq!(read.shape(), Shape::new(1, HEIGHT, WIDTH, 3).over(FRAMES));
    assert_eq!(channels_first(&read).0, values.0);
}

/// Qwen-Image's class, of the same network, tells no frames per second.
#[test]
fn frames_per_second_that_nothing_tells_are_a_notice() {
    let setup = Setup::new("wan");
    copy_checkpoint(&setup.golden.folder, &setup.path("vae"));
    let config = String::from_utf8(setup.read("vae/config.json")).expect("text");
    let config = config.replace("AutoencoderKLWan", "AutoencoderKLQwenImage");
    std::fs::write(setup.path("vae/config.json"), config).expect("a config");
    let decode = |flags: &str| {
        let line =
            format!("decode --backend cpu --vae vae --latents LATENTS --output a.y4m {flags}");
        let told = setup.run(line.trim_end()).expect_success().stderr;
        let rate = Video::read(&setup.read("a.y4m")).parameters[0].clone();
        (told.contains("24 were taken; give --fps"), rate)
    };
    assert_eq!(decode(""), (true, "F24:1".to_owned()));
    assert_eq!(decode("--fps 8"), (false, "F8:1".to_owned()));
}

#[test]
fn frames_become_numbered_pictures() {
    let setup = Setup::new("wan");
    std::fs::create_dir(setup.path("out")).expect("a folder");
    setup.decode("--output out/%05d.png").expect_success();
    setup.decode("--output out/a.npy").expect_success();
    let (values, _) = setup.read_npy("out/a.npy");
    std::fs::remove_file(setup.path("out/a.npy")).expect("the array");
    let names: Vec<String> = (0..FRAMES).map(|frame| format!("{frame:05}.png")).collect();
    assert_eq!(listing(&setup.path("out")), names);
    for (frame, name) in names.iter().enumerate() {
        let read = image::open(setup.path("out").join(name)).expect("a picture").to_rgb8();
        assert_eq!((read.height(), read.width()), (HEIGHT as u32, WIDTH as u32));
        for (at, pixel) in read.pixels().enumerate() {
            for (channel, &byte) in pixel.0.iter().enumerate() {
                let value = values[(channel * FRAMES + frame) * HEIGHT * WIDTH + at];
                let expected = (f64::from(value) / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0;
                assert!((f64::from(byte) - expected).abs() < 0.501, "{name}");
            }
        }
    }
    // Of a single frame as well.
    let (values, [_, channels, _, height, width]) = channels_first(&setup.golden.latents);
    let frames = setup.golden.latents.shape().frames;
    let first: Vec<f32> = values
        .chunks(frames * height * width)
        .flat_map(|c| &c[..height * width])
        .copied()
        .collect();
    setup.write_npy("first.npy", &first, &[1, channels, 1, height, width]);
    let run = setup.decode_from("first.npy", "--output one-%d.jpg").expect_success();
    assert_eq!(run.stderr, "");
    // The second frame of the video would be taken for that of the image.
    let run = setup.decode_from("first.npy", "--output out/%05d.png").expect_success();
    assert!(
        run.stderr.contains("`out/00001.png` is a frame of an earlier video"),
        "{}",
        run.stderr
    );
    assert_eq!(listing(&setup.path("out")), names);
    setup.decode_from("first.npy", "--output one.png").expect_success();
    setup.decode_from("first.npy", "--output one.npy").expect_success();
    assert!(setup.path("one-0.jpg").exists());
    let (one, shape) = setup.read_npy("one.npy");
    assert_eq!(shape, [1, 3, HEIGHT, WIDTH]);
    // Folded for one frame, it is the video's first up to rounding.
    setup.decode("--output all.npy").expect_success();
    let (all, _) = setup.read_npy("all.npy");
    let start: Vec<f32> =
        all.chunks(FRAMES * HEIGHT * WIDTH).flat_map(|c| &c[..HEIGHT * WIDTH]).copied().collect();
    let tensor =
        |values: &[f32]| halovae_tests::tensors::channels_last(values, [1, 3, HEIGHT, WIDTH]);
    assert_f32_close("one frame", &tensor(&one), &tensor(&start));
}

#[test]
fn a_batch_of_videos_becomes_a_file_each() {
    let setup = Setup::new("wan");
    let latents = random_tensor(Shape::new(2, 3, 4, 4).over(2), 7);
    let (values, shape) = channels_first(&latents);
    setup.write_npy("two.npy", &values, &shape);
    for output in ["a.npy", "a.y4m", "%d.png"] {
        setup.decode_from("two.npy", &format!("--output {output}")).expect_success();
    }
    let values = setup.read_npy("a.npy");
    assert_eq!(values.1, [2, 3, 5, 24, 32]);
    for sample in 0..2 {
        let video = Video::read(&setup.read(&format!("a-{sample}.y4m")));
        assert_same(&video, &values, sample);
    }
    let pictures = (0..5).flat_map(|frame| [0, 1].map(|sample| format!("{frame}-{sample}.png")));
    let others = ["a-0.y4m", "a-1.y4m", "a.npy", "two.npy"].map(str::to_owned);
    let expected: Vec<String> = pictures.chain(others).collect();
    assert_eq!(listing(setup.folder.path()), expected);

    let run = setup.decode_from("two.npy", "--output -");
    assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("takes one video, and the latents are 2"), "{}", run.stderr);
}

/// ffmpeg's names for 16 bits: it reads the same frames as of 8 bits, on a finer scale.
#[test]
fn a_y4m_of_16_bits_is_read_by_others() {
    let setup = Setup::new("wan");
    setup.decode("--output a.y4m").expect_success();
    setup.decode("--output b.y4m --bit-depth 16").expect_success();
    let output = setup.decode_to_stdout("--bit-depth 16");
    assert!(output.stdout == setup.read("b.y4m"), "standard output has other bytes");
    let fields = |name: &str, pixels| {
        let stream = ffmpeg::probe(&setup.path(name));
        let expected = [("pix_fmt", pixels), ("r_frame_rate", "16/1"), ("nb_read_frames", "17")];
        ffmpeg::assert_fields(&stream, &expected);
    };
    fields("a.y4m", "yuv420p");
    fields("b.y4m", "yuv420p16le");
    let luma = |name: &str| ffmpeg::luma(&setup.path(name), HEIGHT * WIDTH);
    for (coarse, fine) in luma("a.y4m").iter().zip(luma("b.y4m")) {
        let far = coarse.iter().zip(fine).any(|(&coarse, fine)| coarse.abs_diff(fine) > 1);
        assert!(!far);
    }
}

/// An image is a video of one frame; at odd sides chroma is that of the pixels that there are.
#[test]
fn an_image_of_odd_sides_is_a_video_of_one_frame() {
    let setup = Setup::new("f1-one-level");
    let (values, [_, c, _, h, w]) = channels_first(&random_tensor(Shape::new(1, 7, 5, 4), 3));
    setup.write_npy("odd.npy", &values, &[1, c, h, w]);
    setup.decode_from("odd.npy", "--output a.y4m").expect_success();
    setup.decode_from("odd.npy", "--output a.npy").expect_success();
    let (values, shape) = setup.read_npy("a.npy");
    assert_eq!(shape, [1, 3, 7, 5]);
    let video = Video::read(&setup.read("a.y4m"));
    assert_eq!(video.parameters[0], "F24:1");
    assert_same(&video, &(values, vec![1, 3, 1, 7, 5]), 0);
}

#[test]
fn what_cannot_hold_a_video_is_refused() {
    let setup = Setup::new("wan");
    for extension in ["png", "jpg", "webp", "tiff"] {
        let words =
            ["one image", "17 frames", ".y4m, .npy or .safetensors", &format!("%05d.{extension}")];
        setup.assert_refused(&format!("--output a.{extension}"), &words);
    }
    setup.assert_refused("--output none/%05d.png", &["create it first"]);
    setup.assert_refused("--output %05d-%d.png", &["several fields"]);
    setup.assert_refused("--output a.npy --fps 16", &["--fps", ".y4m"]);
    setup.assert_refused("--output %05d.png --fps 16", &["--fps", ".y4m"]);
    setup.assert_refused("--output a.mp4 --bit-depth 16", &["8 bits a channel", "libx265", ".y4m"]);
    for output in ["%05d.png", "a.y4m", "a.npy", "-"] {
        let words = ["--codec", ".mp4, .mkv, .webm or .mov"];
        setup.assert_refused(&format!("--output {output} --codec libx265"), &words);
    }
    for (output, words) in [
        ("a.webp", ["no animated WebP", ".webm"]),
        ("a.jpg", ["--animated", "write .png"]),
        ("a.mp4", ["--animated", "leave it out"]),
        ("-", ["--animated", "leave it out"]),
        ("%05d.png", ["field for the number", "all frames in one file"]),
    ] {
        setup.assert_refused(&format!("--output {output} --animated"), &words);
    }
    for every in ["0", "-1", "a", "1.5"] {
        setup.assert_refused(&format!("--output a.mp4 --preview {every}"), &["--preview"]);
    }
    setup.assert_refused("--output - --preview 4", &["--preview", "standard output"]);
    std::fs::create_dir(setup.path("a.preview-00016.png")).expect("a folder");
    setup.assert_refused("--output a.y4m --preview 4", &["a.preview-00016.png", "folder"]);
    setup.assert_refused("--output a.gif --fps 60", &["--fps", "--animated"]);
    setup.assert_refused("--output a.gif --bit-depth 16", &["8 bits"]);
    setup.assert_refused("--output a.png", &["17 frames", "--animated"]);
    setup.assert_refused("--output a.mkv --codec nonesuch", &["nonesuch", "ffmpeg -encoders"]);
    setup.assert_refused("--output a.mkv --codec mpeg4 --bit-depth 16", &["mpeg4", "8 bits"]);
    for fps in ["29.97", "0", "nan", "inf", "24/0", "-1"] {
        setup.assert_refused(&format!("--output a.mp4 --fps {fps}"), &["--fps", "30000/1001"]);
    }
    setup.assert_refused("--output a.mp4 --crf 3", &["--crf", "12", "51"]);
    setup.assert_refused("--output a.mp4 --crf 64", &["--crf"]);
    setup.assert_refused("--output a.y4m --crf 20", &["--crf", ".mp4"]);
    setup.assert_refused("--output %05d.png --pad", &["--pad", ".mp4"]);
    setup.assert_refused("--output %05d.mp4", &["field for the number"]);
    setup.assert_refused("--output a.y4m --fps 29.97", &["--fps", "30000/1001"]);
    setup.assert_refused("--output a.y4m --fps 0", &["--fps"]);
    setup.assert_refused("--output - --report -", &["both write to standard output"]);
    // A name that one of the frames would have.
    std::fs::create_dir(setup.path("00003.png")).expect("a folder");
    setup.assert_refused("--output %05d.png", &["00003.png", "folder"]);

    let layered = Setup::new("qwen-layered");
    layered.assert_refused("--output a.y4m", &["no transparency", "%05d.png"]);
    layered.assert_refused("--output a.mp4", &["no transparency", "%05d.png"]);
    layered.assert_refused("--output -", &["no transparency"]);
    layered.assert_refused("--output %05d.jpg", &["no transparency"]);
    layered.decode("--output %05d.png").expect_success();
    assert_eq!(listing(layered.folder.path()).len(), 5);
    let read = image::open(layered.path("00004.png")).expect("a picture");
    assert!(read.color().has_alpha());
}
