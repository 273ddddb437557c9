//! Every block of Rust in docs/library.md, in a program that runs: a test holds the page against this file.
//! Run where `examples/` is; it writes `video.mp4` there.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    images()?;
    videos()?;
    plans()
}

fn images() -> Result<(), Box<dyn Error>> {
    use halovae::{DecodeOptions, LatentsOptions, Vae};

    let vae = Vae::open("examples/demo-vae/vae")?;
    let file = "examples/demo-vae/latents/astronaut.safetensors";
    let latents = vae.read_latents(file, &LatentsOptions::default())?;
    let picture = vae.decode(&latents.tensor, &DecodeOptions::cpu().ranks(4).tiled())?;
    // f32, [batch, frames, height, width, channels], from -1 to 1:
    let (shape, values) = (picture.shape(), picture.data());

    let file = "examples/demo-vae/latents/china.safetensors";
    let others = vae.read_latents(file, &LatentsOptions::default())?;

    let decoder = vae.decoder(&DecodeOptions::cpu().ranks(4).tiled())?;
    let first = decoder.decode(&latents.tensor)?;
    let second = decoder.decode(&others.tensor)?; // of any size

    assert_eq!((first.shape(), first.data()), (shape, values));
    assert_ne!(second.shape(), shape);
    Ok(())
}

fn videos() -> Result<(), Box<dyn Error>> {
    use halovae::{DecodeOptions, LatentsOptions, Vae};

    let vae = Vae::open("examples/demo-video-vae/vae")?;
    let file = "examples/demo-video-vae/latents/bunny.safetensors";
    let latents = vae.read_latents(file, &LatentsOptions::default())?;
    let mut count = 0;
    let mut show = |frame: usize, bytes: Vec<u8>| {
        assert_eq!((frame, bytes.len()), (count, 176 * 320 * 3));
        count += 1;
    };

    use std::sync::Arc;

    let decoder = Arc::new(vae.decoder(&DecodeOptions::cpu())?);
    for frame in decoder.frames(latents.tensor.clone())? {
        let frame = frame?; // frame.image, frame.index, frame.pixels
        show(frame.index, frame.to_bytes());
    }

    assert_eq!(count, 49);

    use halovae::Control;
    use halovae_media::{FrameRate, Options, OutputFile, Temporary};

    let output = OutputFile::check(Some("video.mp4".as_ref()), Options::default())?;
    let mut sink = output.sink(FrameRate::DEFAULT);
    let done = decoder.decode_into(&latents.tensor, sink.as_mut(), &Control::default())?;
    Temporary::commit(sink.finish()?)?; // all files get their names, or none does

    assert!(done.share.measured > 0);
    Ok(())
}

fn plans() -> Result<(), Box<dyn Error>> {
    use halovae::{CutOptions, OpenOptions, Planner, Size, Strategy, TileOptions};

    let config = "examples/flux-vae-config";
    let planner = Planner::open(config, &OpenOptions::default(), TileOptions::default())?;
    let cut = CutOptions::of(Strategy::Sharded, 4);
    let (planned, estimates) = planner.plan(Size::new(128, 128), &cut, 4)?;

    assert_eq!((planned.ranks, estimates.ranks.len()), (4, 4));

    use halovae::{DescribeOptions, Vae};

    let about = Vae::open("examples/demo-vae/vae")?.describe(&DescribeOptions::default())?;
    let (class, bytes) = (about.checkpoint.class, about.image.bytes());

    assert_eq!(class, "AutoencoderKL");
    assert!(bytes > 1 << 20);
    Ok(())
}
