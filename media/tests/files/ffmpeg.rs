//! What ffmpeg and ffprobe find in a file: readers that know nothing of its writer.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs a program to its end and gives what it wrote.
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
#[track_caller]
pub(crate) fn probe(path: &Path) -> Value {
    let flags = ["-v", "error", "-count_frames", "-show_streams", "-of", "json", text(path)];
    let found: Value = serde_json::from_slice(&run("ffprobe", &flags)).expect("JSON");
    let streams = found["streams"].as_array().expect("streams");
    assert_eq!(streams.len(), 1, "{found}");
    streams[0].clone()
}

/// Fails unless these fields are as given.
#[track_caller]
pub(crate) fn assert_fields(stream: &Value, expected: &[(&str, &str)]) {
    for (name, expected) in expected {
        let field = &stream[name];
        let text = field.as_str().map_or_else(|| field.to_string(), str::to_owned);
        assert_eq!(&text, expected, "{name} of {stream}");
    }
}

/// BT.709 in limited range.
pub(crate) const BT709: [(&str, &str); 4] = [
    ("color_range", "tv"),
    ("color_space", "bt709"),
    ("color_primaries", "bt709"),
    ("color_transfer", "bt709"),
];

/// Every frame as samples of that pixel format, one behind the other.
#[track_caller]
pub(crate) fn frames(path: &Path, pixel_format: &str) -> Vec<u8> {
    let to = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-"];
    // The exact conversion, and frames as they are, whatever their times say.
    let how = ["-vsync", "passthrough", "-sws_flags", "accurate_rnd+full_chroma_int+bicubic"];
    let mut arguments = vec!["-v", "error", "-i", text(path)];
    arguments.extend(how);
    arguments.extend(to);
    run("ffmpeg", &arguments)
}

/// The same of a pixel format of 16 bits in little endian.
#[track_caller]
pub(crate) fn words(path: &Path, pixel_format: &str) -> Vec<u16> {
    let bytes = frames(path, pixel_format);
    bytes.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]])).collect()
}

/// When each frame is shown, in seconds.
#[track_caller]
pub(crate) fn times(path: &Path) -> Vec<f64> {
    let flags = ["-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0", text(path)];
    let lines = String::from_utf8(run("ffprobe", &flags)).expect("text");
    lines.lines().map(|line| line.trim_end_matches(',').parse().expect("a time")).collect()
}
