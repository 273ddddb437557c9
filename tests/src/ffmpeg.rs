//! What ffmpeg and ffprobe find in a file: readers that know nothing of its writer.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("cannot run {program}: {error}; install it: sudo apt-get install ffmpeg")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{program} {arguments:?}: {said}");
    output.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// What ffprobe tells of the only stream of a file, its frames counted.
///
/// # Panics
/// If ffprobe has anything against the file, or is not there.
#[track_caller]
pub fn probe(path: &Path) -> Value {
    let flags = ["-v", "error", "-count_frames", "-show_streams", "-of", "json", text(path)];
    let found: Value = serde_json::from_slice(&run("ffprobe", &flags)).expect("JSON");
    let streams = found["streams"].as_array().expect("streams");
    assert_eq!(streams.len(), 1, "{found}");
    streams[0].clone()
}

/// Fails unless these fields are as given.
///
/// # Panics
/// If they are not.
#[track_caller]
pub fn assert_fields(stream: &Value, expected: &[(&str, &str)]) {
    for (name, expected) in expected {
        let field = &stream[name];
        let text = field.as_str().map_or_else(|| field.to_string(), str::to_owned);
        assert_eq!(&text, expected, "{name} of {stream}");
    }
}

/// The luma of each frame of a video of 8 bits, which no conversion has touched; `pixels` of each.
///
/// # Panics
/// If ffmpeg has anything against the file, or is not there.
#[track_caller]
pub fn luma(path: &Path, pixels: usize) -> Vec<Vec<u8>> {
    let to = ["-vf", "extractplanes=y", "-f", "rawvideo", "-pix_fmt", "gray", "-"];
    let mut arguments = vec!["-v", "error", "-i", text(path), "-vsync", "passthrough"];
    arguments.extend(to);
    run("ffmpeg", &arguments).chunks(pixels).map(<[u8]>::to_vec).collect()
}

/// The ratio of the largest level's square to the mean square of differences, in dB.
///
/// # Panics
/// If they are not as many.
#[track_caller]
pub fn psnr(got: &[u8], expected: &[u8]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let squares = got.iter().zip(expected).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
    10.0 * (255.0f64.powi(2) / (squares.sum::<f64>() / got.len() as f64)).log10()
}
