//! Latents that pipelines packed for their transformers.

use halovae_engine::tensor::{HostTensor, Shape};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::decode::random_tensor;
use halovae_tests::disk::{CONFIG, RawFile, RawTensor, copy_checkpoint};
use halovae_tests::{npy, tensors};
use serde_json::Value;

use crate::{Setup, packed, plain, without_batch};

#[test]
fn packed_latents_make_the_picture_of_unpacked_ones() {
    const PIPELINE: &str = "--latent-space pipeline";
    let setup = Setup::new("f8-flux");
    let latents = random_tensor(Shape::new(2, 4, 6, 16), 1);
    let file = setup.write("plain.safetensors", &[("latents", plain(&latents))]);
    let (expected, said) = setup.picture(&file, PIPELINE);
    assert!(!said.contains("square") && !said.contains("packed"), "{said}");

    let file = setup.write("packed.safetensors", &[("latents", packed(&latents))]);
    let (got, said) = setup.picture(&file, &format!("{PIPELINE} --height 32 --width 48"));
    assert!(got == expected, "unpacked latents make another picture");
    assert!(!said.contains("packed"), "nothing was assumed: {said}");
    let way_out = ["[2, 6, 64]", "packed", "--latent-space pipeline"];
    setup.refused(&file, "", &way_out);
    setup.refused(&file, "--height 32 --width 48", &way_out);
    setup.refused(&file, PIPELINE, &["6 tokens", "no square", "--height and --width"]);
    setup.refused(&file, &format!("{PIPELINE} --height 32 --width 32"), &["4 tokens", "are 6"]);
    let odd = format!("{PIPELINE} --height 40 --width 48");
    setup.refused(&file, &odd, &["height of 40", "32 or 48"]);
    setup.refused(&file, &format!("{PIPELINE} --height 32"), &["--width"]);
    setup.refused(&file, &format!("{PIPELINE} --height 0 --width 48"), &["--height"]);

    // A square is taken for one, and that is said.
    let latents = random_tensor(Shape::new(1, 4, 4, 16), 2);
    let file = setup.write("square.safetensors", &[("latents", plain(&latents))]);
    let (expected, _) = setup.picture(&file, PIPELINE);
    setup.refused(&file, &format!("{PIPELINE} --height 32 --width 32"), &["leave --height"]);
    for tensor in [packed(&latents), without_batch(packed(&latents))] {
        let file = setup.write("packed-square.safetensors", &[("latents", tensor)]);
        let (got, said) = setup.picture(&file, PIPELINE);
        assert!(got == expected, "a packed square makes another picture");
        assert!(said.contains("note: packed latents") && said.contains("32 x 32"), "{said}");
    }
}

/// As many images as the latents have channels, packed, look like one image without a batch.
#[test]
fn a_batch_of_sixteen_is_not_one_image() {
    let setup = Setup::new("f8-flux");
    let latents = random_tensor(Shape::new(16, 4, 4, 16), 3);
    let file = setup.write("plain.safetensors", &[("latents", plain(&latents))]);
    let (expected, _) = setup.picture(&file, "--latent-space pipeline");

    let file = setup.write("packed.safetensors", &[("latents", packed(&latents))]);
    let words = ["[16, 4, 64]", "--height 32 --width 512", "--latent-space pipeline"];
    setup.refused(&file, "", &words);
    let (got, said) = setup.picture(&file, "--latent-space pipeline");
    assert!(got == expected, "16 packed images make other pictures");
    assert!(said.contains("16 images of 32 x 32 pixels"), "{said}");

    // One image of that shape: as the error says.
    let latents = random_tensor(Shape::new(1, 4, 64, 16), 4);
    let file = setup.write("one.safetensors", &[("latents", plain(&latents))]);
    let (expected, _) = setup.picture(&file, "");
    let file = setup.write("bare.safetensors", &[("latents", without_batch(plain(&latents)))]);
    setup.refused(&file, "", &words);
    let (got, _) = setup.picture(&file, "--height 32 --width 512");
    assert!(got == expected, "one image without a batch makes another picture");
}

/// A picture and its layers follow each other in a sample: the layers are decoded.
#[test]
fn packed_layers_are_images() {
    const PIPELINE: &str = "--latent-space pipeline --height 32 --width 48";
    let setup = Setup::new("qwen-layered");
    let (layers, height, width) = (3, 8, 12);
    let latents = random_tensor(Shape::new(1 + layers, height, width, 16), 7);
    let decoded = Shape { batch: layers, ..latents.shape() };
    let of_layers = latents.data()[height * width * 16..].to_vec();
    let of_layers = HostTensor::new(decoded, of_layers).expect("as many elements");
    let file = setup.write("layers.safetensors", &[("latents", plain(&of_layers))]);
    let (expected, _) = setup.picture(&file, "--latent-space pipeline");

    let mut tokens = packed(&latents);
    tokens.shape = vec![1, (1 + layers) * (height / 2) * (width / 2), 64];
    for tensor in [tokens.clone(), without_batch(tokens)] {
        let file = setup.write("packed.safetensors", &[("latents", tensor)]);
        let (got, _) = setup.picture(&file, PIPELINE);
        assert!(got == expected, "packed layers make other pictures");
        let words = ["96 tokens of a picture and its layers", "give --height and --width"];
        setup.refused(&file, "--latent-space pipeline", &words);
        let words = ["96 in all", "--height and --width that they were made with"];
        setup.refused(&file, "--latent-space pipeline --height 64 --width 96", &words);
    }
}

/// Qwen-Image's pipelines pack as FLUX.1's, and have mean and deviation of each channel. Its class has the
/// network of Wan's, whose pipelines do not pack.
#[test]
fn packed_latents_of_qwen_image() {
    const SIDES: &str = "--latent-space pipeline --height 64 --width 96";
    let mut setup = Setup::new("wan");
    let text = std::fs::read(setup.golden.folder.join(CONFIG)).expect("a config");
    let mut config: Value = serde_json::from_slice(&text).expect("JSON");
    config["_class_name"] = "AutoencoderKLQwenImage".into();
    config["input_channels"] = 3.into();
    setup.vae = setup.path("qwen");
    copy_checkpoint(&setup.golden.folder, &setup.vae);
    std::fs::write(setup.vae.join(CONFIG), config.to_string()).expect("a config");

    let latents = random_tensor(Shape::new(2, 8, 12, 4), 9);
    let file = setup.write("plain.safetensors", &[("latents", plain(&latents))]);
    let (expected, _) = setup.picture(&file, "--latent-space pipeline");
    assert_ne!(setup.picture(&file, "").0, expected, "nothing was scaled");
    let tokens = setup.write("packed.safetensors", &[("latents", packed(&latents))]);
    let (got, _) = setup.picture(&tokens, SIDES);
    assert!(got == expected, "packed latents make other pictures");

    // Statistics are those of channels, in the VAE's space and f32.
    let numbers = |field: &str| -> Vec<f32> {
        let list = config[field].as_array().expect("a list").iter();
        list.map(|number| number.as_f64().expect("a number") as f32).collect()
    };
    let [mean, std] = ["latents_mean", "latents_std"].map(numbers);
    let mut scaled = latents.clone();
    for (place, value) in scaled.data_mut().iter_mut().enumerate() {
        *value = *value * std[place % 4] + mean[place % 4];
    }
    let file = setup.write("scaled.safetensors", &[("latents", plain(&scaled))]);
    assert!(setup.picture(&file, "").0 == expected, "scaled by other statistics");

    // Wan's pipelines do not pack.
    setup.vae = setup.golden.folder.clone();
    let run = setup.decode(&tokens, SIDES);
    assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("2 channels, the VAE takes 4"), "{}", run.stderr);
}

/// What Qwen-Image 2.1's pipeline gives: tokens of one cell, packed by diffusers, make diffusers' picture.
#[test]
fn packed_latents_of_qwen_image_21() {
    const PIPELINE: &str = "--latent-space pipeline";
    const SIDES: &str = "--latent-space pipeline --height 80 --width 120";
    const STEP: usize = 7;
    let setup = Setup::new("qwen-image-21");
    let tokens = RawFile::read(&setup.golden.folder.join("pipeline.safetensors"));
    let tokens = tokens.tensors["tokens"].clone();
    assert_eq!(tokens.shape, [1, 10 * 15, 5]);
    let file = setup.write("tokens.safetensors", &[("latents", tokens.clone())]);
    let (expected, said) = setup.picture(&file, SIDES);
    assert_eq!(said, "", "nothing was assumed");
    let (values, shape) = npy::read(&expected);
    let shape: [usize; 4] = shape.try_into().expect("NCHW");
    let picture = tensors::sampled(&tensors::channels_last(&values, shape), STEP);
    assert_f32_close("tokens of a pipeline", &picture, setup.golden.expected("whole"));

    // Unpacked, with and without an axis of one frame, and without a batch: the same bytes.
    let values: Vec<f32> = tokens
        .bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes")))
        .collect();
    let cells = HostTensor::new(Shape::new(1, 10, 15, 5), values).expect("as many elements");
    let cells = plain(&cells);
    let of_frame = RawTensor { shape: vec![1, 5, 1, 10, 15], ..cells.clone() };
    for (tensor, flags) in [
        (cells.clone(), PIPELINE),
        (of_frame, PIPELINE),
        (without_batch(cells), PIPELINE),
        (without_batch(tokens.clone()), SIDES),
    ] {
        let shape = tensor.shape.clone();
        let file = setup.write("other.safetensors", &[("latents", tensor)]);
        assert!(setup.picture(&file, flags).0 == expected, "{shape:?}: another picture");
    }
    // A token is a cell of the picture, and 150 of them no square.
    setup.refused(&file, "", &["[1, 150, 5]", "packed", "--latent-space pipeline"]);
    setup.refused(&file, PIPELINE, &["150 tokens", "8 x 8 pixels", "--height and --width"]);
    let wrong = "--latent-space pipeline --height 80 --width 112";
    setup.refused(&file, wrong, &["140 tokens", "are 150"]);
}
