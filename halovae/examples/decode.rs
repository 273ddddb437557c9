//! Decodes latents into a picture in memory, and says what it is like.
//!
//! ```text
//! cargo run --release -p halovae --example decode -- examples/demo-vae/vae \
//!     examples/demo-vae/latents/astronaut.safetensors
//! ```

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::error::Error;

use halovae::{DecodeOptions, LatentsOptions, Vae};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vae, latents] = &arguments[..] else { return Err("give a VAE and latents".into()) };

    let vae = Vae::open(vae)?;
    let latents = vae.read_latents(latents, &LatentsOptions::default())?;
    // Tiled over four ranks, on the first GPUs or else on the CPU.
    let picture = vae.decode(&latents.tensor, &DecodeOptions::default().ranks(4).tiled())?;

    let mean = picture.data().iter().sum::<f32>() / picture.data().len() as f32;
    println!("{} (batch x frames x height x width x channels), mean {mean:.3}", picture.shape());
    Ok(())
}
