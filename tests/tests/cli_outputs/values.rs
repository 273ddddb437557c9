//! The numbers in pictures.

use std::path::Path;

use halovae_engine::tensor::HostTensor;
use halovae_tests::disk::{CONFIG, RawFile, RawTensor, WEIGHTS};
use halovae_tests::{npy, tensors};
use image::DynamicImage;

use crate::Setup;

/// The values of a raw output, channels last.
fn raw(path: &Path) -> HostTensor {
    let (values, shape) = npy::read(&std::fs::read(path).expect("an output"));
    tensors::channels_last(&values, shape.try_into().expect("NCHW"))
}

/// What a value is of `levels` levels, halves to even.
fn level(value: f32, levels: u16) -> u16 {
    let unit = (f64::from(value) * 0.5 + 0.5).clamp(0.0, 1.0);
    (unit * f64::from(levels)).round_ties_even() as u16
}

fn samples(picture: DynamicImage) -> (Vec<u16>, u16) {
    let wide = |bytes: Vec<u8>| (bytes.into_iter().map(u16::from).collect(), 255);
    match picture {
        DynamicImage::ImageRgb8(picture) => wide(picture.into_raw()),
        DynamicImage::ImageRgba8(picture) => wide(picture.into_raw()),
        DynamicImage::ImageRgb16(picture) => (picture.into_raw(), 65535),
        DynamicImage::ImageRgba16(picture) => (picture.into_raw(), 65535),
        other => panic!("{:?} is no colour of these tests", other.color()),
    }
}

/// Fails unless the pictures, one for each image of `values`, are these values in as many levels.
#[track_caller]
fn assert_pictures(setup: &Setup, name: &str, values: &HostTensor, levels: u16) {
    let shape = values.shape();
    let (stem, extension) = name.split_once('.').expect("an extension");
    let per_image = shape.height * shape.width * shape.channels;
    for (image, values) in values.data().chunks_exact(per_image).enumerate() {
        let picture = image::open(setup.path(&format!("{stem}-{image}.{extension}")));
        let picture = picture.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            (picture.width() as usize, picture.height() as usize),
            (shape.width, shape.height)
        );
        assert_eq!(picture.color().has_alpha(), shape.channels == 4, "{name}");
        let (found, found_levels) = samples(picture);
        assert_eq!(found_levels, levels, "{name}");
        assert_eq!(found.len(), values.len(), "{name}");
        for (index, (&found, &value)) in found.iter().zip(values).enumerate() {
            // 8 bits are computed in f32, as ever: a value within its rounding of a half may fall to
            // the other side.
            let expected = level(value, levels);
            let is_close = levels == 255 && found.abs_diff(expected) <= 1;
            let unit = (f64::from(value) * 0.5 + 0.5) * f64::from(levels);
            let is_half = (unit.fract() - 0.5).abs() < 1e-4;
            assert!(
                found == expected || (is_close && is_half),
                "{name}, {index}: {found}, {value}"
            );
        }
    }
}

#[test]
fn sixteen_bits_a_channel() {
    let setup = Setup::new("f4-batch");
    setup.decode("--output raw.npy").expect_success();
    let values = raw(&setup.path("raw.npy"));
    for name in ["a.png", "a.tiff"] {
        setup.decode(&format!("--bit-depth 16 --output {name}")).expect_success();
        assert_pictures(&setup, name, &values, 65535);
        setup.decode(&format!("--bit-depth 8 --output {name}")).expect_success();
        assert_pictures(&setup, name, &values, 255);
    }
}

/// A decoder of four channels, the last of them alpha.
#[test]
fn the_fourth_channel_is_alpha() {
    let setup = Setup::new("f4-batch");
    let mut weights = RawFile::read(&setup.path("vae").join(WEIGHTS));
    for name in ["decoder.conv_out.weight", "decoder.conv_out.bias"] {
        let mut shape = weights.tensors[name].shape.clone();
        shape[0] = 4;
        let count = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|i: usize| (i * 7 % 13) as f32 / 26.0 - 0.25).collect();
        weights.tensors.insert(name.into(), RawTensor::f32(&shape, &values));
    }
    weights.write(&setup.path("vae").join(WEIGHTS));
    let config = setup.path("vae").join(CONFIG);
    let text = std::fs::read_to_string(&config).expect("a config");
    let text = text.replace("\"out_channels\": 3", "\"out_channels\": 4");
    std::fs::write(config, text).expect("a config");

    setup.decode("--output raw.npy").expect_success();
    let values = raw(&setup.path("raw.npy"));
    assert_eq!(values.shape().channels, 4, "raw values keep every channel");
    for (name, depth, levels) in [
        ("a.png", 8, 255),
        ("a.png", 16, 65535),
        ("a.tiff", 8, 255),
        ("a.tiff", 16, 65535),
        ("a.webp", 8, 255),
    ] {
        setup.decode(&format!("--bit-depth {depth} --output {name}")).expect_success();
        assert_pictures(&setup, name, &values, levels);
    }
    setup.assert_decode_refused("--output a.jpg", &["transparency", ".png", ".tiff", ".webp"]);
}
