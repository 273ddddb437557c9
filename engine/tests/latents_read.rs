//! Latents as people have them: real files of every format, spaces, and what is refused.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use halovae_engine::checkpoint::{AutoencoderKlConfig, VaeConfig};
use halovae_engine::latents::{LatentSpace, Latents, LatentsError, LatentsFormat};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/latents_golden").join(name)
}

/// Latents whose element `(n, c, y, x)` has the value that `make.py` gives it, times `factor`.
fn golden_latents(batch: usize, factor: f32) -> Latents {
    let [channels, height, width] = [3, 2, 4];
    let mut data = Vec::new();
    for n in 0..batch {
        for y in 0..height {
            for x in 0..width {
                for c in 0..channels {
                    let index = ((n * channels + c) * height + y) * width + x;
                    data.push((index as f32 - 5.0) / 4.0 * factor);
                }
            }
        }
    }
    Latents { batch, channels, frames: 1, height, width, data }
}

/// A safetensors file of tensors `(key, type, shape, bytes)`.
fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = tensors.iter().map(|(key, dtype, shape, bytes)| {
        (*key, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn ramp(elements: usize) -> Vec<u8> {
    f32_bytes(&(0..elements).map(|index| index as f32).collect::<Vec<_>>())
}

fn read(bytes: &[u8], key: Option<&str>) -> Result<Latents, LatentsError> {
    Latents::from_bytes(bytes, LatentsFormat::Safetensors, key)
}

fn message(bytes: &[u8], key: Option<&str>) -> String {
    read(bytes, key).unwrap_err().to_string()
}

#[test]
fn files_of_numpy_and_safetensors_are_read() {
    for (name, batch) in [
        ("f4.npy", 2),
        ("f4_big_endian.npy", 2),
        ("f2_fortran.npy", 2),
        ("f8_3d.npy", 1),
        ("f8_3d_fortran_big_endian.npy", 1),
        ("f4_version_2.npy", 2),
        ("f4_version_3_fortran.npy", 2),
        ("f4.safetensors", 2),
        ("bf16.safetensors", 2),
        ("comfy.latent", 2),
    ] {
        let latents = Latents::read(&golden(name), None).unwrap();
        assert_eq!(latents, golden_latents(batch, 1.0), "{name}");
    }
}

/// A file is ComfyUI's by its keys, whatever it is called.
#[test]
fn old_files_of_comfyui_are_scaled() {
    let folder = TempDir::new().unwrap();
    for (name, factor) in [("comfy_old.latent", (1.0 / 0.18215) as f32), ("comfy.latent", 1.0)] {
        let expected = golden_latents(2, factor);
        let bytes = std::fs::read(golden(name)).unwrap();
        assert_eq!(read(&bytes, None).unwrap(), expected, "{name}");
        assert_eq!(read(&bytes, Some("latent_tensor")).unwrap(), expected, "{name}");
        for other in [name, "renamed.safetensors", "renamed"] {
            let path = folder.path().join(other);
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Latents::read(&path, None).unwrap(), expected, "{name} as {other}");
        }
    }
    // Nor is one ComfyUI's for its name.
    let path = folder.path().join("plain.latent");
    std::fs::copy(golden("f4.safetensors"), &path).unwrap();
    assert_eq!(Latents::read(&path, None).unwrap(), golden_latents(2, 1.0));
    // Of several tensors ComfyUI's is meant, unless another one is named.
    let both = file(&[
        ("latent_tensor", Dtype::F32, &[1, 1, 2], &f32_bytes(&[1.0, 2.0])),
        ("other", Dtype::F32, &[1, 1, 2], &ramp(2)),
        ("latent_format_version_0", Dtype::F32, &[0], &[]),
    ]);
    assert_eq!(read(&both, None).unwrap().data, [1.0, 2.0]);
    assert_eq!(read(&both, Some("other")).unwrap().data, [0.0, 1.0]);
}

#[test]
fn the_bfloat16_that_numpy_does_not_have_is_explained() {
    let error = Latents::read(&golden("bfloat16.npy"), None).unwrap_err().to_string();
    assert!(
        error.contains("of type \"<V2\"") && error.contains("convert it to float32"),
        "{error}"
    );
}

#[test]
fn the_demo_latents_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo-vae/latents");
    for (name, height, width) in
        [("astronaut", 64, 64), ("coffee", 50, 75), ("chelsea", 37, 56), ("china", 53, 80)]
    {
        let path = folder.join(name).with_extension("safetensors");
        let latents = Latents::read(&path, None).unwrap();
        let extents = [latents.batch, latents.channels, latents.height, latents.width];
        assert_eq!(extents, [1, 16, height, width], "{name}");
        latents.expect_channels(16).unwrap();

        // Against the file itself: the data are the last bytes of it.
        let bytes = std::fs::read(&path).unwrap();
        let data = &bytes[bytes.len() - latents.data.len() * 4..];
        let at = |c: usize, y: usize, x: usize| {
            let offset = ((c * height + y) * width + x) * 4;
            f32::from_le_bytes(data[offset..offset + 4].try_into().unwrap())
        };
        for (c, y, x) in [(0, 0, 0), (15, height - 1, width - 1), (3, 17, 29), (9, 36, 1)] {
            assert_eq!(latents.data[(y * width + x) * 16 + c], at(c, y, x), "{name}");
        }
        assert_eq!(Latents::read(&path, Some("latents")).unwrap(), latents);
    }
}

#[test]
fn the_only_tensor_needs_no_key_and_several_do() {
    let one = file(&[("x", Dtype::F32, &[1, 2, 1, 1], &ramp(2))]);
    assert_eq!(read(&one, None).unwrap().data, [0.0, 1.0]);
    assert_eq!(read(&one, Some("x")).unwrap().data, [0.0, 1.0]);
    assert_eq!(message(&one, Some("y")), "has no tensor \"y\"; it holds x [1, 2, 1, 1]");

    let two = file(&[
        ("latents", Dtype::F32, &[2, 1, 1], &ramp(2)),
        ("timestep", Dtype::I64, &[1], &[0; 8]),
    ]);
    assert_eq!(
        message(&two, None),
        "holds 2 tensors (latents [2, 1, 1], timestep [1]); name one by its key"
    );
    assert_eq!(read(&two, Some("latents")).unwrap().channels, 2);
    assert!(message(&two, Some("timestep")).starts_with("are of type I64, expected F32, F16"));

    let none = file(&[]);
    assert!(matches!(read(&none, None), Err(LatentsError::Empty)));
    assert!(matches!(read(&none, Some("x")), Err(LatentsError::Empty)));
}

#[test]
fn every_type_of_a_safetensors_file_is_read_exactly() {
    let values = [0.0f32, -1.5, 0.25, 3.0, -0.125, 96.0];
    let narrow = |convert: fn(f32) -> [u8; 2]| values.iter().copied().flat_map(convert).collect();
    let cases: [(Dtype, Vec<u8>); 4] = [
        (Dtype::F32, f32_bytes(&values)),
        (Dtype::F16, narrow(|value| f16::from_f32(value).to_le_bytes())),
        (Dtype::BF16, narrow(|value| bf16::from_f32(value).to_le_bytes())),
        (Dtype::F64, values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect()),
    ];
    for (dtype, bytes) in cases {
        let latents = read(&file(&[("z", dtype, &[1, 2, 1, 3], &bytes)]), None).unwrap();
        assert_eq!(latents.data, [0.0, 3.0, -1.5, -0.125, 0.25, 96.0], "{dtype}");
    }
}

#[test]
fn only_three_and_four_axes_are_latents() {
    let shaped = |shape: &[usize]| {
        let bytes = ramp(shape.iter().product());
        message(&file(&[("z", Dtype::F32, shape, &bytes)]), None)
    };
    for shape in [&[][..], &[4], &[1, 1, 1, 1, 1, 1]] {
        assert!(shaped(shape).starts_with(&format!("have {} axes (shape [", shape.len())));
    }
    assert!(
        shaped(&[4096, 64]).ends_with("packed latents of a transformer must be unpacked first")
    );
    let video = shaped(&[1, 16, 2, 2, 2]);
    assert!(video.contains("have 2 frames") && video.ends_with("latents[:, :, 0]"), "{video}");
    for shape in [&[0, 4, 4, 4][..], &[1, 0, 4, 4], &[1, 4, 0, 4], &[1, 4, 4, 0], &[4, 0, 4]] {
        assert!(shaped(shape).contains("every extent must be from 1 to"), "{shape:?}");
    }
}

#[test]
fn values_that_are_no_numbers_are_refused_with_their_place() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut values = vec![0.5f32; 2 * 3 * 4 * 5];
        // batch 1, channel 2, row 3, column 1
        values[((3 + 2) * 4 + 3) * 5 + 1] = value;
        let bytes = file(&[("z", Dtype::F32, &[2, 3, 4, 5], &f32_bytes(&values))]);
        let message = message(&bytes, None);
        let expected =
            format!("are {shown} at batch 1, channel 2, row 3, column 1; expected finite");
        assert!(message.starts_with(&expected), "{message}");
    }
    // Beyond what an f32 holds.
    let wide = file(&[("z", Dtype::F64, &[1, 1, 1], &1e300f64.to_le_bytes())]);
    assert!(message(&wide, None).starts_with("are inf at batch 0, channel 0"));
}

#[test]
fn channels_of_another_model_are_explained() {
    let latents = |channels, height, width| {
        let data = vec![0.0; channels * height * width];
        Latents { batch: 1, channels, frames: 1, height, width, data }
    };
    latents(16, 8, 8).expect_channels(16).unwrap();
    let message = |latents: Latents| latents.expect_channels(16).unwrap_err().to_string();
    assert_eq!(message(latents(4, 8, 8)), "have 4 channels, the VAE takes 16");
    assert!(message(latents(64, 64, 16)).contains("seem to have the channels last"));
    assert!(message(latents(1, 4096, 64)).contains("seem to be packed"));
    let one_cell = message(latents(1, 4096, 16));
    assert!(one_cell.contains("tokens of one cell") && one_cell.contains("last"), "{one_cell}");
}

#[test]
fn latents_of_a_pipeline_are_taken_to_the_vaes_space() {
    let original = golden_latents(2, 1.0);
    let mut latents = original.clone();
    let space = LatentSpace { scaling_factor: 0.3611, shift_factor: 0.1159, ..LatentSpace::VAE };
    latents.to_vae_space(&space).unwrap();
    for (value, before) in latents.data.iter().zip(&original.data) {
        assert_eq!(*value, before / 0.3611 + 0.1159);
    }

    let mut latents = original.clone();
    let config = AutoencoderKlConfig {
        latent_channels: 3,
        scaling_factor: 0.5,
        shift_factor: 100.0,
        latents_mean: Some(vec![1.0, 2.0, 3.0]),
        latents_std: Some(vec![0.5, 1.0, 2.0]),
        ..AutoencoderKlConfig::default()
    };
    latents.to_vae_space(&config.latent_space().unwrap()).unwrap();
    for (cell, before) in latents.data.chunks(3).zip(original.data.chunks(3)) {
        let expected = [before[0] + 1.0, before[1] * 2.0 + 2.0, before[2] * 4.0 + 3.0];
        assert_eq!(cell, expected);
    }

    let wrong = LatentSpace { mean_and_std: Some((vec![0.0; 3], vec![1.0; 4])), ..space };
    let error = original.clone().to_vae_space(&wrong).unwrap_err();
    assert!(matches!(error, LatentsError::Statistics { found: 4, values: 3 }));
}

#[test]
fn an_overflow_on_the_way_to_the_vaes_space_is_placed() {
    let mut latents = golden_latents(2, 1.0);
    let index = ((2 + 1) * 4 + 3) * 3 + 2;
    latents.data[index] = 3e38;
    let space = LatentSpace { scaling_factor: 0.1, ..LatentSpace::VAE };
    let error = latents.to_vae_space(&space).unwrap_err().to_string();
    assert!(error.starts_with("are inf at batch 1, channel 2, row 1, column 3;"), "{error}");
    assert!(error.ends_with("are they in another space?"), "{error}");
}

#[test]
fn the_format_is_told_from_name_and_bytes() {
    let detect = |name: &str, bytes: &[u8]| LatentsFormat::detect(Path::new(name), bytes);
    let npy = b"\x93NUMPY\x01\0";
    assert_eq!(detect("a.npy", npy), Some(LatentsFormat::Npy));
    assert_eq!(detect("a.safetensors", npy), Some(LatentsFormat::Npy));
    assert_eq!(detect("a.NPY", b""), Some(LatentsFormat::Npy));
    assert_eq!(detect("a.latent", b""), Some(LatentsFormat::Safetensors));
    assert_eq!(detect("a.SafeTensors", b""), Some(LatentsFormat::Safetensors));
    assert_eq!(detect("a", b"\x20\0\0\0\0\0\0\0{"), Some(LatentsFormat::Safetensors));
    assert_eq!(detect("a.png", b"\x89PNG"), None);
}

#[test]
fn files_that_are_no_latents_are_explained() {
    let folder = TempDir::new().unwrap();
    let message = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let message = Latents::read(&path, None).unwrap_err().to_string();
        let prefix = format!("latents `{}`: ", path.display());
        let rest = message.strip_prefix(&prefix).unwrap_or_else(|| panic!("{message}"));
        assert!(!rest.contains('\n'), "{rest}");
        rest.to_owned()
    };
    assert!(
        message("a.png", b"\x89PNG").starts_with("is of no known format; expected .safetensors")
    );
    assert!(message("a.npz", b"PK\x03\x04").contains("of an .npz save one array"));
    assert!(message("a.pt", b"PK\x03\x04").contains("safetensors' save_file"));
    assert!(message("a.pkl", b"\x80\x04\x95").contains("it is a pickle"));
    assert!(message("a", b"").ends_with("it is empty"));
    assert!(message("a.npy", b"").starts_with("is not a readable .npy file: "));
    assert!(message("a.safetensors", b"").starts_with("is empty"));
    assert!(message("b.safetensors", b"PK\x03\x04").contains("zip archive"));

    let absent = Latents::read(&folder.path().join("absent.npy"), None).unwrap_err();
    assert!(absent.to_string().contains("cannot be read: "), "{absent}");
    let directory = Latents::read(folder.path(), None).unwrap_err();
    assert!(directory.to_string().ends_with("it is a folder, not a file"), "{directory}");
    let key = Latents::read(&golden("f4.npy"), Some("z")).unwrap_err();
    assert!(key.to_string().ends_with("leave the key \"z\" out"), "{key}");
}

proptest! {
    /// Every element of a tensor is where the layout says, in C and Fortran order alike.
    #[test]
    fn every_element_finds_its_place(
        extents in prop::array::uniform4(1usize..6),
        three_axes: bool,
        fortran: bool,
        big_endian: bool,
    ) {
        let [_, channels, height, width] = extents;
        let batch = if three_axes { 1 } else { extents[0] };
        let value =
            |n: usize, c: usize, y: usize, x: usize| (n * 1000 + c * 100 + y * 10 + x) as f32;
        // Elements in file order, written as four loops from the slowest to the fastest axis.
        let mut stored = Vec::new();
        if fortran {
            for x in 0..width { for y in 0..height { for c in 0..channels { for n in 0..batch {
                stored.push(value(n, c, y, x));
            }}}}
        } else {
            for n in 0..batch { for c in 0..channels { for y in 0..height { for x in 0..width {
                stored.push(value(n, c, y, x));
            }}}}
        }
        let mut shape = vec![batch, channels, height, width];
        if three_axes {
            shape.remove(0);
        }
        let listed = shape.iter().map(|extent| format!("{extent}, ")).collect::<String>();
        let (order, fortran_order) =
            (if big_endian { '>' } else { '<' }, if fortran { "True" } else { "False" });
        let header = format!(
            "{{'descr': '{order}f4', 'fortran_order': {fortran_order}, 'shape': ({listed}), }}\n"
        );
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        let to_bytes = if big_endian { f32::to_be_bytes } else { f32::to_le_bytes };
        bytes.extend(stored.iter().flat_map(|&value| to_bytes(value)));

        let latents = Latents::from_bytes(&bytes, LatentsFormat::Npy, None).unwrap();
        prop_assert_eq!(
            [latents.batch, latents.channels, latents.height, latents.width],
            [batch, channels, height, width]
        );
        let mut data = latents.data.iter();
        for n in 0..batch { for y in 0..height { for x in 0..width { for c in 0..channels {
            prop_assert_eq!(*data.next().unwrap(), value(n, c, y, x));
        }}}}
        prop_assert!(data.next().is_none());

        if !fortran && !big_endian {
            let same = file(&[("z", Dtype::F32, &shape, &f32_bytes(&stored))]);
            prop_assert_eq!(read(&same, None).unwrap(), latents);
        }
    }
}
