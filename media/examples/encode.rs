//! Writes a video of raw frames, as a decode writes it: what `scripts/compare_encoders` measures.
//!
//! ```text
//! encode WIDTH HEIGHT FRAMES OUTPUT < FRAMES_OF_RGB24
//! ```

use std::error::Error;
use std::io::Read;
use std::path::Path;

use halovae_engine::sink::RowsAt;
use halovae_engine::tensor::Shape;
use halovae_media::{FrameRate, Options, OutputFile, Temporary};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [width, height, frames, output] = &arguments[..] else {
        return Err(
            "expected WIDTH HEIGHT FRAMES OUTPUT, and frames of RGB24 on standard input".into()
        );
    };
    let shape = Shape::new(1, height.parse()?, width.parse()?, 3).over(frames.parse()?);
    let output = OutputFile::check(Some(Path::new(output)), Options::default())?;
    output.files(shape)?;
    let mut sink = output.sink(FrameRate::DEFAULT);
    sink.begin(shape)?;
    let mut bytes = vec![0; shape.frame_len()];
    for frame in 0..shape.frames {
        std::io::stdin().read_exact(&mut bytes)?;
        let values: Vec<f32> =
            bytes.iter().map(|&byte| f32::from(byte) / 255.0 * 2.0 - 1.0).collect();
        sink.write_rows(RowsAt { image: 0, frame, top: 0 }, &values)?;
    }
    Temporary::commit(sink.finish()?)?;
    Ok(())
}
