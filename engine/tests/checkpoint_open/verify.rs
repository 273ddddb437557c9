//! Weights against those that a decoder reads.

use safetensors::Dtype;

use crate::checkpoint_common::{Model, Tensor, borrowed, open_bytes};

#[test]
fn verify_lists_everything_at_once() {
    let model = Model::default();
    let mut tensors = model.ldm(Dtype::F16, "vae.", 2);
    tensors.remove("vae.decoder.conv_in.bias").unwrap();
    tensors.remove("vae.decoder.up.0.block.1.norm1.weight").unwrap();
    let short = Tensor::new(Dtype::F16, &[3], &[0.0; 3]);
    tensors.insert("vae.post_quant_conv.bias".into(), short.clone());
    tensors.insert("vae.decoder.up.0.odd.weight".into(), short.clone());
    tensors.insert("vae.epoch".into(), short);
    let checkpoint = open_bytes(&tensors);
    let expected = model.expected();
    let error = checkpoint.verify(borrowed(&expected)).unwrap_err();
    assert_eq!(
        error.missing,
        ["decoder.conv_in.bias", "decoder.up_blocks.2.resnets.1.norm1.weight"]
    );
    assert_eq!(error.extra, ["vae.decoder.up.0.odd.weight"]);
    let [odd] = &*error.misshapen else { panic!("{error}") };
    assert_eq!(
        (odd.name.as_str(), &odd.expected, &odd.found),
        ("post_quant_conv.bias", &vec![4], &vec![3])
    );
    assert_eq!(
        error.to_string(),
        format!(
            "`<memory>` does not hold the decoder that the config inferred from some of its shapes \
             describes: 2 of {} weights missing (decoder.conv_in.bias, \
             decoder.up_blocks.2.resnets.1.norm1.weight), 1 unexpected \
             (vae.decoder.up.0.odd.weight), 1 misshapen (post_quant_conv.bias is [3], expected \
             [4]); such a decoder is not supported",
            expected.len()
        )
    );
}

#[test]
fn one_difference_of_any_kind_is_enough() {
    let model = Model::default();
    let checkpoint = open_bytes(&model.diffusers(Dtype::F16));
    let counts = |expected: &[(String, Vec<usize>)]| {
        let error = checkpoint.verify(borrowed(expected)).unwrap_err();
        [error.missing.len(), error.extra.len(), error.misshapen.len()]
    };
    let expected = model.expected();
    assert_eq!(counts(&expected[1..]), [0, 1, 0]);
    let mut longer = expected.clone();
    longer.push(("decoder.more".into(), vec![1]));
    assert_eq!(counts(&longer), [1, 0, 0]);
    let mut misshapen = expected.clone();
    misshapen[0].1.reverse();
    misshapen[0].1.push(1);
    assert_eq!(counts(&misshapen), [0, 0, 1]);
}

#[test]
fn long_lists_are_cut_in_the_message_only() {
    let model = Model::default();
    let checkpoint = open_bytes(&model.diffusers(Dtype::F16));
    let expected: Vec<_> = (0..20).map(|index| (format!("w{index:02}"), vec![1])).collect();
    let error = checkpoint.verify(borrowed(&expected)).unwrap_err();
    assert_eq!((error.missing.len(), error.extra.len()), (20, model.weights().len()));
    let message = error.to_string();
    assert!(message.contains("w11 and 8 more)"), "{message}");
    assert!(message.contains(&format!(" and {} more)", model.weights().len() - 12)), "{message}");
}
