//! Latents in a NumPy array.

#![no_main]

use halovae_engine::latents::{Latents, LatentsFormat};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Latents::from_bytes(bytes, LatentsFormat::Npy, None) {
        Ok(Latents { batch, channels, frames, height, width, data }) => {
            assert_eq!(frames, 1);
            assert_eq!(batch * channels * height * width, data.len());
            assert!(data.iter().all(|value| value.is_finite()));
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
});
