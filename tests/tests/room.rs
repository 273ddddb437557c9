//! A decode that does not fit says what does, and that does fit.

use halovae_core::{AxisTiling, Direction, Plan, Size, TileGrid, Tiling};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::AutoencoderKlConfig;
use halovae_engine::conformance::RandomWeights;
use halovae_engine::decode::{Control, DecodeError, Decoder, Place};
use halovae_engine::group::{Cause, Failure};
use halovae_engine::room::Room;
use halovae_engine::shard::ParkLimit;
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::HostTensor;
use halovae_tests::adapter::open;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::{Cut, SmallModel, decode, plan, size_of};
use halovae_wgpu::{Options, WgpuBackend};

fn tiled(latents: Size, scale: u32, pixels: u32) -> Plan {
    let axis = AxisTiling::Overlap {
        tile_sample_min_size: pixels,
        tile_latent_min_size: pixels / scale,
        tile_overlap_factor: 0.25,
    };
    let tiling = Tiling::new(axis, axis, scale);
    Plan::tiled(TileGrid::new(Direction::Decode, latents, &tiling).expect("a grid"))
}

fn try_to<B: Backend>(
    decoder: &Decoder<B>,
    latents: &HostTensor,
    plan: &Plan,
    park: Option<ParkLimit>,
) -> Result<HostTensor, DecodeError> {
    let mut sink = MemorySink::default();
    let control = Control { park, ..Control::default() };
    decoder.decode(latents, plan, &mut sink, &control)?;
    Ok(sink.into_picture().expect("a picture"))
}

/// Whatever part of the memory there is that a whole decode takes.
#[test]
fn what_is_said_to_fit_does() {
    let config = AutoencoderKlConfig {
        block_out_channels: vec![8, 16],
        norm_num_groups: 4,
        mid_block_add_attention: false,
        ..AutoencoderKlConfig::default()
    };
    let model = SmallModel { config, weights: RandomWeights { seed: 2 } };
    let latents = model.latents(1, 530, 600, 7);
    let (size, scale) = (size_of(&latents), model.config.scale());
    let whole = plan(&model.config, size, Cut::Whole);
    let on = |max_memory_bytes| -> Decoder<WgpuBackend> {
        let device = open(Options { max_memory_bytes, ..Options::default() });
        model.decoder(vec![device.backend()])
    };
    let roomy = on(None);
    let expected = decode(&roomy, &latents, &whole);
    let peak = roomy.backends().next().expect("a rank").memory().peak;
    let mut said = [0; 2];
    for tenths in [3, 6, 9] {
        let what = format!("{tenths} tenths of {peak} bytes");
        let decoder = on(Some(peak * tenths / 10));
        let error = try_to(&decoder, &latents, &whole, None).expect_err(&what);
        let DecodeError::Failed(Failure { cause: Cause::NoRoom { error, room }, .. }) = error
        else {
            panic!("{what}: {error}");
        };
        eprintln!("{what}: {error}; {room}");
        let Room { held, tile, sharded } = *room;
        assert!(held > 0 && held <= peak * tenths / 10, "{what}: {held} held");
        if let Some(pixels) = tile {
            let plan = tiled(size, scale, pixels);
            try_to(&decoder, &latents, &plan, None).expect(&what);
            // And not much less than what would do.
            let larger = tiled(size, scale, pixels * 2);
            let estimate = |plan| decoder.estimate_peak_bytes(plan, 1, Place::all(1), None, 1);
            assert!(estimate(&larger).expect("a plan") > held, "{what}: {pixels} is too few");
            said[0] += 1;
        }
        if let Some(budget) = sharded {
            let fit = decoder.fit_shards(size, Place::all(1), budget, None, 1).expect(&what);
            let park = ParkLimit { bytes: fit.limit, scratch: std::env::temp_dir() };
            let got = try_to(&decoder, &latents, &Plan::sharded(fit.grid), Some(park));
            assert_f32_close(&what, &got.expect(&what), &expected);
            said[1] += 1;
        }
    }
    assert!(said[0] >= 2 && said[1] >= 1, "too little is said: {said:?}");
}
