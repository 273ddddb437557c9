//! Latents with frames, of every kind of file and for every kind of VAE.

use std::collections::BTreeMap;

use halovae_engine::tensor::Shape;
use halovae_tests::decode::random_tensor;
use halovae_tests::disk::{RawFile, RawTensor};

use crate::{Setup, channels_first};

#[test]
fn videos_are_read_from_every_kind_of_file() {
    let setup = Setup::new("wan");
    setup.decode("--output expected.npy").expect_success();
    let expected = setup.read("expected.npy");
    let (values, shape) = channels_first(&setup.golden.latents);
    setup.write_npy("batch.npy", &values, &shape);
    // Without a batch it is a video, since five frames cannot be its four channels.
    setup.write_npy("alone.npy", &values, &shape[1..]);
    let version = ("latent_format_version_0".to_owned(), RawTensor::f32(&[0], &[]));
    let tensor = ("latent_tensor".to_owned(), RawTensor::f32(&shape, &values));
    RawFile { tensors: BTreeMap::from([version, tensor]) }.write(&setup.path("comfy.latent"));
    for latents in ["batch.npy", "alone.npy", "comfy.latent"] {
        let run = setup.decode_from(latents, "--output a.npy").expect_success();
        assert_eq!(run.stderr, "", "{latents}");
        assert!(setup.read("a.npy") == expected, "{latents}");
    }
}

/// Four axes are images to a VAE of videos, unless they cannot be; that is told.
#[test]
fn a_batch_of_images_is_told_from_a_video() {
    let setup = Setup::new("wan");
    let (values, [batch, channels, _, height, width]) =
        channels_first(&random_tensor(Shape::new(3, 3, 2, 4), 5));
    setup.write_npy("images.npy", &values, &[batch, channels, height, width]);
    let run = setup.decode_from("images.npy", "--output a.png").expect_success();
    assert!(run.stderr.contains("were taken for 3 images"), "{}", run.stderr);
    assert!(setup.path("a-2.png").exists());
    setup.write_npy("image.npy", &values[..24], &[channels, height, width]);
    let run = setup.decode_from("image.npy", "--output b.png").expect_success();
    assert_eq!(run.stderr, "");
}

#[test]
fn a_vae_of_images_takes_one_frame() {
    let setup = Setup::new("f4-batch");
    let (values, [batch, channels, _, height, width]) = channels_first(&setup.golden.latents);
    setup.write_npy("five.npy", &values, &[batch, channels, 1, height, width]);
    setup.decode("--output expected.npy").expect_success();
    setup.decode_from("five.npy", "--output a.npy").expect_success();
    assert!(setup.read("a.npy") == setup.read("expected.npy"));

    let frames = batch;
    setup.write_npy("video.npy", &values, &[1, channels, frames, height, width]);
    let run = setup.decode_from("video.npy", "--output b.npy");
    assert_eq!(run.status.code(), Some(1));
    let words = [format!("{frames} frames"), "decodes images".into(), "latents[:, :, 0]".into()];
    assert!(words.iter().all(|word| run.stderr.contains(word)), "{}", run.stderr);
}
