//! What is decoded is what the engine decodes, however the library is asked.

use halovae::plan::cells_of_pixels;
use halovae::{Axes, Control, CutOptions, MemorySink, Planner, Strategy, TileOptions, Vae};
use halovae::{Error, LatentsFormat, LatentsOptions};
use halovae_core::Size;
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::random_tensor;

use super::{golden, one_thread};

#[test]
fn decodes_are_those_of_diffusers() {
    for name in ["f8-flux", "f2-complete"] {
        let (vae, latents) = golden(name);
        let expected = halovae_tests::golden::Golden::load(name);
        let whole = vae.decode(&latents, &one_thread().strategy(Strategy::Whole)).unwrap();
        assert_f32_close(name, &whole, expected.expected("whole"));
        let tiled = vae.decode(&latents, &one_thread().ranks(2).strategy(Strategy::Tiled));
        assert_f32_close(name, &tiled.unwrap(), expected.expected("tiled"));
    }
}

/// One decoder takes latents of any size, and of each uses the ranks that they keep busy.
#[test]
fn a_decoder_takes_any_latents() {
    let (vae, _) = golden("f2-complete");
    let channels = vae.program().latent_channels() as usize;
    for strategy in [Strategy::Tiled, Strategy::Sharded] {
        let four = vae.decoder(&one_thread().ranks(4).strategy(strategy)).unwrap();
        assert_eq!(four.rank_count(), 4);
        for [batch, height, width] in [[1, 40, 40], [1, 1, 1], [1, 2, 2], [3, 9, 12], [1, 40, 40]] {
            let latents = random_tensor(Shape::new(batch, height, width, channels), 1);
            let alone = vae.decode(&latents, &one_thread().strategy(strategy)).unwrap();
            let together = four.decode(&latents).unwrap();
            let what = format!("{strategy}, {batch} of {height} x {width}");
            match strategy {
                Strategy::Tiled => assert_same_bytes(&what, &together, &alone),
                _ => assert_f32_close(&what, &together, &alone),
            }
        }
    }
}

/// A decoder for any number of frames decodes single ones as that does which is prepared for them.
#[test]
fn a_decoder_of_videos_takes_images() {
    let (vae, latents) = golden("wan");
    let Shape { height, width, channels, .. } = latents.shape();
    let image = random_tensor(Shape::new(1, height, width, channels), 2);
    let any = vae.decoder(&one_thread()).unwrap();
    let of_image = vae.decode(&image, &one_thread()).unwrap();
    assert_f32_close("an image", &any.decode(&image).unwrap(), &of_image);
    let of_video = vae.decode(&latents, &one_thread()).unwrap();
    assert_same_bytes("a video", &any.decode(&latents).unwrap(), &of_video);
    // And the other way round there is no silent way.
    let planned = vae.plan(image.shape(), &one_thread(), None).unwrap();
    let single = vae.decoder_for(&planned, &one_thread()).unwrap();
    assert!(single.decode(&latents).unwrap_err().to_string().contains("folded for single ones"));
}

/// Latents in memory are those of the file, and what is wrong with them is told.
#[test]
fn latents_come_from_memory_too() {
    let (vae, latents) = golden("wan");
    let file = halovae_tests::golden::folder().join("wan/latents.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let options = LatentsOptions::default();
    let of = |bytes: Vec<u8>, format| vae.read_latents_from(bytes, format, &options);
    let read = of(bytes.clone(), LatentsFormat::Safetensors).unwrap().tensor;
    assert_same_bytes("from memory", &read, &latents);
    for refused in [
        of(bytes[..100].to_vec(), LatentsFormat::Safetensors),
        of(bytes, LatentsFormat::Npy),
        of(Vec::new(), LatentsFormat::Npy),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Latents(_)), "{error}");
        assert!(error.to_string().contains("<memory>"), "{error}");
    }
}

#[test]
fn what_was_done_is_told() {
    let (vae, latents) = golden("wan");
    let mut options = one_thread().ranks(2).strategy(Strategy::Sharded);
    options.trace = true;
    let decoder = vae.decoder(&options).unwrap();
    for _ in 0..2 {
        let mut sink = MemorySink::default();
        let done = decoder.decode_into(&latents, &mut sink, &Control::default()).unwrap();
        assert_eq!(done.share.pieces.len(), 2 * latents.shape().batch);
        assert!(done.share.ops.iter().any(|op| op.flops > 0));
        let ranks: Vec<u32> = done.report.pieces.iter().map(|piece| piece.rank).collect();
        assert!(ranks.contains(&0) && ranks.contains(&1), "{ranks:?}");
    }
    // Without a sink the rows go nowhere.
    let planned = decoder.plan(latents.shape()).unwrap();
    let job = decoder.job(planned, latents.shape(), None).unwrap();
    let done = job.run(&latents, None, &Control::default()).unwrap();
    assert_eq!(done.share.pieces.len(), 2 * latents.shape().batch);
}

/// A plan is made of the same numbers with and without the weights at hand, and is that of the decode.
#[test]
fn plans_are_those_of_decodes() {
    let (vae, latents) = golden("wan");
    let planner = Planner::new(&vae, TileOptions::default()).unwrap();
    let mut cut = CutOptions::of(Strategy::Sharded, 4);
    cut.shard_grid = Some(Axes::new(1, 2, 2));
    let (planned, estimates) = planner.plan(latents.shape().size(), &cut, 4).unwrap();
    let mut options = one_thread();
    options.cut = cut;
    let of_decode = vae.plan(latents.shape(), &options, None).unwrap();
    assert_eq!(planned.plan, of_decode.plan);
    assert_eq!(estimates.owners, [0, 1, 2, 3]);
    let memory = estimates.memory.expect("a decoder is known");
    assert_eq!(memory.live.len(), 4);

    let scale = planner.tiling().scale.space;
    let size = Size::new(cells_of_pixels("height", 2 * scale, scale).unwrap(), 3);
    assert_eq!(size, Size::new(2, 3));
    let unknown = Planner::of_scale(8, {
        let mut tiles = TileOptions::default();
        tiles.tile_sample_min_size = Some([64, 64]);
        tiles
    });
    let unknown = unknown.unwrap();
    let (tiled, estimates) =
        unknown.plan(Size::new(20, 20), &CutOptions::of(Strategy::Tiled, 3), 3).unwrap();
    assert!(tiled.plan.piece_count() > 3 && estimates.memory.is_none());
}

/// The checkpoint is not needed once its weights are on the devices.
#[test]
fn a_decoder_outlives_its_vae() {
    let (vae, latents) = golden("f8-sd");
    let expected = vae.decode(&latents, &one_thread()).unwrap();
    let decoder = vae.decoder(&one_thread()).unwrap();
    drop::<Vae>(vae);
    let decoded: HostTensor = decoder.decode(&latents).unwrap();
    assert_same_bytes("without the checkpoint", &decoded, &expected);
}
