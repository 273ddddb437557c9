//! Weights that are damaged, hostile, missing, or of another model.

use halovae_tests::disk::{RawFile, RawTensor, WEIGHTS, safetensors_file};
use halovae_tests::naming;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::Setup;

pub(crate) fn weight_files(setup: &mut Setup) {
    let good = setup.weights.to_bytes();
    let header_end =
        8 + usize::try_from(u64::from_le_bytes(good[..8].try_into().expect("8 bytes")))
            .expect("a header length");
    let mut bytes = |what, words, bytes: &[u8]| {
        let vae = setup.with_weights(&format!("weights {what}"), bytes);
        setup.vae(what, words, &vae);
    };
    const FILE: &[&str] = &["diffusion_pytorch_model.safetensors"];
    bytes("an empty file", &["safetensors` is empty", "download it again"], &[]);
    bytes("four bytes", FILE, &good[..4]);
    bytes("a length and no header", FILE, &good[..8]);
    bytes("half a header", FILE, &good[..header_end / 2]);
    bytes("a header without data", FILE, &good[..header_end]);
    bytes("truncated data", FILE, &good[..good.len() - 1000]);
    bytes("a byte too many", FILE, &[&good[..], &[0]].concat());
    let header = |length: u64| [&length.to_le_bytes()[..], &good[8..]].concat();
    bytes("a header of 2^64 bytes", FILE, &header(u64::MAX));
    bytes("a header of 2^63 bytes", FILE, &header(1 << 63));
    bytes("a header beyond the file", FILE, &header(good.len() as u64));
    bytes("a header of no bytes", FILE, &header(0));
    bytes("a pickle", &["a zip archive", "convert it"], b"PK\x03\x04archive/data.pkl");
    bytes(
        "an HTML page",
        &["is an HTML page"],
        b"<!DOCTYPE html><html><head><title>404</title></head></html>",
    );
    bytes(
        "a pointer of Git LFS",
        &["is a Git LFS pointer", "git lfs pull"],
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 335304388\n",
    );

    let mut json = |what, words, header: &str, data: usize| {
        let file = safetensors_file(header, &vec![0; data]);
        let vae = setup.with_weights(&format!("header {what}"), file);
        setup.vae(what, words, &vae);
    };
    json("a header that is no JSON", FILE, "tensors: none", 0);
    json("a header that is a list", FILE, "[]", 0);
    json("a header nested deeply", FILE, &"[".repeat(100_000), 0);
    json("no tensors", &["no decoder"], "{}", 0);
    json(
        "offsets beyond the data",
        FILE,
        r#"{"decoder.conv_in.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
        8,
    );
    json(
        "offsets backwards",
        FILE,
        r#"{"decoder.conv_in.weight":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#,
        16,
    );
    json(
        "negative offsets",
        FILE,
        r#"{"decoder.conv_in.weight":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}}"#,
        16,
    );
    json(
        "offsets of another length",
        FILE,
        r#"{"decoder.conv_in.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}"#,
        8,
    );
    json(
        "a shape that overflows",
        FILE,
        r#"{"decoder.conv_in.weight":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,0]}}"#,
        0,
    );
    json(
        "a negative shape",
        FILE,
        r#"{"decoder.conv_in.weight":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}"#,
        16,
    );
    json(
        "an unknown type",
        FILE,
        r#"{"decoder.conv_in.weight":{"dtype":"Q4_0","shape":[4],"data_offsets":[0,16]}}"#,
        16,
    );
    json(
        "a name with line breaks",
        &["no decoder"],
        r#"{"evil\nhalovae: error: name\u001b[31m":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        4,
    );
}

pub(crate) fn weights(setup: &mut Setup) {
    const CONV_IN: &str = "decoder.conv_in.weight";
    const NORM: &str = "decoder.conv_norm_out.weight";
    let mut change = |what, words, change: &dyn Fn(&mut RawFile)| {
        let vae = setup.with_changed(&format!("changed {what}"), |file| change(file));
        setup.vae(what, words, &vae);
    };
    change("a missing weight", &["1 of", "missing", CONV_IN], &|file| {
        file.tensors.remove(CONV_IN);
    });
    change("a hundred missing weights", &["missing"], &|file| {
        file.tensors.retain(|name, _| name == CONV_IN);
    });
    change("a misshapen conv", &["misshapen", CONV_IN, "32", "9"], &|file| {
        let tensor = file.tensors.get_mut(CONV_IN).expect("a conv");
        tensor.shape = vec![32, 4, 9, 1];
    });
    change("a misshapen norm", &["misshapen", NORM], &|file| {
        *file.tensors.get_mut(NORM).expect("a norm") = RawTensor::f32(&[8], &[1.0; 8]);
    });
    change("a scalar for a norm", &["misshapen", NORM], &|file| {
        *file.tensors.get_mut(NORM).expect("a norm") = RawTensor::f32(&[], &[1.0]);
    });
    change(
        "an unexpected weight",
        &["unexpected", "decoder.up_blocks.7.resnets.0.norm1.bias"],
        &|file| {
            let name = "decoder.up_blocks.7.resnets.0.norm1.bias";
            file.tensors.insert(name.into(), RawTensor::f32(&[1], &[0.0]));
        },
    );
    change("missing, unexpected and misshapen", &["missing", "unexpected", "misshapen"], &|file| {
        let tensor = file.tensors.remove(CONV_IN).expect("a conv");
        file.tensors.insert("decoder.conv_inn.weight".into(), tensor);
        *file.tensors.get_mut(NORM).expect("a norm") = RawTensor::f32(&[8], &[1.0; 8]);
    });
    change("an integer weight", &["unsupported", NORM, "I32"], &|file| {
        file.tensors.get_mut(NORM).expect("a norm").dtype = Dtype::I32;
    });
    let in_eight_bits = |file: &mut RawFile, dtype, code| {
        let tensor = file.tensors.get_mut(CONV_IN).expect("a conv");
        tensor.dtype = dtype;
        tensor.bytes = vec![code; tensor.bytes.len() / 4];
    };
    change("a weight in an unknown fp8", &["unsupported", CONV_IN, "F8_E4M3FNUZ"], &|file| {
        in_eight_bits(file, Dtype::F8_E4M3FNUZ, 0);
    });
    change("a NaN in fp8", &[CONV_IN, "NaN", "damaged"], &|file| {
        in_eight_bits(file, Dtype::F8_E4M3, 0x7f);
    });
    change("an infinity in fp8", &[CONV_IN, "damaged"], &|file| {
        in_eight_bits(file, Dtype::F8_E5M2, 0x7c);
    });
    change("a scale of NaN", &[CONV_IN, "NaN", "damaged"], &|file| {
        in_eight_bits(file, Dtype::F8_E4M3, 0x38);
        let scale = RawTensor::f32(&[], &[f32::NAN]);
        file.tensors.insert("decoder.conv_in.scale_weight".into(), scale);
    });
    change("a scale of another weight", &[CONV_IN, "weight_scale of [7]"], &|file| {
        let scale = RawTensor::f32(&[7], &[1.0; 7]);
        file.tensors.insert("decoder.conv_in.weight_scale".into(), scale);
    });
    for (what, value) in
        [("a NaN in a weight", f32::NAN), ("an infinity in a weight", f32::NEG_INFINITY)]
    {
        change(what, &[CONV_IN, "damaged"], &|file| {
            let tensor = file.tensors.get_mut(CONV_IN).expect("a conv");
            tensor.bytes[40..44].copy_from_slice(&value.to_le_bytes());
        });
    }
    change("weights that overflow", &["rank 0", "not finite"], &|file| {
        let tensor = file.tensors.get_mut("decoder.conv_out.bias").expect("a bias");
        *tensor = RawTensor::f32(&[3], &[f32::MAX; 3]);
        let tensor = file.tensors.get_mut("decoder.conv_out.weight").expect("a conv");
        tensor.bytes = f32::MAX.to_le_bytes().repeat(tensor.bytes.len() / 4);
    });
    change("a video decoder", &["video", "not supported", "conv_in"], &|file| {
        let tensor = file.tensors.get_mut(CONV_IN).expect("a conv");
        tensor.shape = vec![32, 4, 1, 3, 3];
    });
    let mut other = |what, words, name: &str| {
        change(what, words, &|file| {
            file.tensors.insert(name.into(), RawTensor::f32(&[1], &[0.0]));
        });
    };
    other("FLUX.2", &["AutoencoderKLFlux2", "bn.running_var", "AutoencoderKL"], "bn.running_var");
    other("VQ", &["vector-quantized", "not supported", "quantize."], "quantize.embedding.weight");
    other(
        "the asymmetric VAE",
        &["asymmetric", "not supported", "condition_encoder"],
        "decoder.condition_encoder.layers.0.weight",
    );
    other(
        "attention in levels",
        &["attention in its levels", "not supported", "up.4.attn"],
        "decoder.up.4.attn.0.q.weight",
    );
    other("attention of another kind", &["unexpected"], "decoder.mid.attn_1.qkv.weight");

    let both = setup.weights.clone();
    let ldm = setup.weights.renamed(|name, tensor| match name.starts_with("decoder.") {
        true => naming::to_ldm("", 2, name, tensor),
        false => (name.to_owned(), tensor),
    });
    let mut file = RawFile { tensors: both.tensors.into_iter().chain(ldm.tensors).collect() };
    let vae = setup.input("both-namings.safetensors");
    file.write(&vae);
    setup.vae("both namings at once", &["two tensors", "both-namings"], &vae);

    // Without a config the shapes must tell everything.
    file = setup.weights.clone();
    file.tensors.get_mut(CONV_IN).expect("a conv").shape = vec![32, 4, 1, 3, 3];
    let vae = setup.input("video.safetensors");
    file.write(&vae);
    setup.vae("a video decoder without a config", &["video.safetensors", "video"], &vae);
    file = setup.weights.clone();
    file.tensors.retain(|name, _| name.starts_with("decoder.mid_block."));
    let vae = setup.input("middle.safetensors");
    file.write(&vae);
    setup.vae("nothing but the middle", &["middle.safetensors", "missing"], &vae);
    let vae = setup.input("unet.safetensors");
    let unet = RawTensor::f32(&[1], &[0.0]);
    RawFile { tensors: [("model.diffusion_model.out.0.bias".to_owned(), unet)].into() }.write(&vae);
    setup.vae("a diffusion model", &["unet.safetensors", "no decoder"], &vae);
}

pub(crate) fn shards(setup: &mut Setup) {
    let index = |map: Value| json!({ "metadata": {}, "weight_map": map }).to_string();
    let mut sharded = |what, words, index: &str| {
        let vae = setup.checkpoint(&format!("sharded {what}"));
        std::fs::remove_file(vae.join(WEIGHTS)).expect("the weights");
        std::fs::write(vae.join(format!("{WEIGHTS}.index.json")), index).expect("an index");
        setup.vae(what, words, &vae);
    };
    sharded("an index that is no JSON", &["index"], "shards: 3");
    sharded("an index without a map", &["index"], "{}");
    sharded("an index of no shards", &["index"], &index(json!({})));
    sharded(
        "a shard that is not there",
        &["of-00002.safetensors"],
        &index(json!({ "decoder.conv_in.weight": "model-00001-of-00002.safetensors" })),
    );
    sharded(
        "a shard outside the folder",
        &["index"],
        &index(json!({ "decoder.conv_in.weight": "../weights.safetensors" })),
    );
    sharded(
        "a shard by absolute path",
        &["index"],
        &index(json!({ "decoder.conv_in.weight": "/etc/passwd" })),
    );
    sharded("a shard that is a number", &["index"], &index(json!({ "decoder.conv_in.weight": 1 })));
}
