//! Latents that are no video of the VAE, and videos that no file can hold.

use halovae_tests::golden::{self, Golden};
use halovae_tests::npy;

use crate::{Setup, decode_arguments};

/// Channels of the golden model's latents.
const CHANNELS: usize = 4;

pub(crate) fn latents(setup: &mut Setup) {
    let vae = golden::folder().join("wan");
    let mut shaped = |what, words, name: &str, shape: &[usize]| {
        let values = vec![0.5; shape.iter().product()];
        let file = setup.file(name, npy::write(&values, shape));
        setup.add(what, words, decode_arguments(&vae, &file, "a.y4m", ""));
    };
    let last = &["7 channels", "channels last", "before frames, height and width"];
    shaped("a video, channels last", last, "v1.npy", &[1, 7, 2, 3, CHANNELS]);
    let first = &["6 channels", "frames before channels", "swap"];
    shaped("a video, frames first", first, "v2.npy", &[1, 6, CHANNELS, 3, 5]);
    let other = &["5 channels", "takes 4"];
    shaped("a video of another model, without a batch", other, "v3.npy", &[6, CHANNELS + 1, 3, 5]);
    shaped("a video packed as LTX's", &["packed", "LTX"], "v4.npy", &[1, 48, 128]);
    shaped("a video of no frames", &["shape", "1 to"], "v5.npy", &[1, CHANNELS, 0, 3, 5]);
    shaped("a video of no rows", &["shape", "1 to"], "v6.npy", &[1, CHANNELS, 2, 0, 5]);
    shaped("six axes", &["6 axes", "expected"], "v7.npy", &[1, 1, CHANNELS, 2, 3, 5]);
    let beyond = "(1, 4, 4294967296, 1, 1)";
    let file = setup.file("v8.npy", npy::file("<f4", beyond, &[0; 128]));
    setup.add(
        "frames beyond u32",
        &["v8.npy", "1 to 4294967295"],
        decode_arguments(&vae, &file, "a.y4m", ""),
    );

    // Packed for another VAE: sides do not help, nor does leaving them out.
    let residual = Golden::load("wan-residual").folder;
    for (name, values) in [("v9.npy", 24), ("v10.npy", 6), ("v11.npy", 64)] {
        let tokens = npy::write(&vec![0.5; 54 * values], &[1, 54, values]);
        let file = setup.file(name, tokens);
        for flags in ["", "--latent-space pipeline --height 96 --width 144"] {
            let arguments = decode_arguments(&residual, &file, "a.y4m", flags);
            setup.add(
                "tokens for a VAE of no tokens",
                &["1 channels", "takes 6", "packed"],
                arguments,
            );
        }
    }
}

pub(crate) fn outputs(setup: &mut Setup) {
    setup.flags(
        "a plan in a picture",
        &[".png", ".svg", "--format"],
        "plan --scale 8 --tile-sample-min-size 64 --height 64 --width 64 --output {out}/a.png",
    );
    let golden = Golden::load("wan");
    let mut video = |what, words, output: &str, flags: &str| {
        let latents = golden.latents_file();
        setup.add(what, words, decode_arguments(&golden.folder, &latents, output, flags));
        setup.of_flags();
    };
    for rate in ["0", "NaN", "-1", "1e9", "24/0", "29.97"] {
        let flags = format!("--fps {rate}");
        video("a rate that is none", &["--fps", "30000/1001"], "a.mp4", &flags);
    }
    for number in ["0", "-1", "1.5", "all"] {
        let flags = format!("--preview {number}");
        video("no previews", &["--preview", "whole number from 1", "0, 8, 16"], "a.mp4", &flags);
    }
    video("a quality beyond the encoder's", &["crf", "51"], "a.mp4", "--crf 60");
    video("an encoder of raw values", &["--codec"], "a.npy", "--codec libx264");
    video("an animation of a format that has none", &["--animated"], "a.jpg", "--animated");
    video("animated WebP", &["animated", "webp"], "a.webp", "--animated");
    video("a video in a picture", &["frames", "%05d.png"], "a.png", "");
}
