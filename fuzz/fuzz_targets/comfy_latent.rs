//! Latents in a safetensors file, ComfyUI's and others', and their way to the VAE's space.

#![no_main]

use halovae_engine::latents::{LatentSpace, Latents, LatentsError, LatentsFormat};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    comfy: bool,
    with_key: bool,
    mean_and_std: bool,
    scaling_factor: f32,
    shift_factor: f32,
    expected_channels: u8,
    bytes: &'a [u8],
}

fn run(input: &Input<'_>) -> Result<(), LatentsError> {
    let format = match input.comfy {
        true => LatentsFormat::ComfyLatent,
        false => LatentsFormat::Safetensors,
    };
    let key = input.with_key.then_some("z");
    let mut latents = Latents::from_bytes(input.bytes, format, key)?;
    let elements = latents.batch * latents.channels * latents.height * latents.width;
    assert_eq!(elements, latents.data.len());
    assert!(latents.data.iter().all(|value| value.is_finite()));

    let channels = usize::from(input.expected_channels);
    let space = LatentSpace {
        scaling_factor: input.scaling_factor,
        shift_factor: input.shift_factor,
        mean_and_std: input
            .mean_and_std
            .then(|| (vec![input.shift_factor; channels], vec![input.scaling_factor; channels])),
    };
    latents.to_vae_space(&space)?;
    assert!(latents.data.iter().all(|value| value.is_finite()));
    latents.expect_channels(channels)
}

fuzz_target!(|input: Input<'_>| {
    if let Err(error) = run(&input) {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
});
