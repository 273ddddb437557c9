//! `.mp4` with the built-in H.264.

use halovae_engine::tensor::Shape;
use halovae_media::Options;

use crate::clip::{Clip, psnr};
use crate::ffmpeg::{BT709, assert_fields, frames, probe};

fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

/// A rate of its own, colours that are told twice (the stream's and the container's), and frames that are
/// close.
#[test]
fn others_read_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    for (frames_of_it, rate) in
        [(1, "24"), (9, "30000/1001"), (70, "16"), (5, "24000/1001"), (3, "1/2")]
    {
        let clip = Clip::new(Shape::new(1, 144, 208, 3).over(frames_of_it));
        let path = folder.path().join("a.mp4");
        let options = options(|options| options.fps = Some(rate.parse().unwrap()));
        clip.write(&path, options).unwrap();
        let stream = probe(&path);
        let rate = if rate.contains('/') { rate.to_owned() } else { format!("{rate}/1") };
        assert_fields(&stream, &BT709);
        assert_fields(
            &stream,
            &[
                ("codec_name", "h264"),
                ("pix_fmt", "yuv420p"),
                ("width", "208"),
                ("height", "144"),
                ("sample_aspect_ratio", "1:1"),
                ("r_frame_rate", &rate),
                ("avg_frame_rate", &rate),
                ("nb_read_frames", &frames_of_it.to_string()),
                ("start_pts", "0"),
            ],
        );
        let got = frames(&path, "rgb24");
        let db = psnr(&got, &clip.bytes(0, [144, 208]));
        assert!(db > 40.0, "{db} dB");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Any even sides, any number of frames; gray; and odd sides that are padded by what is at the edge.
#[test]
fn frames_of_any_size_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let shapes = [
        (16, 16, 3, 3),
        (16, 18, 2, 3),
        (34, 16, 4, 1),
        (50, 130, 61, 3),
        (17, 33, 2, 3),
        (21, 16, 3, 1),
        (16, 255, 1, 3),
    ];
    for (height, width, count, channels) in shapes {
        let clip = Clip::new(Shape::new(1, height, width, channels).over(count));
        let path = folder.path().join("a.mp4");
        let padded = [height, width].map(|side| side + side % 2);
        let result = clip.write(&path, Options::default());
        if padded != [height, width] {
            let refused = result.unwrap_err();
            for word in ["even sides", "--pad", ".y4m", "%05d.png", &format!("{height} x {width}")]
            {
                assert!(refused.contains(word), "{refused}");
            }
            clip.write(&path, options(|options| options.pad = true)).unwrap();
        }
        let stream = probe(&path);
        assert_fields(
            &stream,
            &[
                ("height", &padded[0].to_string()),
                ("width", &padded[1].to_string()),
                ("nb_read_frames", &count.to_string()),
            ],
        );
        let pixels = clip.bytes(0, padded);
        let expected = match channels {
            1 => pixels.into_iter().flat_map(|level| [level; 3]).collect(),
            _ => pixels,
        };
        let db = psnr(&frames(&path, "rgb24"), &expected);
        assert!(db > 40.0, "{height} x {width}: {db} dB");
    }
}

#[test]
fn a_batch_becomes_a_file_each() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::new(Shape::new(3, 64, 96, 3).over(4));
    let files = clip.write(&folder.path().join("a.mp4"), Options::default()).unwrap();
    let names: Vec<_> = (0..3).map(|video| folder.path().join(format!("a-{video}.mp4"))).collect();
    assert_eq!(files, names);
    for (video, file) in files.iter().enumerate() {
        assert!(psnr(&frames(file, "rgb24"), &clip.bytes(video, [64, 96])) > 40.0);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn quality_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::new(Shape::new(1, 144, 208, 3).over(6));
    let path = folder.path().join("a.mp4");
    let mut before = (u64::MAX, f64::INFINITY);
    for crf in [12, 18, 30, 51] {
        clip.write(&path, options(|options| options.crf = Some(crf))).unwrap();
        let db = psnr(&frames(&path, "rgb24"), &clip.bytes(0, [144, 208]));
        let bytes = path.metadata().unwrap().len();
        assert!(bytes < before.0 && db < before.1, "--crf {crf}: {bytes} bytes, {db} dB");
        before = (bytes, db);
    }
}

#[test]
fn what_it_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |shape: Shape, options: Options| {
        let path = folder.path().join("a.mp4");
        let output = halovae_media::OutputFile::check(Some(&path), options).unwrap();
        format!("{:#}", output.files(shape).unwrap_err())
    };
    for shape in [(2162, 3840), (2160, 3842), (3842, 16), (14, 64), (64, 2)] {
        let told = refused(Shape::new(1, shape.0, shape.1, 3), Options::default());
        assert!(told.contains("libx264") && told.contains("3840"), "{told}");
    }
    let told = refused(Shape::new(1, 64, 64, 4).over(2), Options::default());
    assert!(told.contains("no transparency") && told.contains("%05d.png"), "{told}");
    assert!(refused(Shape::new(1, 64, 64, 2), Options::default()).contains(".npy"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Frames that have more in them than the encoder has room for come back all the same.
#[test]
fn noise_is_encoded_as_finely_as_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    for (name, crf, [height, width]) in [("a.mp4", 12, [64, 64]), ("b.mp4", 18, [176, 320])] {
        let clip = Clip::noise(Shape::new(1, height, width, 3).over(4));
        let path = folder.path().join(name);
        clip.write(&path, options(|options| options.crf = Some(crf))).unwrap();
        assert_fields(&probe(&path), &[("nb_read_frames", "4"), ("codec_name", "h264")]);
    }
}

#[test]
fn rates_that_no_reader_takes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::new(Shape::new(1, 16, 16, 3).over(2));
    for rate in ["4294967295", "1/4294967295", "4294967295/4294967294"] {
        let timed = options(|options| options.fps = Some(rate.parse().unwrap()));
        let refused = clip.write(&folder.path().join("a.mp4"), timed).unwrap_err();
        assert!(refused.contains("--fps"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
