//! Small checkpoints for the tests of the readers, under both namings.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, Naming};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Tensor {
    /// Values in f32 stored as `dtype`.
    pub(crate) fn new(dtype: Dtype, shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>());
        let bytes = values
            .iter()
            .flat_map(|&value| match dtype {
                Dtype::F32 => value.to_le_bytes().to_vec(),
                Dtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                Dtype::BF16 => bf16::from_f32(value).to_le_bytes().to_vec(),
                Dtype::F64 => f64::from(value).to_le_bytes().to_vec(),
                Dtype::I64 => (value as i64).to_le_bytes().to_vec(),
                Dtype::U8 => vec![value as u8],
                other => panic!("no test writes {other}"),
            })
            .collect();
        Self { dtype, shape: shape.to_vec(), bytes }
    }
}

/// What files in LDM naming follow.
pub(crate) const LDM: Naming = Naming::Original("LDM, BFL");

/// Tensors by the name that a file gives them.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// The bytes of a safetensors file.
pub(crate) fn serialize(tensors: &Tensors) -> Vec<u8> {
    let views = tensors.iter().map(|(name, tensor)| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (name.as_str(), view.expect("test tensors have as many bytes as their shape"))
    });
    safetensors::serialize(views, None).expect("test tensors can be written")
}

/// A safetensors file with a header as it stands.
pub(crate) fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), header.as_bytes(), data].concat()
}

/// Shapes of a small model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) latent_channels: usize,
    pub(crate) block_out_channels: Vec<usize>,
    pub(crate) layers_per_block: usize,
    pub(crate) post_quant_conv: bool,
    pub(crate) attention: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            latent_channels: 4,
            block_out_channels: vec![8, 16, 16],
            layers_per_block: 2,
            post_quant_conv: true,
            attention: true,
        }
    }
}

/// A weight under the names that it has in diffusers, in LDM, and in old diffusers files.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    pub(crate) diffusers: String,
    pub(crate) ldm: String,
    pub(crate) old: String,
    pub(crate) shape: Vec<usize>,
    /// Whether LDM keeps it as a 1x1 conv and diffusers as a matrix.
    pub(crate) is_matrix: bool,
}

impl Model {
    /// Every weight of the decoder, written down module by module from the two code bases.
    pub(crate) fn weights(&self) -> Vec<Weight> {
        let mut list = List::default();
        let z = self.latent_channels;
        if self.post_quant_conv {
            list.conv(["post_quant_conv"; 3], z, z, 1);
        }
        let deepest = *self.block_out_channels.last().unwrap();
        list.conv(["decoder.conv_in"; 3], deepest, z, 3);
        for (index, block) in [(0, "block_1"), (1, "block_2")] {
            let diffusers = format!("decoder.mid_block.resnets.{index}");
            list.resnet(&diffusers, &format!("decoder.mid.{block}"), deepest, deepest);
        }
        if self.attention {
            let [diffusers, ldm] = ["decoder.mid_block.attentions.0", "decoder.mid.attn_1"];
            list.norm(
                [
                    &format!("{diffusers}.group_norm"),
                    &format!("{ldm}.norm"),
                    &format!("{diffusers}.group_norm"),
                ],
                deepest,
            );
            for [new, original, old] in [
                ["to_q", "q", "query"],
                ["to_k", "k", "key"],
                ["to_v", "v", "value"],
                ["to_out.0", "proj_out", "proj_attn"],
            ] {
                let names = [
                    format!("{diffusers}.{new}"),
                    format!("{ldm}.{original}"),
                    format!("{diffusers}.{old}"),
                ];
                list.linear(names.each_ref().map(String::as_str), deepest);
            }
        }
        let levels = self.block_out_channels.len();
        let mut channels = deepest;
        for level in (0..levels).rev() {
            let [diffusers, ldm] = [
                format!("decoder.up_blocks.{}", levels - 1 - level),
                format!("decoder.up.{level}"),
            ];
            for layer in 0..=self.layers_per_block {
                let out = self.block_out_channels[level];
                let names =
                    [format!("{diffusers}.resnets.{layer}"), format!("{ldm}.block.{layer}")];
                list.resnet(&names[0], &names[1], out, channels);
                channels = out;
            }
            if level > 0 {
                let new = format!("{diffusers}.upsamplers.0.conv");
                list.conv([&new, &format!("{ldm}.upsample.conv"), &new], channels, channels, 3);
            }
        }
        list.norm(["decoder.conv_norm_out", "decoder.norm_out", "decoder.conv_norm_out"], channels);
        list.conv(["decoder.conv_out"; 3], 3, channels, 3);
        list.0
    }

    pub(crate) fn diffusers(&self, dtype: Dtype) -> Tensors {
        self.tensors(dtype, |weight| (weight.diffusers.clone(), weight.shape.clone()))
    }

    pub(crate) fn old_diffusers(&self, dtype: Dtype) -> Tensors {
        self.tensors(dtype, |weight| (weight.old.clone(), weight.shape.clone()))
    }

    /// In LDM naming under `prefix`; matrices have `ones` extents of 1 behind their two.
    pub(crate) fn ldm(&self, dtype: Dtype, prefix: &str, ones: usize) -> Tensors {
        self.tensors(dtype, |weight| {
            let mut shape = weight.shape.clone();
            if weight.is_matrix {
                shape.extend(vec![1; ones]);
            }
            (format!("{prefix}{}", weight.ldm), shape)
        })
    }

    fn tensors(&self, dtype: Dtype, entry: impl Fn(&Weight) -> (String, Vec<usize>)) -> Tensors {
        let weights = self.weights();
        let tensors = weights.iter().enumerate().map(|(index, weight)| {
            let (name, shape) = entry(weight);
            let tensor = Tensor::new(dtype, &shape, &values(index, shape.iter().product()));
            (name, tensor)
        });
        tensors.collect()
    }

    /// Names and shapes as a program would expect them.
    pub(crate) fn expected(&self) -> Vec<(String, Vec<usize>)> {
        self.weights().into_iter().map(|weight| (weight.diffusers, weight.shape)).collect()
    }

    pub(crate) fn config_json(&self, norm_num_groups: usize) -> String {
        let levels = self.block_out_channels.len();
        serde_json::json!({
            "_class_name": "AutoencoderKL",
            "_diffusers_version": "0.30.0",
            "act_fn": "silu",
            "block_out_channels": self.block_out_channels,
            "down_block_types": vec!["DownEncoderBlock2D"; levels],
            "up_block_types": vec!["UpDecoderBlock2D"; levels],
            "latent_channels": self.latent_channels,
            "layers_per_block": self.layers_per_block,
            "mid_block_add_attention": self.attention,
            "norm_num_groups": norm_num_groups,
            "sample_size": 64,
            "scaling_factor": 0.5,
            "shift_factor": 0.25,
            "use_quant_conv": self.post_quant_conv,
            "use_post_quant_conv": self.post_quant_conv,
        })
        .to_string()
    }
}

/// Values that differ between weights and are exact in f16 and bf16.
pub(crate) fn values(weight: usize, elements: usize) -> Vec<f32> {
    (0..elements).map(|index| ((index * 7 + weight * 13) % 255) as f32 / 64.0 - 2.0).collect()
}

pub(crate) fn open_bytes(tensors: &Tensors) -> Checkpoint {
    Checkpoint::from_bytes(serialize(tensors), None).unwrap()
}

/// The config of a checkpoint of an AutoencoderKL.
#[track_caller]
pub(crate) fn kl_config(checkpoint: &Checkpoint) -> &AutoencoderKlConfig {
    checkpoint.config().downcast_ref().expect("the config of an AutoencoderKL")
}

pub(crate) fn read(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let view = checkpoint.tensor(name).unwrap_or_else(|| panic!("{name} is there"));
    let mut out = vec![f32::NAN; view.elements()];
    view.to_f32_into(&mut out);
    out
}

/// Every weight is there under its canonical name, with its shape and its values.
#[track_caller]
pub(crate) fn assert_holds(checkpoint: &Checkpoint, model: &Model) {
    let weights = model.weights();
    checkpoint.verify(borrowed(&model.expected())).unwrap();
    assert_eq!(checkpoint.names().len(), weights.len());
    for (index, weight) in weights.iter().enumerate() {
        let view = checkpoint.tensor(&weight.diffusers).unwrap();
        assert_eq!(view.shape, weight.shape, "{}", weight.diffusers);
        assert_eq!(view.name, weight.diffusers);
        let expected = values(index, weight.shape.iter().product());
        assert_eq!(read(checkpoint, &weight.diffusers), expected, "{}", weight.diffusers);
    }
}

/// Borrows names and shapes as `verify` takes them.
pub(crate) fn borrowed(
    expected: &[(String, Vec<usize>)],
) -> impl Iterator<Item = (&str, &[usize])> {
    expected.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
}

pub(crate) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A folder of the project.
pub(crate) fn demo_vae() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo-vae")
}

#[derive(Default)]
struct List(Vec<Weight>);

impl List {
    fn push(&mut self, names: [&str; 3], leaf: &str, shape: &[usize], is_matrix: bool) {
        let [diffusers, ldm, old] = names.map(|name| format!("{name}.{leaf}"));
        self.0.push(Weight { diffusers, ldm, old, shape: shape.to_vec(), is_matrix });
    }

    fn conv(&mut self, names: [&str; 3], out: usize, channels: usize, kernel: usize) {
        self.push(names, "weight", &[out, channels, kernel, kernel], false);
        self.push(names, "bias", &[out], false);
    }

    fn linear(&mut self, names: [&str; 3], channels: usize) {
        self.push(names, "weight", &[channels, channels], true);
        self.push(names, "bias", &[channels], false);
    }

    fn norm(&mut self, names: [&str; 3], channels: usize) {
        self.push(names, "weight", &[channels], false);
        self.push(names, "bias", &[channels], false);
    }

    fn resnet(&mut self, diffusers: &str, ldm: &str, out: usize, channels: usize) {
        let both = |leaf: &str, original: &str| {
            let new = format!("{diffusers}.{leaf}");
            [new.clone(), format!("{ldm}.{original}"), new]
        };
        let convs = [("norm1", "conv1", channels), ("norm2", "conv2", out)];
        for (norm, conv, inputs) in convs {
            self.norm(both(norm, norm).each_ref().map(String::as_str), inputs);
            self.conv(both(conv, conv).each_ref().map(String::as_str), out, inputs, 3);
        }
        if out != channels {
            let names = both("conv_shortcut", "nin_shortcut");
            self.conv(names.each_ref().map(String::as_str), out, channels, 1);
        }
    }
}
