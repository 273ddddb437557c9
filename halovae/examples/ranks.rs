//! One decode over several processes, exactly: each is started with its rank, decodes its shard and exchanges
//! halos with the others over TCP. Rank 0 has the picture.
//!
//! ```text
//! for rank in 0 1; do
//!     cargo run --release -p halovae --example ranks -- $rank 2 127.0.0.1 29500 \
//!         examples/demo-vae/vae examples/demo-vae/latents/china.safetensors &
//! done; wait
//! ```

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::error::Error;
use std::time::Duration;

use halovae::engine::group::{Group, Limits, ProcessGroup};
use halovae::{
    Cancel, Control, DecodeOptions, LatentsOptions, MemorySink, Sink, Strategy, Together, Vae,
};
use halovae_tcp::{Meeting, World};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rank, size, host, port, vae, latents] = &arguments[..] else {
        return Err(
            "give a rank, the number of ranks, rank 0's host and port, a VAE and latents".into()
        );
    };
    let (rank, size) = (rank.parse()?, size.parse()?);

    // Every rank opens the same files and makes the same plan.
    let vae = Vae::open(vae)?;
    let latents = vae.read_latents(latents, &LatentsOptions::default())?.tensor;
    let options = DecodeOptions::cpu().ranks(size).strategy(Strategy::Sharded);
    let planned = vae.plan(latents.shape(), &options, Some(size))?;

    let meeting = Meeting { rank, size, host: host.clone(), port: port.parse()? };
    let world = World::join(&meeting)?;
    let cancel = Cancel::new();
    let limits = Limits::new(Duration::from_secs(60));
    let Some(group) = world.group(planned.ranks, limits, &cancel)? else {
        return Ok(()); // There are fewer shards than ranks.
    };

    let decoder = vae.decoder_of_rank(&planned, &options, world.neighbours().index)?;
    let together = Together::new(&group, world.neighbours().count);
    let job = decoder.job(planned, latents.shape(), Some(together))?;
    let mut picture = MemorySink::default();
    let sink: Option<&mut dyn Sink> = if rank == 0 { Some(&mut picture) } else { None };
    let done = job.run(&latents, sink, &Control::new(cancel))?;
    println!("rank {} decoded {} shard(s)", group.rank(), done.share.pieces.len());
    if let Some(picture) = picture.into_picture() {
        println!("the picture is {}", picture.shape());
    }
    // No rank leaves while another one may still need it.
    group.watch().close(String::new())?;
    drop(group);
    world.finish();
    Ok(())
}
