//! The text of a `config.json`.

#![no_main]

use halovae_engine::checkpoint::AutoencoderKlConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match AutoencoderKlConfig::from_json(bytes) {
        Ok(config) => {
            config.validate().expect("what is read is valid");
            let tiles = config.tile_latent_min_size();
            assert!(tiles.into_iter().all(|cells| cells >= 1), "{tiles:?}");
            let space = config.latent_space();
            assert!(space.scaling_factor.is_normal() && space.shift_factor.is_finite());
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
});
