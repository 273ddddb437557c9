//! The text of a `config.json`.

#![no_main]

use halovae_core::AxisTiling;
use halovae_engine::checkpoint::parse_config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse_config(bytes) {
        Ok(config) => {
            config.validate().expect("what is read is valid");
            let tiling = config.tiling();
            for axis in [tiling.height, tiling.width] {
                let cells = match axis {
                    AxisTiling::Overlap { tile_latent_min_size, .. } => tile_latent_min_size,
                    AxisTiling::Whole => continue,
                    AxisTiling::Stride { tile_sample_min_size, .. } => {
                        tile_sample_min_size / tiling.scale.space
                    }
                };
                assert!(cells >= 1, "{tiling:?}");
            }
            if let Some(time) = tiling.time {
                let frames = time.tile_sample_min_num_frames / tiling.scale.time.factor;
                assert!(frames >= 1, "{tiling:?}");
            }
            for space in [config.latent_space(), config.comfy_space()].into_iter().flatten() {
                assert!(space.scaling_factor.is_normal() && space.shift_factor.is_finite());
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
});
