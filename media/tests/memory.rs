//! What sinks say that they hold, against what the system counts while they write.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use halovae_engine::sink::{ROWS_AT_ONCE, RowsAt};
use halovae_engine::tensor::Shape;
use halovae_media::{Depth, FrameRate, Options, OutputFile, Temporary};

const HEIGHT: usize = 1000;
const WIDTH: usize = 1504;
const FRAMES: usize = 5;

/// What the process holds beside: rows as they come, code that is read in while it writes.
const BESIDE: u64 = 3 << 20;

/// The name of the test below, which runs again for each case, in a process of its own.
const TEST: &str = "what_sinks_hold_is_what_they_say";
/// Tells that process its case.
const CASE: &str = "HALOVAE_MEMORY_CASE";

/// The most that a sink says, as a multiple of what is counted.
const MOST: f64 = 1.5;

struct Case {
    name: &'static str,
    shape: Shape,
    options: Options,
}

fn cases() -> Vec<Case> {
    let image = |channels| Shape::new(1, HEIGHT, WIDTH, channels);
    let video = |channels| image(channels).over(FRAMES);
    let case = |name, shape| Case { name, shape, options: Options::default() };
    let animated = |shape, depth| {
        let mut case = case("a.png", shape);
        case.options.animated = true;
        case.options.bit_depth = depth;
        case
    };
    let mut previewed = case("b.y4m", video(3));
    previewed.options.preview = Some(std::num::NonZeroU32::MIN);
    let mut cases = vec![
        case("a.gif", video(3)),
        case("a.gif", video(1)),
        animated(video(3), Depth::Eight),
        animated(video(4), Depth::Sixteen),
        case("a.y4m", video(3)),
        previewed,
        case("a.npy", video(3)),
        case("%d.png", video(3)),
        case("a.jpg", image(3)),
        case("a.tiff", image(3)),
        case("a.webp", image(3)),
        case("a.webp", image(4)),
        case("a.mkv", video(3)),
    ];
    if cfg!(feature = "mp4") {
        cases.push(case("a.mp4", video(3)));
        cases.push(case("a.mp4", Shape::new(1, 2160, 3840, 3).over(3)));
    }
    cases
}

/// The bytes in a line of `/proc/self/status`.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Writes noise, which is the most that there is to encode; gives what the sink said, and how many more
/// bytes the process had at most than before.
fn write(case: &Case, folder: &Path) -> [u64; 2] {
    let path = folder.join(case.name);
    let output = OutputFile::check(Some(&path), case.options.clone()).expect("an output");
    output.files(case.shape).expect("a shape that fits");
    let Shape { batch, frames, height, width, channels } = case.shape;
    assert_eq!(batch, 1);
    let mut state = 1u64;
    let mut rows = vec![0f32; ROWS_AT_ONCE as usize * width * channels];
    // From here on the peak counts.
    std::fs::write("/proc/self/clear_refs", "5").expect("a peak that can be reset");
    let before = status("VmRSS:");
    let mut sink = output.sink(FrameRate::DEFAULT);
    sink.begin(case.shape).expect("a beginning");
    for frame in 0..frames {
        for top in (0..height).step_by(ROWS_AT_ONCE as usize) {
            let count = (ROWS_AT_ONCE as usize).min(height - top);
            let rows = &mut rows[..count * width * channels];
            for value in rows.iter_mut() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *value = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            }
            sink.write_rows(RowsAt { image: 0, frame, top }, rows).expect("rows");
        }
    }
    Temporary::commit(sink.finish().expect("files")).expect("names");
    [output.bytes(case.shape), status("VmHWM:") - before]
}

#[test]
fn what_sinks_hold_is_what_they_say() {
    let cases = cases();
    if let Ok(case) = std::env::var(CASE) {
        let folder = tempfile::tempdir().expect("a folder");
        let case = &cases[case.parse::<usize>().expect("a number")];
        let [said, counted] = write(case, folder.path());
        std::fs::write(
            std::env::var("HALOVAE_MEMORY_TO").expect("a file"),
            format!("{said} {counted}"),
        )
        .expect("a file");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("figures");
    for (index, case) in cases.iter().enumerate() {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args([TEST, "--exact"]).env(CASE, index.to_string()).env("HALOVAE_MEMORY_TO", &to);
        // What is large goes back to the system when it is freed.
        command.env("MALLOC_MMAP_THRESHOLD_", (1 << 16).to_string());
        let run = command.output().expect("a process");
        let what = format!("{} of {}", case.name, case.shape);
        assert!(run.status.success(), "{what}: {}", String::from_utf8_lossy(&run.stdout));
        let figures = std::fs::read_to_string(&to).expect("figures");
        let figures: Vec<u64> =
            figures.split(' ').map(|figure| figure.parse().expect("a number")).collect();
        let (said, counted) = (figures[0], figures[1]);
        let pixels = (case.shape.height * case.shape.width) as f64;
        eprintln!(
            "{what}: {said} said, {counted} counted, {:.2} and {:.2} a pixel",
            said as f64 / pixels,
            counted as f64 / pixels
        );
        assert!(counted <= said + BESIDE, "{what}: {said} said, {counted} counted");
        let most = counted as f64 * MOST + 2.0 * BESIDE as f64;
        assert!(said as f64 <= most, "{what}: {said} said, {counted} counted");
    }
}
