//! Decodes a video frame by frame, in memory that does not grow with it, and writes each frame to standard
//! output as soon as it is finished: raw RGB, which `ffmpeg` and players take.
//!
//! ```text
//! cargo run --release -p halovae --example stream -- VAE LATENTS |
//!     ffmpeg -f rawvideo -pixel_format rgb24 -video_size 832x480 -framerate 16 -i - video.mp4
//! ```

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use halovae::{DecodeOptions, Frame, LatentsOptions, Vae};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vae, latents] = &arguments[..] else { return Err("give a VAE and latents".into()) };

    let vae = Vae::open(vae)?;
    let latents = vae.read_latents(latents, &LatentsOptions::default())?;
    let decoder = Arc::new(vae.decoder(&DecodeOptions::cpu())?);
    let mut stdout = std::io::stdout().lock();
    let frames = decoder.frames(latents.tensor)?;
    let count = frames.shape().frames;
    for frame in frames {
        let frame: Frame = frame?;
        stdout.write_all(&frame.to_bytes())?;
        eprintln!("frame {} of {count}", frame.index + 1);
    }
    Ok(())
}
