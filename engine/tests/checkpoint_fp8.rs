//! Weights in 8 bits, with the scales that ComfyUI's files have.

mod checkpoint_common;

use checkpoint_common::{
    Model, Tensor, Tensors, assert_holds, borrowed, open_bytes, raw_file, read, serialize,
};
use halovae_engine::checkpoint::{
    AutoencoderKlConfig, Checkpoint, CheckpointError, Dtype as Stored,
};
use safetensors::Dtype;

const WEIGHT: &str = "decoder.conv_in.weight";
/// Scales as ComfyUI's first and its later files call them.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// The value of a code by the definition of its format: a sign, an exponent, a mantissa. The
/// largest exponent of E4M3 is one of numbers, but for its last mantissa.
fn defined(code: u8, mantissa_bits: u32) -> f64 {
    let exponent_bits = 7 - mantissa_bits;
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    let sign = if code >= 128 { -1.0 } else { 1.0 };
    let exponent = i32::from(code & 0x7f) >> mantissa_bits;
    let steps = 1u8 << mantissa_bits;
    let mantissa = f64::from(code % steps) / f64::from(steps);
    let last = exponent == (1 << exponent_bits) - 1;
    let magnitude = match (exponent, mantissa_bits) {
        (_, 3) if last && code & 7 == 7 => f64::NAN,
        (_, 2) if last && code & 3 == 0 => f64::INFINITY,
        (_, 2) if last => f64::NAN,
        (0, _) => mantissa * 2f64.powi(1 - bias),
        _ => (1.0 + mantissa) * 2f64.powi(exponent - bias),
    };
    sign * magnitude
}

/// All codes of a type, as a checkpoint widens them.
fn codes(dtype: &str, shape: &str, scale: Option<f32>) -> Vec<f32> {
    let codes: Vec<u8> = (0..=255).collect();
    let mut header = format!(
        r#""decoder.x.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,256]}}"#
    );
    let mut data = codes;
    if let Some(scale) = scale {
        header +=
            r#","decoder.x.scale_weight":{"dtype":"F32","shape":[],"data_offsets":[256,260]}"#;
        data.extend(scale.to_le_bytes());
    }
    let file = raw_file(&format!("{{{header}}}"), &data);
    let checkpoint =
        Checkpoint::from_bytes(file, Some(AutoencoderKlConfig::default().into())).unwrap();
    read(&checkpoint, "decoder.x.weight")
}

#[track_caller]
fn assert_same(value: f32, expected: f64, what: &str) {
    let same = match expected.is_nan() {
        true => value.is_nan(),
        false => {
            f64::from(value) == expected && value.is_sign_negative() == expected.is_sign_negative()
        }
    };
    assert!(same, "{what}: {value} instead of {expected}");
}

#[test]
fn every_code_is_widened_exactly() {
    for (dtype, mantissa_bits) in [("F8_E4M3", 3), ("F8_E5M2", 2)] {
        for (code, value) in codes(dtype, "[256]", None).into_iter().enumerate() {
            let what = format!("{dtype} {code:#04x}");
            assert_same(value, defined(code as u8, mantissa_bits), &what);
        }
    }
}

/// The numbers in the tables of the formats' specification (OCP, 8-bit floating point, 1.0).
#[test]
fn landmarks_are_those_of_the_specification() {
    let e4m3 = codes("F8_E4M3", "[256]", None);
    for (code, value) in [
        (0x00, 0.0),
        (0x01, 2f32.powi(-9)),
        (0x07, 0.875 * 2f32.powi(-6)),
        (0x08, 2f32.powi(-6)),
        (0x38, 1.0),
        (0x7e, 448.0),
        (0xfe, -448.0),
    ] {
        assert_eq!(e4m3[code], value, "{code:#04x}");
    }
    assert!(e4m3[0x7f].is_nan() && e4m3[0xff].is_nan());
    assert_eq!(e4m3.iter().filter(|value| !value.is_finite()).count(), 2);
    let e5m2 = codes("F8_E5M2", "[256]", None);
    for (code, value) in [
        (0x01, 2f32.powi(-16)),
        (0x03, 0.75 * 2f32.powi(-14)),
        (0x04, 2f32.powi(-14)),
        (0x3c, 1.0),
        (0x7b, 57344.0),
        (0xfb, -57344.0),
        (0x7c, f32::INFINITY),
        (0xfc, f32::NEG_INFINITY),
    ] {
        assert_eq!(e5m2[code], value, "{code:#04x}");
    }
    assert_eq!(e5m2.iter().filter(|value| value.is_nan()).count(), 6);
}

#[test]
fn a_scale_multiplies_every_code() {
    let scale = 0.012_345_679f32;
    for (dtype, mantissa_bits) in [("F8_E4M3", 3), ("F8_E5M2", 2)] {
        for (code, value) in codes(dtype, "[4,64]", Some(scale)).into_iter().enumerate() {
            let product = defined(code as u8, mantissa_bits) as f32 * scale;
            assert_same(value, f64::from(product), &format!("{dtype} {code:#04x}"));
        }
    }
}

/// The default model with codes of finite numbers for its weights.
fn model_in(dtype: Dtype) -> Tensors {
    let mut tensors = Model::default().diffusers(Dtype::F32);
    for tensor in tensors.values_mut() {
        let elements = tensor.bytes.len() / 4;
        let bytes = (0..elements).map(|index| (index * 37 % 0x7b) as u8).collect();
        *tensor = Tensor { dtype, shape: tensor.shape.clone(), bytes };
    }
    tensors
}

#[test]
fn a_whole_model_in_fp8_is_opened() {
    for (dtype, stored) in [(Dtype::F8_E4M3, Stored::F8E4M3), (Dtype::F8_E5M2, Stored::F8E5M2)] {
        let checkpoint = open_bytes(&model_in(dtype));
        checkpoint.verify(borrowed(&Model::default().expected())).unwrap();
        let view = checkpoint.tensor(WEIGHT).unwrap();
        assert_eq!((view.dtype, view.bytes.len()), (stored, view.elements()));
        assert!(view.scales.is_empty());
    }
}

/// Scales of all weights, and what else such files have; under LDM's names, where the attention is
/// convs.
#[test]
fn scales_are_found_beside_their_weights() {
    let model = Model::default();
    for suffix in SCALES {
        for prefix in ["", "first_stage_model.", "vae."] {
            let mut tensors = model.ldm(Dtype::F32, prefix, 2);
            for (name, tensor) in tensors.clone() {
                let Some(module) = name.strip_suffix(".weight") else { continue };
                // Halved values, doubled by the scale; scalars and lists of one alike.
                let values: Vec<f32> = tensor
                    .bytes
                    .chunks_exact(4)
                    .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()) / 2.0)
                    .collect();
                let shape = if module.len() % 2 == 0 { &[][..] } else { &[1] };
                let put = |tensors: &mut Tensors, name: &str, tensor| {
                    tensors.insert(format!("{module}.{name}"), tensor);
                };
                put(&mut tensors, suffix, Tensor::new(Dtype::F32, shape, &[2.0]));
                put(&mut tensors, "scale_input", Tensor::new(Dtype::F32, &[], &[7.0]));
                put(&mut tensors, "input_scale", Tensor::new(Dtype::F32, &[], &[7.0]));
                put(&mut tensors, "comfy_quant", Tensor::new(Dtype::U8, &[2], &[123.0, 125.0]));
                tensors.insert(name, Tensor::new(Dtype::F16, &tensor.shape, &values));
            }
            tensors.insert(format!("{prefix}scaled_fp8"), Tensor::new(Dtype::F16, &[0], &[]));
            let checkpoint = open_bytes(&tensors);
            assert_holds(&checkpoint, &model);
            assert!(checkpoint.ignored().is_empty(), "{:?}", checkpoint.ignored());
        }
    }
}

#[test]
fn a_scale_may_be_one_factor_for_each_output_channel() {
    // The convs have 16 output channels, 8 x 3 x 3 and 16 inputs.
    for (name, scale, shape) in [
        (WEIGHT, "decoder.conv_in.weight_scale", &[16, 1, 1, 1][..]),
        (WEIGHT, "decoder.conv_in.scale_weight", &[16, 1]),
        (
            "decoder.mid_block.attentions.0.to_q.weight",
            "decoder.mid_block.attentions.0.to_q.weight_scale",
            &[16, 1],
        ),
    ] {
        let mut tensors = model_in(Dtype::F8_E4M3);
        let plain = read(&open_bytes(&tensors), name);
        let factors: Vec<f32> = (0..16).map(|channel| 0.5 + channel as f32 / 8.0).collect();
        tensors.insert(scale.into(), Tensor::new(Dtype::BF16, shape, &factors));
        let checkpoint = open_bytes(&tensors);
        assert_eq!(checkpoint.tensor(name).unwrap().scales, factors);
        let channel = plain.len() / 16;
        let expected: Vec<f32> = plain
            .iter()
            .enumerate()
            .map(|(index, value)| value * factors[index / channel])
            .collect();
        assert_eq!(read(&checkpoint, name), expected);
    }
}

#[test]
fn scales_that_do_not_fit_are_refused() {
    let refused = |name: &str, tensor: Tensor| {
        let mut tensors = model_in(Dtype::F8_E4M3);
        tensors
            .insert("decoder.conv_out.weight_scale".into(), Tensor::new(Dtype::F32, &[], &[1.0]));
        tensors.insert(name.into(), tensor);
        Checkpoint::from_bytes(serialize(&tensors), None).unwrap_err()
    };
    let ones = |shape: &[usize]| Tensor::new(Dtype::F32, shape, &vec![1.0; shape.iter().product()]);
    let error = refused("decoder.conv_in.weight_scale", ones(&[16]));
    assert_eq!(
        error.to_string(),
        "`<memory>` scales decoder.conv_in.weight of [16, 4, 3, 3] by decoder.conv_in.weight_scale \
         of [16]; expected one factor, or one for each output channel"
    );
    for shape in [&[0][..], &[2], &[16, 4], &[4, 1], &[1, 16], &[16, 0]] {
        let error = refused("decoder.conv_in.scale_weight", ones(shape));
        assert!(matches!(error, CheckpointError::Scale { .. }), "{shape:?}: {error}");
    }
    let error = refused("decoder.conv_out.scale_weight", ones(&[]));
    assert!(error.to_string().contains("scales decoder.conv_out.weight twice"), "{error}");

    // Scales of blocks, as MXFP8 has them.
    let blocks = Tensor { dtype: Dtype::F8_E8M0, shape: vec![2], bytes: vec![127; 2] };
    let error = refused("decoder.conv_in.weight_scale", blocks).to_string();
    assert!(error.contains("decoder.conv_in.weight_scale is F8_E8M0"), "{error}");
    // Types of 8 bits that are none of the two.
    for dtype in [Dtype::F8_E8M0, Dtype::F8_E4M3FNUZ, Dtype::F8_E5M2FNUZ, Dtype::I8, Dtype::U8] {
        let other = Tensor { dtype, shape: vec![16], bytes: vec![0; 16] };
        let error = refused("decoder.conv_in.bias", other);
        assert!(matches!(error, CheckpointError::Dtypes { .. }), "{error}");
    }
}

#[test]
fn a_scale_without_a_weight_is_unexpected() {
    let mut tensors = model_in(Dtype::F8_E4M3);
    let name = "decoder.absent.weight_scale";
    tensors.insert(name.into(), Tensor::new(Dtype::F32, &[], &[1.0]));
    let expected = Model::default().expected();
    let error = open_bytes(&tensors).verify(borrowed(&expected)).unwrap_err();
    assert_eq!(error.extra, [name]);
}
