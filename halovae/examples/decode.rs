//! Decodes a file of latents into a picture, or into a video if they have frames.
//!
//! ```text
//! cargo run --release -p halovae --example decode -- examples/demo-vae/vae \
//!     examples/demo-vae/latents/astronaut.safetensors astronaut.png
//! ```

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::error::Error;

use halovae::{Control, DecodeOptions, LatentsOptions, Vae};
use halovae_media::{FrameRate, Options, OutputFile, Temporary};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vae, latents, output] = &arguments[..] else {
        return Err("give a VAE, latents and an output".into());
    };

    // What cannot be written is found before anything is decoded.
    let output = OutputFile::check(Some(output.as_ref()), Options::default())?;
    let vae = Vae::open(vae)?;
    let latents = vae.read_latents(latents, &LatentsOptions::default())?.tensor;
    // Tiled over four ranks, on the first GPUs or else on the CPU.
    let options = DecodeOptions::default().ranks(4).tiled();
    let planned = vae.plan(latents.shape(), &options, None)?;
    let result = vae.result(&planned, latents.shape());
    output.files(result)?;
    let rate = vae.config().frames_per_second().map_or(FrameRate::DEFAULT, FrameRate::whole);
    output.probe(result, rate)?;

    let options = options.sink_bytes(output.bytes(result));
    let decoder = vae.decoder_for(&planned, &options)?;
    let mut sink = output.sink(rate);
    let done = decoder.decode_into(&latents, sink.as_mut(), &Control::default())?;
    for notice in decoder.notices().iter().chain(&done.notices) {
        eprintln!("note: {notice}");
    }
    // All files get their names, or none does.
    for file in Temporary::commit(sink.finish()?)? {
        println!("{} in {:.1} s", file.display(), done.report.seconds.decode);
    }
    Ok(())
}
