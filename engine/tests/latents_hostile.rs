//! Damaged and hostile latents: an error on one line, never a panic, never memory on a header's
//! word.

use halovae_engine::latents::{Latents, LatentsError, LatentsFormat};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

const FORMATS: [LatentsFormat; 2] = [LatentsFormat::Safetensors, LatentsFormat::Npy];

/// An `.npy` file of format version 1.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn good_npy() -> Vec<u8> {
    npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1, 2), }  \n", &[0; 16])
}

fn safetensors() -> Vec<u8> {
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
    let tensors = [
        ("latent_tensor", view(&[1, 2, 1, 2], &[0; 16])),
        ("latent_format_version_0", view(&[0], &[])),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

fn parse(bytes: &[u8]) -> Result<Latents, LatentsError> {
    Latents::from_bytes(bytes, LatentsFormat::Npy, None)
}

fn npy_message(bytes: &[u8]) -> String {
    let message = parse(bytes).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

/// Reads `bytes` as every format; what comes out is consistent.
fn exercise(bytes: &[u8]) -> Result<(), TestCaseError> {
    for format in FORMATS {
        for key in [None, Some("latent_tensor")] {
            match Latents::from_bytes(bytes, format, key) {
                Ok(latents) => {
                    let Latents { batch, channels, frames, height, width, data } = latents;
                    assert_eq!(frames, 1);
                    prop_assert_eq!(batch * channels * height * width, data.len());
                    prop_assert!(data.iter().all(|value| value.is_finite()));
                }
                Err(error) => {
                    let message = error.to_string();
                    prop_assert!(!message.contains('\n') && message.len() < 3000, "{}", message);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    parse(&good_npy()).unwrap();
    Latents::from_bytes(&safetensors(), LatentsFormat::Safetensors, None).unwrap();
    for length in 0..good_npy().len() {
        npy_message(&good_npy()[..length]);
    }
    for length in 0..safetensors().len() {
        let format = LatentsFormat::Safetensors;
        let error = Latents::from_bytes(&safetensors()[..length], format, None).unwrap_err();
        assert!(matches!(error, LatentsError::Header(_)), "{length}: {error}");
    }
    let longer = [good_npy(), vec![0; 4]].concat();
    assert!(
        npy_message(&longer)
            .contains("20 bytes of data, where \"<f4\" of shape [1, 2, 1, 2] need 16")
    );
}

#[test]
fn a_flipped_bit_anywhere_is_survived() {
    for bytes in [good_npy(), safetensors()] {
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[position] ^= 1 << bit;
                exercise(&flipped).unwrap();
            }
        }
    }
}

#[test]
fn headers_of_numpy_are_taken_in_any_order_and_spacing() {
    for header in [
        "{'descr':'<f4','fortran_order':False,'shape':(1,2,1,2)}",
        "{\"shape\": (1L, 2L, 1L, 2L), \"fortran_order\": False, \"descr\": \"<f4\"}\n",
        " \t{ 'fortran_order' : False , 'descr' : '<f4' , 'shape' : ( 1 , 2 , 1 , 2 , ) , } \r\n",
    ] {
        let latents = parse(&npy(header, &[0; 16])).unwrap();
        assert_eq!((latents.channels, latents.width), (2, 2), "{header}");
    }
    let native =
        npy("{'descr': '=f4', 'fortran_order': False, 'shape': (1, 1, 1), }", &1f32.to_ne_bytes());
    assert_eq!(parse(&native).unwrap().data, [1.0]);
}

#[test]
fn headers_that_numpy_does_not_write_are_refused() {
    let rest = "'fortran_order': False, 'shape': (1, 2, 1, 2), }";
    let cases = [
        (String::new(), "where `{` is expected"),
        ("{}".into(), "has no `descr`"),
        ("{'descr': '<f4', }".into(), "has no `fortran_order`"),
        ("{'descr': '<f4', 'fortran_order': False}".into(), "has no `shape`"),
        (format!("{{'descr': '<f4', 'descr': '<f4', {rest}"), "has \"descr\" twice"),
        (format!("{{'descr': '<f4', 'extra': 3, {rest}"), "unknown field \"extra\""),
        (format!("{{'descr': [('a', '<f4')], {rest}"), "a structured array"),
        (format!("{{'descr': '<f4\\n', {rest}"), "the end of a string"),
        (format!("{{'descr': '<f4, {rest}"), "is expected"),
        (format!("{{'descr': <f4, {rest}"), "where a string is expected"),
        (format!("{{'descr' '<f4', {rest}"), "where `:` is expected"),
        (format!("{{'descr': '<f4' {rest}"), "where `}` is expected"),
        (format!("{{'descr': '<f4', {rest} x"), "goes on after the dict"),
        ("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}".into(), "True or False"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': 3}".into(), "where `(` is expected"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}".into(), "a whole number"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}".into(), "where `)`"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}".into(), "where `)`"),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}".into(),
            "the extent 99999999999999999999",
        ),
        (
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({})}}", "1,".repeat(65)),
            "more than 64 axes",
        ),
    ];
    for (header, expected) in cases {
        let message = npy_message(&npy(&header, &[0; 16]));
        assert!(message.contains(expected), "{header}: {message}");
    }
}

#[test]
fn types_that_are_no_latents_are_named() {
    for descr in ["<i4", "|u1", "<f16", "<c8", "|V2", "|O", "f4", "|f4", "", "<", "é4"] {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 1, 1), }}");
        let error = parse(&npy(&header, &[0; 4])).unwrap_err();
        assert!(matches!(error, LatentsError::Dtype { .. }), "{descr}: {error}");
    }
}

#[test]
fn sizes_are_not_believed() {
    for shape in [
        "(18446744073709551615,)",
        "(4294967296, 4294967296, 1, 1)",
        "(4294967296, 4294967296, 4, 0)",
    ] {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let error = parse(&npy(&header, &[0; 16])).unwrap_err();
        assert!(matches!(error, LatentsError::Extent { .. }), "{error}");
    }
    for shape in ["(65536, 65536, 65536, 65536)", "(1, 16, 1000000, 1000000)"] {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let message = npy_message(&npy(&header, &[0; 16]));
        assert!(message.contains("16 bytes of data, where"), "{message}");
    }
    let mut version_2 = b"\x93NUMPY\x02\0".to_vec();
    version_2.extend(u32::MAX.to_le_bytes());
    assert!(
        npy_message(&version_2).contains("a header of 4294967295 bytes, expected at most 10000")
    );
    version_2.truncate(8);
    version_2.extend(9_999u32.to_le_bytes());
    assert!(npy_message(&version_2).contains("a header of 9999 bytes, but 0 follow"));
    assert!(npy_message(b"\x93NUMPY\x07\x01").contains("version 7.1, expected 1.0"));
    let mut not_text = npy("{'descr'", b"");
    *not_text.last_mut().unwrap() = 0xff;
    assert!(npy_message(&not_text).contains("its header is not text"));
}

#[test]
fn empty_arrays_are_refused() {
    for shape in ["()", "(0,)"] {
        let data: &[u8] = if shape == "()" { &[0; 4] } else { &[] };
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        assert!(matches!(parse(&npy(&header, data)), Err(LatentsError::Axes { .. })), "{shape}");
    }
    for shape in ["(1, 0, 4, 4)", "(4294967296, 0, 1)"] {
        let header = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}, }}");
        assert!(matches!(parse(&npy(&header, &[])), Err(LatentsError::Extent { .. })), "{shape}");
    }
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes)?;
        exercise(&[b"\x93NUMPY\x01\0", bytes.as_slice()].concat())?;
    }

    #[test]
    fn damaged_files_are_survived(
        comfy: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = if comfy { safetensors() } else { good_npy() };
        for (position, value) in damage {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        exercise(&bytes)?;
    }

    /// Headers of NumPy's own words in any order.
    #[test]
    fn made_up_headers_are_survived(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "(", ")", "[", ",", ":", "'descr'", "'shape'", "'fortran_order'",
                "True", "False", "'<f4'", "'>f8'", "1", "0", "18446744073709551615", "L", "'",
                "\"", "\\", "é",
            ]),
            0..24,
        ),
    ) {
        exercise(&npy(&words.concat(), &[0; 16]))?;
    }
}
