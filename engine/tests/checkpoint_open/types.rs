//! Types of weights: what they convert to, and which are refused.

use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, Dtype as Stored};
use safetensors::Dtype;

use crate::checkpoint_common::{
    Model, Tensor, assert_holds, open_bytes, raw_file, read, serialize,
};

#[test]
fn every_type_of_weights_is_read_exactly() {
    let model = Model::default();
    for (dtype, stored) in
        [(Dtype::F32, Stored::F32), (Dtype::F16, Stored::F16), (Dtype::BF16, Stored::Bf16)]
    {
        let checkpoint = open_bytes(&model.diffusers(dtype));
        assert_holds(&checkpoint, &model);
        let view = checkpoint.tensor("decoder.conv_in.weight").unwrap();
        assert_eq!(view.dtype, stored);
        assert_eq!(view.bytes.len(), view.elements() * stored.size());
    }
}

/// All 65536 halves, at odd addresses too, against `half`'s scalar conversion.
#[test]
fn halves_of_every_value_are_converted() {
    let bits: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    for pad in 0..4 {
        for (name, convert) in [
            ("F16", (|bits| half::f16::from_bits(bits).to_f32()) as fn(u16) -> f32),
            ("BF16", |bits| half::bf16::from_bits(bits).to_f32()),
        ] {
            let header = format!(
                r#"{{"decoder.x":{{"dtype":"{name}","shape":[65536],"data_offsets":[0,131072]}}}}{}"#,
                " ".repeat(pad)
            );
            let config = AutoencoderKlConfig::default().into();
            let checkpoint =
                Checkpoint::from_bytes(raw_file(&header, &bytes), Some(config)).unwrap();
            for (&bits, value) in bits.iter().zip(read(&checkpoint, "decoder.x")) {
                let expected = convert(bits);
                let same = value == expected || (value.is_nan() && expected.is_nan());
                assert!(same, "{name} {bits:#06x}: {value} instead of {expected}");
            }
        }
    }
}

#[test]
#[should_panic = "`decoder.conv_in.bias` has another number of elements"]
fn a_buffer_of_another_length_is_a_bug() {
    let checkpoint = open_bytes(&Model::default().diffusers(Dtype::F32));
    checkpoint.tensor("decoder.conv_in.bias").unwrap().to_f32_into(&mut [0.0; 3]);
}

#[test]
fn weights_in_other_types_are_refused_unless_they_are_the_encoders() {
    let model = Model::default();
    let mut tensors = model.diffusers(Dtype::F16);
    let wide = Tensor::new(Dtype::F64, &[1], &[1.0]);
    tensors.insert("encoder.conv_in.bias".into(), wide.clone());
    assert_holds(&open_bytes(&tensors), &model);

    tensors.insert("decoder.conv_in.bias".into(), wide);
    let integer = Tensor::new(Dtype::I64, &[1], &[1.0]);
    tensors.insert("decoder.conv_out.bias".into(), integer);
    let error = Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`<memory>` holds weights in unsupported types: decoder.conv_in.bias is F64, \
         decoder.conv_out.bias is I64; expected F32, F16, BF16, F8_E4M3 or F8_E5M2, \
         convert it first"
    );
}
