//! Latents of every format, and of a pipeline.

use halovae_tests::compare::{Difference, assert_f32_close, f32_bound};
use halovae_tests::disk::{RawFile, RawTensor};
use halovae_tests::{npy, tensors};
use safetensors::Dtype;

use crate::{Setup, json};

#[test]
fn latents_of_every_format_and_type() {
    let setup = Setup::new("f2-complete");
    let (values, shape) = tensors::channels_first(&setup.golden.latents);
    let expected = setup.golden.expected("whole");
    let check = |name: &str, flags: &[&str], tolerance: f64| {
        setup.decode_from(&setup.path(name), "out.npy", flags).expect_success();
        let difference = Difference::new(&setup.read_npy("out.npy"), expected);
        assert!(difference.max_abs <= tolerance, "{name}: {difference:?}");
    };
    let exact = f32_bound(expected);

    std::fs::write(setup.path("a.npy"), npy::write(&values, &shape)).expect("a file");
    check("a.npy", &[], exact);
    std::fs::write(setup.path("b.npy"), npy::write(&values, &shape[1..])).expect("a file");
    check("b.npy", &[], exact);

    let named = |name: &str, tensor: RawTensor| (name.to_owned(), tensor);
    let latents = RawTensor::f32(&shape, &values);
    let without_batch = RawTensor::f32(&shape[1..], &values);
    let other = RawTensor::f32(&[2, 2], &[0.0; 4]);
    setup.write_latents(
        "three-axes.safetensors",
        &RawFile { tensors: [named("samples", without_batch)].into() },
    );
    check("three-axes.safetensors", &[], exact);
    setup.write_latents(
        "two.safetensors",
        &RawFile { tensors: [named("latents", latents.clone()), named("noise", other)].into() },
    );
    check("two.safetensors", &["--latents-key", "latents"], exact);

    // ComfyUI saves latents as its nodes have them, with an empty tensor as version.
    let version = RawTensor::f32(&[0], &[]);
    setup.write_latents(
        "comfy.latent",
        &RawFile {
            tensors: [named("latent_tensor", latents), named("latent_format_version_0", version)]
                .into(),
        },
    );
    check("comfy.latent", &[], exact);

    // Rounded latents make another picture, as far as rounding goes.
    let half = |dtype, bytes: Vec<u8>| RawFile {
        tensors: [named("latents", RawTensor { dtype, shape: shape.to_vec(), bytes })].into(),
    };
    let f16 = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    setup.write_latents("f16.safetensors", &half(Dtype::F16, f16));
    check("f16.safetensors", &[], 0.02);
    let bf16 = values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
    setup.write_latents("bf16.safetensors", &half(Dtype::BF16, bf16));
    check("bf16.safetensors", &[], 0.2);
}

/// What a pipeline gives with output_type="latent" is (z - shift) * scaling.
#[test]
fn latents_of_a_pipeline() {
    let setup = Setup::new("f2-complete");
    let mut config = json(&setup.golden.folder.join("config.json"));
    config["scaling_factor"] = 0.3611.into();
    config["shift_factor"] = 0.1159.into();
    let config_file = setup.path("config.json");
    std::fs::write(&config_file, config.to_string()).expect("a file");

    let mut latents = setup.golden.latents.clone();
    latents.data_mut().iter_mut().for_each(|z| *z = (*z - 0.1159) * 0.3611);
    let file = setup.write_latents("pipeline.safetensors", &RawFile::latents(&latents));
    let config_flag = config_file.to_str().expect("UTF-8");
    let flags = ["--config", config_flag, "--latent-space", "pipeline"];
    setup.decode_from(&file, "a.npy", &flags).expect_success();
    assert_f32_close("pipeline", &setup.read_npy("a.npy"), setup.golden.expected("whole"));

    setup.decode_from(&file, "b.npy", &flags[..2]).expect_success();
    let other = Difference::new(&setup.read_npy("b.npy"), setup.golden.expected("whole"));
    assert!(other.max_abs > 0.1, "without the flag they are taken as they are: {other:?}");
}
