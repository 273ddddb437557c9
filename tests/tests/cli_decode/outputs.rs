//! What is written: values, pictures, and files of a batch.

use std::path::Path;

use halovae_engine::tensor::HostTensor;
use halovae_tests::binary::{self, listing};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::disk::RawFile;
use halovae_tests::golden::demo_folder;
use halovae_tests::tensors;
use safetensors::Dtype;

use crate::Setup;

/// What diffusers' image processor makes of decoded values.
fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// How far the bytes of a picture are from those of decoded values: the largest, and the mean.
fn byte_difference(file: &Path, sample: usize, values: &HostTensor) -> (u8, f64) {
    let picture = image::open(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).to_rgb8();
    let shape = values.shape();
    assert_eq!(picture.dimensions(), (shape.width as u32, shape.height as u32));
    let per_image = shape.height * shape.width * shape.channels;
    let expected = values.data()[sample * per_image..][..per_image].iter().map(|&v| to_byte(v));
    let differences: Vec<u8> = picture.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).collect();
    let sum: f64 = differences.iter().copied().map(f64::from).sum();
    (differences.iter().copied().max().expect("pixels"), sum / per_image as f64)
}

#[test]
fn raw_formats_hold_the_same_values() {
    let setup = Setup::new("f4-batch");
    setup.decode("picture.npy", &[]).expect_success();
    setup.decode("picture.safetensors", &[]).expect_success();
    let from_npy = setup.read_npy("picture.npy");
    assert_f32_close("npy", &from_npy, setup.golden.expected("whole"));
    let file = RawFile::read(&setup.path("picture.safetensors"));
    assert_eq!(file.tensors.keys().collect::<Vec<_>>(), ["sample"]);
    assert_eq!(file.tensors["sample"].dtype, Dtype::F32);
    assert_eq!(file.tensors["sample"].shape, [2, 3, 44, 84]);
    let from_safetensors = tensors::read(&setup.path("picture.safetensors")).remove("sample");
    assert_eq!(from_safetensors, Some(from_npy));
    assert_eq!(listing(setup.folder.path()), ["picture.npy", "picture.safetensors"]);
}

#[test]
fn pictures_hold_what_diffusers_image_processor_makes() {
    let setup = Setup::new("f8-flux");
    let expected = setup.golden.expected("whole");
    for name in ["a.png", "a.webp", "a.tiff", "a.tif", "A.PNG"] {
        setup.decode(name, &[]).expect_success();
        let (largest, mean) = byte_difference(&setup.path(name), 0, expected);
        // Two decodes that differ in the last bits may round to neighbouring bytes, now and then.
        assert!(largest <= 1 && mean < 0.01, "{name}: differs by {largest}, on average {mean}");
    }
    // Random weights make noise, which JPEG changes a lot; but not into another picture.
    for name in ["a.jpg", "a.jpeg"] {
        setup.decode(name, &[]).expect_success();
        let (_, mean) = byte_difference(&setup.path(name), 0, expected);
        assert!(mean < 40.0, "{name}: {mean} on average");
        let bytes = std::fs::read(setup.path(name)).expect("the output");
        assert!(bytes.starts_with(b"\xff\xd8\xff"), "{name} is no JPEG");
    }
}

#[test]
fn a_batch_becomes_numbered_files() {
    let setup = Setup::new("f4-batch");
    for extension in ["png", "jpg", "webp", "tiff"] {
        setup.decode(&format!("picture.{extension}"), &["--strategy", "tiled"]).expect_success();
    }
    let expected = setup.golden.expected("tiled");
    let mut names = Vec::new();
    for sample in 0..2 {
        for extension in ["jpg", "png", "tiff", "webp"] {
            let name = format!("picture-{sample}.{extension}");
            let (largest, _) = byte_difference(&setup.path(&name), sample, expected);
            assert!(extension == "jpg" || largest <= 1, "{name}: differs by {largest}");
            names.push(name);
        }
    }
    assert_eq!(listing(setup.folder.path()), names);
}

#[test]
fn existing_output_is_replaced() {
    let setup = Setup::new("f2-complete");
    std::fs::write(setup.path("a.npy"), "something else").expect("a file");
    setup.decode("a.npy", &[]).expect_success();
    assert_f32_close("a.npy", &setup.read_npy("a.npy"), setup.golden.expected("whole"));
    assert_eq!(listing(setup.folder.path()), ["a.npy"]);
}

/// The main job of README: the demo astronaut, tiled over four ranks, as a PNG.
#[test]
fn demo_astronaut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("astronaut.png");
    let mut command = binary::command(["decode", "--vae-use-tiling"]);
    command.args(["--vae-patch-parallel-size", "4"]);
    command.arg("--vae").arg(demo_folder().join("vae"));
    command.arg("--latents").arg(demo_folder().join("latents/astronaut.safetensors"));
    command.arg("--output").arg(&output);
    binary::run_command(command).expect_success();
    let picture = image::open(&output).expect("a PNG").to_rgb8();
    assert_eq!(picture.dimensions(), (512, 512));
    // The golden values keep every 7th row and column.
    let golden = halovae_tests::golden::folder().join("demo-vae/expected.safetensors");
    let expected = tensors::read(&golden).remove("tiled").expect("the tiled astronaut");
    let width = expected.shape().width;
    for (index, rgb) in expected.data().chunks_exact(3).enumerate() {
        let (row, column) = (7 * (index / width) as u32, 7 * (index % width) as u32);
        for (got, value) in picture.get_pixel(column, row).0.iter().zip(rgb) {
            assert!(got.abs_diff(to_byte(*value)) <= 1, "row {row}, column {column}");
        }
    }
}
