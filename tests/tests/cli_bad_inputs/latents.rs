//! Latents that are damaged, hostile, or of another model.

use std::path::Path;

use halovae_tests::disk::{RawFile, RawTensor};
use halovae_tests::npy;
use safetensors::Dtype;

use crate::Setup;

pub(crate) fn latents_files(setup: &mut Setup) {
    const NAN_FREE: [f32; 32] = [0.5; 32];
    let good = npy::write(&NAN_FREE, &[1, 4, 2, 4]);
    setup.latents("no such latents", &["nowhere.npy"], &setup.input("nowhere.npy"), "");
    setup.latents("a folder of latents", &["latents"], &setup.input(""), "");
    if cfg!(unix) {
        setup.latents("a device of latents", &["/dev/zero"], Path::new("/dev/zero"), "");
    }
    let mut bytes = |what, words, name: &str, bytes: &[u8]| {
        let file = setup.file(name, bytes);
        setup.latents(what, words, &file, "");
    };
    bytes("empty latents", &["a0.npy"], "a0.npy", &[]);
    bytes(
        "latents of an unknown format",
        &["expected", ".safetensors", ".npy"],
        "a.pt",
        b"PK\x03\x04",
    );
    bytes("a text of latents", &["a.txt", "expected"], "a.txt", b"0.1 0.2 0.3");
    bytes("npy: only the magic", &["a1.npy"], "a1.npy", &good[..6]);
    bytes("npy: half a header", &["a2.npy"], "a2.npy", &good[..40]);
    bytes("npy: truncated data", &["a3.npy"], "a3.npy", &good[..good.len() - 4]);
    bytes("npy: data too many", &["a4.npy"], "a4.npy", &[&good[..], &[0; 4]].concat());
    let mut version = good.clone();
    version[6] = 9;
    bytes("npy: of a future version", &["a5.npy"], "a5.npy", &version);
    let mut length = good.clone();
    length[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    bytes("npy: a header beyond the file", &["a6.npy"], "a6.npy", &length);
    let data = [0; 128];
    let mut header = |what, words, name: &str, descr: &str, shape: &str| {
        bytes(what, words, name, &npy::file(descr, shape, &data));
    };
    header("npy: integers", &["b1.npy", "expected"], "b1.npy", "<i8", "(1, 4, 2, 2)");
    header("npy: objects", &["b2.npy"], "b2.npy", "|O", "(1, 4, 2, 2)");
    header("npy: complex numbers", &["b3.npy", "expected"], "b3.npy", "<c8", "(1, 4, 2, 2)");
    header(
        "npy: a shape that overflows",
        &["b4.npy"],
        "b4.npy",
        "<f4",
        "(4294967295, 4294967295, 4294967295, 4294967295)",
    );
    header(
        "npy: a shape beyond u64",
        &["b5.npy"],
        "b5.npy",
        "<f4",
        "(1, 4, 99999999999999999999999, 2)",
    );
    header("npy: a negative shape", &["b6.npy"], "b6.npy", "<f4", "(1, 4, -2, 4)");
    header("npy: no shape", &["b7.npy"], "b7.npy", "<f4", "None");
    header("npy: a scalar", &["b8.npy"], "b8.npy", "<f4", "()");
    header("npy: another shape than its data", &["b9.npy"], "b9.npy", "<f4", "(1, 4, 2, 5)");
    bytes(
        "npy: a header of random bytes",
        &["c1.npy"],
        "c1.npy",
        &[&good[..10], &[0xff; 54], &good[64..]].concat(),
    );

    let tensors = |tensors: &[(&str, RawTensor)]| {
        let tensors = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
        RawFile { tensors: tensors.collect() }.to_bytes()
    };
    let one = RawTensor::f32(&[1, 4, 2, 4], &NAN_FREE);
    bytes(
        "safetensors: truncated",
        &["d1.safetensors"],
        "d1.safetensors",
        &tensors(&[("latents", one.clone())])[..40],
    );
    bytes("safetensors: no tensor", &["no tensor"], "d2.safetensors", &tensors(&[]));
    bytes(
        "safetensors: of integers",
        &["I64", "expected"],
        "d4.safetensors",
        &tensors(&[(
            "latents",
            RawTensor { dtype: Dtype::I64, shape: vec![1, 4, 2, 2], bytes: vec![0; 128] },
        )]),
    );

    // Other flags would do for these.
    let mut flags = |what, words, name: &str, bytes: &[u8], flags: &str| {
        let file = setup.file(name, bytes);
        setup.latents(what, words, &file, flags);
        setup.of_flags();
    };
    flags(
        "safetensors: two tensors and no key",
        &["2 tensors", "first", "second", "key"],
        "d3.safetensors",
        &tensors(&[("first", one.clone()), ("second", one.clone())]),
        "",
    );
    flags(
        "comfy: no latents",
        &["2 tensors", "other", "key"],
        "d5.latent",
        &tensors(&[("other", one.clone()), ("latent_format_version_0", one.clone())]),
        "",
    );
    flags(
        "comfy's for a pipeline's",
        &["latent_tensor", "leave --latent-space pipeline out"],
        "d8.latent",
        &tensors(&[("latent_tensor", one.clone())]),
        "--latent-space pipeline",
    );
    let key = "--latents-key samples";
    let file = tensors(&[("latents", one)]);
    flags("an unknown key", &["samples", "latents"], "d6.safetensors", &file, key);
    flags("a key for an npy", &["key", "samples"], "d7.npy", &good, key);
}

pub(crate) fn latents_values(setup: &mut Setup) {
    let mut shaped = |what, words, name: &str, shape: &[usize]| {
        let values = vec![0.5; shape.iter().product()];
        let file = setup.file(name, npy::write(&values, shape));
        setup.latents(what, words, &file, "");
    };
    shaped("wrong channels", &["16 channels", "4"], "e1.npy", &[1, 16, 2, 2]);
    shaped("channels last", &["channels", "last"], "e2.npy", &[1, 7, 9, 4]);
    shaped("packed for a transformer", &["packed"], "e3.npy", &[1, 30, 16]);
    shaped("packed for another VAE", &["1 channels", "4"], "e0.npy", &[1, 30, 64]);
    shaped("two axes", &["2 axes", "expected"], "e4.npy", &[4, 4]);
    shaped("a video", &["2 frames", "one frame"], "e5.npy", &[1, 4, 2, 2, 2]);
    shaped("no rows", &["shape", "1 to"], "e6.npy", &[1, 4, 0, 2]);
    shaped("no columns", &["shape", "1 to"], "e7.npy", &[1, 4, 2, 0]);
    shaped("an empty batch", &["shape", "1 to"], "e8.npy", &[0, 4, 2, 2]);
    shaped("no channels", &["shape", "1 to"], "e9.npy", &[1, 0, 2, 2]);

    for (what, name, value) in [
        ("a NaN", "f1.npy", f32::NAN),
        ("an infinity", "f2.npy", f32::INFINITY),
        ("a negative infinity", "f3.npy", f32::NEG_INFINITY),
    ] {
        let mut values = vec![0.5; 4 * 3 * 5];
        values[2 * 15 + 5 + 4] = value;
        let file = setup.file(name, npy::write(&values, &[1, 4, 3, 5]));
        setup.latents(what, &["finite", "channel 2", "row 1", "column 4"], &file, "");
    }
    let f64s: Vec<u8> = (0..16).flat_map(|_| 1e300_f64.to_le_bytes()).collect();
    let file = setup.file("f4.npy", npy::file("<f8", "(1, 4, 2, 2)", &f64s));
    setup.latents("f64 beyond f32", &["finite"], &file, "");
    let file = setup.file("f5.npy", npy::write(&[3e38; 16], &[1, 4, 2, 2]));
    setup.latents(
        "an overflow into the VAE's space",
        &["finite"],
        &file,
        "--latent-space pipeline",
    );
    setup.latents("values that overflow in the decoder", &["rank 0", "not finite"], &file, "");
}
