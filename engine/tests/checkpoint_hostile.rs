//! Damaged and hostile checkpoints: an error on one line, never a panic, never memory on a header's
//! word.

mod checkpoint_common;

use std::panic::AssertUnwindSafe;

use checkpoint_common::{Model, Tensor, Tensors, borrowed, raw_file, serialize, write};
use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, CheckpointError, HeaderError};
use proptest::prelude::*;
use safetensors::Dtype;
use tempfile::TempDir;

/// Reads everything that a checkpoint offers.
fn read_all(checkpoint: &Checkpoint) -> usize {
    let names: Vec<_> = checkpoint.names().map(str::to_owned).collect();
    let mut elements = 0;
    for name in &names {
        let view = checkpoint.tensor(name).expect("a listed weight is there");
        assert_eq!(view.shape.iter().product::<usize>(), view.elements());
        assert_eq!(view.bytes.len(), view.elements() * view.dtype.size());
        let mut out = vec![0.0; view.elements()];
        view.to_f32_into(&mut out);
        elements += out.len();
    }
    elements
}

/// Opens `bytes`, and reads all of it or checks the message.
fn exercise(bytes: &[u8]) -> Result<(), String> {
    for config in [None, Some(AutoencoderKlConfig::default().into())] {
        match Checkpoint::from_bytes(bytes.to_vec(), config) {
            Ok(checkpoint) => {
                read_all(&checkpoint);
                checkpoint.config().validate().map_err(|error| error.to_string())?;
                let expected = Model::default().expected();
                let verified = checkpoint.verify(borrowed(&expected));
                let message = verified.err().map(|error| error.to_string()).unwrap_or_default();
                if message.contains('\n') {
                    return Err(message);
                }
            }
            Err(error) => {
                let message = error.to_string();
                if message.contains('\n') || message.len() > 4000 {
                    return Err(message);
                }
            }
        }
    }
    Ok(())
}

fn header_error(bytes: &[u8]) -> HeaderError {
    match Checkpoint::from_bytes(bytes.to_vec(), None) {
        Err(CheckpointError::Header { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn small() -> Vec<u8> {
    let tensors = [
        ("decoder.conv_in.weight", Tensor::new(Dtype::F32, &[2, 2, 1, 1], &[1.0; 4])),
        ("decoder.conv_out.bias", Tensor::new(Dtype::BF16, &[3], &[1.0; 3])),
        ("quant_conv.bias", Tensor::new(Dtype::F16, &[1], &[1.0])),
    ];
    serialize(&tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect())
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let bytes = small();
    assert!(
        Checkpoint::from_bytes(bytes.clone(), Some(AutoencoderKlConfig::default().into())).is_ok()
    );
    for length in 0..bytes.len() {
        let error = header_error(&bytes[..length]);
        let expected = match length {
            0..8 => matches!(error, HeaderError::TooShort { bytes } if bytes == length),
            _ => matches!(error, HeaderError::HeaderLength { .. } | HeaderError::DataLength { .. }),
        };
        assert!(expected, "{length}: {error}");
    }
    let longer = [bytes.as_slice(), b"\0"].concat();
    assert!(matches!(header_error(&longer), HeaderError::DataLength { .. }));
}

#[test]
fn a_cut_file_on_disk_is_named() {
    let folder = TempDir::new().unwrap();
    let bytes = serialize(&Model::default().diffusers(Dtype::F16));
    for length in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let path = write(folder.path(), "cut.safetensors", &bytes[..length]);
        let message = Checkpoint::open(&path, None).unwrap_err().to_string();
        assert!(message.starts_with(&format!("`{}` ", path.display())), "{message}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_survived() {
    let bytes = small();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << bit;
            exercise(&flipped).unwrap();
        }
    }
}

#[test]
fn lengths_of_headers_are_not_believed() {
    for claimed in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 100_000_001, 3] {
        let bytes = [claimed.to_le_bytes().as_slice(), b"{}"].concat();
        assert_eq!(header_error(&bytes), HeaderError::HeaderLength { claimed, available: 2 });
    }
    let long = raw_file(&format!("{{}}{}", " ".repeat(16 << 20)), b"");
    let claimed = (16 << 20) + 2;
    assert_eq!(header_error(&long), HeaderError::HeaderTooLong { claimed });
}

fn entry(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

#[test]
fn headers_that_lie_are_refused() {
    let max = usize::MAX;
    let cases = [
        // Overlapping, with a gap, backwards, not from the start.
        vec![entry("a", "F32", "[2]", "[0,8]"), entry("b", "F32", "[2]", "[4,12]")],
        vec![entry("a", "F32", "[2]", "[0,8]"), entry("b", "F32", "[2]", "[0,8]")],
        vec![entry("a", "F32", "[1]", "[0,4]"), entry("b", "F32", "[1]", "[8,12]")],
        vec![entry("a", "F32", "[1]", "[8,4]")],
        vec![entry("a", "F32", "[2]", "[4,12]")],
        // Type and shape that do not fit the offsets.
        vec![entry("a", "F16", "[3]", "[0,12]")],
        vec![entry("a", "F32", "[]", "[0,12]")],
        vec![entry("a", "F32", "[0]", "[0,12]")],
        // Products that wrap around.
        vec![entry("a", "F32", "[4294967296,4294967296,3]", "[0,12]")],
        vec![entry("a", "F32", &format!("[{max},2]"), "[0,12]")],
        vec![entry("a", "F32", "[4611686018427387907]", "[0,12]")],
        vec![entry("a", "F32", "[3]", &format!("[0,{max}]"))],
        vec![entry("a", "U8", &format!("[{max}]"), &format!("[0,{max}]"))],
        // Not numbers at all.
        vec![entry("a", "F32", "[-3]", "[0,12]")],
        vec![entry("a", "F32", "[3.0]", "[0,12]")],
        vec![entry("a", "F32", "[3]", "[0,99999999999999999999]")],
        vec![entry("a", "F32", "[3]", "[0]")],
        vec![entry("a", "F33", "[3]", "[0,12]")],
        vec![entry("a", "f32", "[3]", "[0,12]")],
        vec![r#""a":{"dtype":"F32"}"#.into()],
        vec![r#""a":3"#.into()],
        vec![r#""__metadata__":{"x":3}"#.into()],
    ];
    for entries in cases {
        let header = format!("{{{}}}", entries.join(","));
        let error = header_error(&raw_file(&header, &[0; 12]));
        assert!(matches!(error, HeaderError::Damaged { .. }), "{header}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    for header in ["", "[]", "{", "null", "{}x", "\u{0}", "{\"a\u{1}\":3}"] {
        let error = header_error(&raw_file(header, b""));
        assert!(matches!(error, HeaderError::Damaged { .. }), "{header:?}: {error}");
    }
    let not_text = [5u64.to_le_bytes().as_slice(), b"{\"\xff\"}"].concat();
    assert!(matches!(header_error(&not_text), HeaderError::Damaged { .. }));
}

/// Sums of offsets near the end of the number range: the header's parser adds to the last one.
#[test]
fn offsets_at_the_end_of_the_number_range_are_refused() {
    let eighth = usize::MAX / 8;
    for last in 0..=8 {
        let mut entries = Vec::new();
        let mut start = 0usize;
        for index in 0..8 {
            entries.push(entry(
                &format!("t{index}"),
                "U8",
                &format!("[{eighth}]"),
                &format!("[{start},{}]", start + eighth),
            ));
            start += eighth;
        }
        if last > 0 {
            let Some(end) = start.checked_add(last) else { continue };
            entries.push(entry("last", "U8", &format!("[{last}]"), &format!("[{start},{end}]")));
            start = end;
        }
        let error = header_error(&raw_file(&format!("{{{}}}", entries.join(",")), b""));
        assert_eq!(error, HeaderError::DataLength { described: start, found: 0 });
    }
}

#[test]
fn a_name_that_occurs_twice_does_not_hide_a_tensor() {
    let twice =
        [entry("decoder.x", "F32", "[1]", "[0,4]"), entry("decoder.x", "F32", "[1]", "[4,8]")];
    let error = header_error(&raw_file(&format!("{{{}}}", twice.join(",")), &[0; 8]));
    assert!(matches!(error, HeaderError::Damaged { .. }), "{error}");
}

#[test]
fn deep_and_wide_headers_are_refused_or_read() {
    let deep = raw_file(&format!("{{\"a\":{}", "[".repeat(1 << 20)), b"");
    assert!(matches!(header_error(&deep), HeaderError::Damaged { .. }));
    let wide = entry("decoder.x", "F32", &format!("[{}1]", "1,".repeat(1 << 20)), "[0,4]");
    exercise(&raw_file(&format!("{{{wide}}}"), &[0; 4])).unwrap();
}

#[test]
fn other_kinds_of_files_are_recognised() {
    let message = |bytes: &[u8]| header_error(bytes).to_string();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    assert!(message(pointer).contains("git lfs pull"));
    assert!(message(b"PK\x03\x04 and more of it").contains("zip archive"));
    assert!(message(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.").contains("a pickle"));
    assert!(message(b"GGUF\x03\0\0\0\0\0\0\0").contains("GGUF"));
    assert!(message(b"\x93NUMPY\x01\0v\0{'descr'").contains("NumPy"));
    // A header that happens to be as long as a pickle begins is still one.
    let header = format!("{{}}{}", " ".repeat(0x0280 - 2));
    let error = Checkpoint::from_bytes(raw_file(&header, b""), None).unwrap_err();
    assert!(matches!(error, CheckpointError::NoDecoder { .. }), "{error}");
}

#[test]
fn scalars_and_empty_tensors_are_read() {
    let tensors: Tensors = [
        ("decoder.scalar".to_owned(), Tensor::new(Dtype::F32, &[], &[3.0])),
        ("decoder.empty".to_owned(), Tensor::new(Dtype::F32, &[2, 0, 3], &[])),
    ]
    .into();
    let config = Some(AutoencoderKlConfig::default().into());
    let checkpoint = Checkpoint::from_bytes(serialize(&tensors), config).unwrap();
    assert_eq!(read_all(&checkpoint), 1);
    let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
    assert!(matches!(error, CheckpointError::NotInferable { .. }), "{error}");
}

#[test]
fn shapes_that_no_decoder_has_are_not_inferred() {
    let model = Model::default();
    let empty = |shape: &[usize]| Tensor::new(Dtype::F32, shape, &[]);
    for (name, tensor) in [
        ("decoder.conv_in.weight", empty(&[8, 0, 3, 3])),
        ("decoder.conv_in.weight", empty(&[8, 1 << 40, 3, 0])),
        ("decoder.conv_out.weight", empty(&[0, 8, 3, 3])),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", empty(&[0, 8, 3, 3])),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", empty(&[1 << 20, 8, 0, 3])),
        ("decoder.up_blocks.0.resnets.0.conv1.weight", empty(&[0])),
    ] {
        let mut tensors = model.diffusers(Dtype::F32);
        tensors.insert(name.into(), tensor);
        let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
        assert!(matches!(error, CheckpointError::NotInferable { .. }), "{error}");
    }
    let mut deep = model.diffusers(Dtype::F32);
    for level in 0..20 {
        let name = format!("decoder.up_blocks.{level}.resnets.0.conv1.weight");
        deep.insert(name, Tensor::new(Dtype::F32, &[8, 8, 1, 1], &[0.0; 64]));
    }
    let error = Checkpoint::from_bytes(serialize(&deep), None).unwrap_err().to_string();
    assert!(error.contains("more than 16 up blocks"), "{error}");
}

#[test]
fn names_do_not_reach_a_terminal_as_they_are() {
    let name = format!("decoder.\\u001b[2J\\n{}", "x".repeat(1000));
    let header = format!("{{{}}}", entry(&name, "I64", "[1]", "[0,8]"));
    let error = Checkpoint::from_bytes(raw_file(&header, &[0; 8]), None).unwrap_err().to_string();
    assert!(error.contains("decoder.\\u{1b}[2J\\n") && error.len() < 300, "{error}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_without_waiting_for_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pipe.safetensors");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let error = Checkpoint::open(&path, None).unwrap_err().to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_as_download_caches_make_them_are_followed() {
    let folder = TempDir::new().unwrap();
    let bytes = serialize(&Model::default().diffusers(Dtype::F16));
    write(folder.path(), "blobs/00ff", bytes);
    let snapshot = folder.path().join("snapshot/vae");
    std::fs::create_dir_all(&snapshot).unwrap();
    let link = snapshot.join("diffusion_pytorch_model.safetensors");
    std::os::unix::fs::symlink("../../blobs/00ff", link).unwrap();
    let checkpoint = Checkpoint::open(&folder.path().join("snapshot"), None).unwrap();
    checkpoint.verify(borrowed(&Model::default().expected())).unwrap();
}

/// Runs `exercise` and turns a panic into a failure that proptest can shrink.
fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    std::panic::catch_unwind(AssertUnwindSafe(|| exercise(bytes)))
        .map_err(|_| TestCaseError::fail("it panicked"))?
        .map_err(TestCaseError::fail)
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes)?;
    }

    #[test]
    fn a_damaged_model_is_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let block_out_channels = vec![2, 2];
        let model = Model { block_out_channels, layers_per_block: 1, ..Model::default() };
        let mut bytes = serialize(&model.ldm(Dtype::F16, "vae.", 2));
        // Mostly in the header, where damage means something.
        let header = usize::from(bytes[0]) + 256 * usize::from(bytes[1]) + 8;
        for (position, value) in damage {
            let position = position.index(header);
            bytes[position] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survives(&bytes)?;
    }

    /// Headers of plausible words in implausible combinations.
    #[test]
    fn made_up_headers_are_survived(
        entries in prop::collection::vec(
            (
                prop_oneof![
                    Just("decoder.conv_in.weight".to_owned()),
                    Just("decoder.conv_out.weight".to_owned()),
                    Just("decoder.mid.attn_1.q.weight".to_owned()),
                    Just("decoder.mid.attn_1.to_q.scale_weight".to_owned()),
                    Just("decoder.conv_in.weight_scale".to_owned()),
                    Just("a.decoder.conv_in.weight".to_owned()),
                    (0u32..20, 0u32..4).prop_map(|(level, block)| {
                        format!("decoder.up.{level}.block.{block}.conv1.weight")
                    }),
                    (0u32..20, 0u32..4).prop_map(|(level, block)| {
                        format!("decoder.up_blocks.{level}.resnets.{block}.conv1.weight")
                    }),
                    any::<u32>()
                        .prop_map(|level| format!("vae.decoder.up.{level}.upsample.conv.bias")),
                ],
                prop::sample::select(vec!["F32", "F16", "BF16", "U8", "F4", "F8_E4M3"]),
                prop::collection::vec(prop_oneof![0usize..4, Just(1 << 40)], 0..5),
            ),
            0..8,
        ),
    ) {
        let mut offset = 0usize;
        let mut list = Vec::new();
        for (name, dtype, shape) in entries {
            let bits: usize =
                match dtype { "F32" => 32, "U8" | "F8_E4M3" => 8, "F4" => 4, _ => 16 };
            let bits: usize =
                shape.iter().fold(bits, |product, extent| product.wrapping_mul(*extent));
            let size = bits / 8;
            let end = offset.wrapping_add(size);
            list.push(entry(&name, dtype, &format!("{shape:?}"), &format!("[{offset},{end}]")));
            offset = end;
        }
        let data = vec![0x3c; offset.min(1 << 16)];
        survives(&raw_file(&format!("{{{}}}", list.join(",")), &data))?;
    }
}
