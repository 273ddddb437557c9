//! Latents in a safetensors file, ComfyUI's, packed and others', and their way to the VAE's space.

#![no_main]

use halovae_engine::latents::{
    LatentSpace, LatentsError, LatentsFile, LatentsFormat, Packing, TokenContent, TokenOrder,
    Wanted,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    packed: bool,
    layers: bool,
    sides: Option<[u32; 2]>,
    video: bool,
    with_key: bool,
    mean_and_std: bool,
    scaling_factor: f32,
    shift_factor: f32,
    expected_channels: u8,
    in_place: bool,
    comfy: bool,
    of_tokens: bool,
    bytes: &'a [u8],
}

fn run(input: &Input<'_>) -> Result<(), LatentsError> {
    let key = input.with_key.then_some("z");
    let file = LatentsFile::from_bytes(input.bytes.to_vec(), LatentsFormat::Safetensors, key)?;

    let channels = usize::from(input.expected_channels);
    let order = TokenOrder::ChannelsFirst;
    let content = if input.layers { TokenContent::Layers } else { TokenContent::Picture };
    let in_place = input.in_place && !input.layers;
    let packing = Packing { patch_height: 2, patch_width: 2, order, content, in_place };
    let values = if input.of_tokens { packing.token_len(channels) } else { channels };
    let space = LatentSpace {
        scaling_factor: input.scaling_factor,
        shift_factor: input.shift_factor,
        mean_and_std: input
            .mean_and_std
            .then(|| (vec![input.shift_factor; values], vec![input.scaling_factor; values])),
        of_tokens: input.of_tokens.then_some(packing),
        ..LatentSpace::VAE
    };
    let wanted = Wanted {
        channels,
        scale: 8,
        video: input.video,
        packing: input.packed.then_some(packing),
        sides: input.sides,
        comfy: input.comfy.then_some(&space),
    };
    for space in [None, Some(&space)] {
        let latents = match file.for_decoder(&wanted, space) {
            Ok(read) => read.latents,
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                continue;
            }
        };
        let elements =
            latents.batch * latents.channels * latents.frames * latents.height * latents.width;
        assert_eq!(elements, latents.data.len());
        assert!(latents.data.iter().all(|value| value.is_finite()));
        assert_eq!(latents.channels, channels);
    }
    Ok(())
}

fuzz_target!(|input: Input<'_>| {
    if let Err(error) = run(&input) {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
});
