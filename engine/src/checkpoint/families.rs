//! Autoencoders that are not supported, and how to know them: by the class in a config, or by the
//! names and shapes of tensors.
//!
//! Names are those of diffusers and of the code that each model was published with; ComfyUI's files
//! have one or the other.

use super::signs::Sign::{self, Is, Is3d, Widens};
use super::signs::witness;

/// A kind of model.
#[derive(Debug)]
pub(crate) struct UnsupportedFamily {
    /// What it is, for messages, with an article.
    pub(crate) models: &'static str,
    /// Classes of diffusers.
    classes: &'static [&'static str],
    /// Each of them is enough, where every sign in it is there.
    evidence: &'static [&'static [Sign]],
}

/// The first that fits counts.
const FAMILIES: &[UnsupportedFamily] = &[
    UnsupportedFamily {
        models: "a vector-quantized VAE (VQGAN, Kandinsky 2, stage A of Stable Cascade)",
        classes: &["VQModel", "PaellaVQModel"],
        evidence: &[&[Is("quantize")], &[Is("vquantizer")]],
    },
    UnsupportedFamily {
        models: "the asymmetric VAE for inpainting",
        classes: &["AsymmetricAutoencoderKL"],
        evidence: &[&[Is("decoder.condition_encoder")]],
    },
    UnsupportedFamily {
        models: "the consistency decoder of DALL-E 3",
        classes: &["ConsistencyDecoderVAE"],
        evidence: &[&[Is("decoder_unet")]],
    },
    UnsupportedFamily {
        models: "the VAE of Stable Video Diffusion",
        classes: &["AutoencoderKLTemporalDecoder"],
        evidence: &[
            &[Is("decoder.time_conv_out")],
            &[Is("decoder.mid_block.resnets.#.spatial_res_block")],
            &[Is("decoder.conv_out.time_mix_conv")],
            &[Is("decoder.mid.block_1.time_stack")],
        ],
    },
    UnsupportedFamily {
        models: "the VAE of HunyuanVideo 1.5",
        classes: &["AutoencoderKLHunyuanVideo15"],
        evidence: &[
            &[Is("decoder.conv_in.conv"), Is("decoder.mid_block.resnets.#.norm1.gamma")],
            &[Is("decoder.conv_in.conv"), Is("decoder.mid.block_1.norm1.gamma")],
        ],
    },
    UnsupportedFamily {
        models: "the diffusion decoder of LTX-2.5",
        classes: &["LTX2VideoDiffusionDecoderModel"],
        evidence: &[],
    },
    UnsupportedFamily {
        models: "the VAE of CogVideoX",
        classes: &["AutoencoderKLCogVideoX"],
        evidence: &[
            &[Is("decoder.mid_block.resnets.#.norm1.conv_y")],
            &[Is("decoder.mid.block_1.norm1.conv_y")],
        ],
    },
    UnsupportedFamily {
        models: "the VAE of Mochi",
        classes: &["AutoencoderKLMochi"],
        evidence: &[&[Is("decoder.block_in")], &[Is("decoder.blocks.#.blocks.#.stack")]],
    },
    UnsupportedFamily {
        models: "the VAE of Allegro",
        classes: &["AutoencoderKLAllegro"],
        evidence: &[&[Is("decoder.temp_conv_in")]],
    },
    UnsupportedFamily {
        models: "the VAE of Cosmos 1",
        classes: &["AutoencoderKLCosmos"],
        evidence: &[&[Is("decoder.unpatcher3d")], &[Is("decoder.mid_block.temp_attentions")]],
    },
    UnsupportedFamily {
        models: "the VAE of HunyuanVideo, FramePack, Kandinsky 5 and SkyReels I2V",
        classes: &["AutoencoderKLHunyuanVideo"],
        evidence: &[
            &[Is("decoder.conv_in.conv"), Is("decoder.mid_block.attentions.#.to_q")],
            &[Is("decoder.conv_in.conv"), Is("decoder.mid.attn_1.q")],
        ],
    },
    UnsupportedFamily {
        models: "the VAE of HunyuanImage 3",
        classes: &["AutoencoderKLConv3D"],
        evidence: &[&[Is3d("decoder.conv_in.weight"), Widens("decoder.up.#.upsample.conv.weight")]],
    },
    UnsupportedFamily {
        // Its network has HunyuanVideo 1.5's names and shapes.
        models: "the VAE of HunyuanImage 2.1's refiner",
        classes: &["AutoencoderKLHunyuanImageRefiner"],
        evidence: &[],
    },
    UnsupportedFamily {
        models: "the VAE of EasyAnimate",
        classes: &["AutoencoderKLMagvit"],
        evidence: &[&[Is("decoder.mid_block.convs")]],
    },
    UnsupportedFamily {
        models: "the VAE of MiniMax-H3",
        classes: &["AutoencoderKLMiniMaxH3"],
        evidence: &[&[Is("decoder.x_embedder")]],
    },
    UnsupportedFamily {
        models: "a deep compression autoencoder (DC-AE, Sana)",
        classes: &["AutoencoderDC"],
        evidence: &[&[Is("decoder.stages.#.op_list")], &[Is("decoder.up_blocks.#.#")]],
    },
    UnsupportedFamily {
        models: "a VAE of sound",
        classes: &[
            "AutoencoderOobleck",
            "AutoencoderKLLTX2Audio",
            "AutoencoderKLMiniMaxH3Audio",
            "AutoencoderKLKVAEAudio",
            "Cosmos3AVAEAudioTokenizer",
            "LongCatAudioDiTVae",
            "MMAudioVAE",
            "AutoencoderSAME",
        ],
        evidence: &[&[Is("decoder.layers.#.layers.#.beta")], &[Is("decoder.block.#.snake1")]],
    },
    UnsupportedFamily {
        models: "a tiny autoencoder (TAESD and its kin)",
        classes: &["AutoencoderTiny"],
        evidence: &[&[Is("decoder.layers.#")], &[Is("decoder.#")], &[Is("taesd_decoder")]],
    },
    UnsupportedFamily {
        models: "the VAE of Kandinsky 6's super-resolution",
        classes: &["Kandinsky6SRVAE"],
        evidence: &[],
    },
    UnsupportedFamily {
        models: "an autoencoder of representations (RAE)",
        classes: &["AutoencoderRAE"],
        evidence: &[],
    },
    UnsupportedFamily {
        models: "the VAE of KVAE, for images",
        classes: &["AutoencoderKLKVAE"],
        evidence: &[],
    },
    UnsupportedFamily {
        models: "a VAE with attention in its levels, as the first ones of latent diffusion with \
                 cells of 16 or 32 pixels",
        classes: &[],
        evidence: &[&[Is("decoder.up.#.attn.#")], &[Is("decoder.up_blocks.#.attentions")]],
    },
    UnsupportedFamily {
        models: "a VAE for video",
        classes: &["AutoencoderKLKVAEVideo", "AutoencoderVidTok"],
        evidence: &[&[Is3d("decoder.conv_in.weight")], &[Is("decoder.conv_in.conv")]],
    },
];

/// A class of diffusers that is known and not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The class.
    pub class: &'static str,
    /// What it is, with an article, and the models that have it.
    pub models: &'static str,
}

/// The classes of diffusers that are known and not decoded.
pub fn refused() -> impl Iterator<Item = Refused> {
    let of_family = |family: &'static UnsupportedFamily| {
        let models = family.models;
        family.classes.iter().map(move |class| Refused { class, models })
    };
    FAMILIES.iter().flat_map(of_family)
}

/// What a class in double quotes is, with a comma ahead; nothing if it is unknown.
pub(crate) fn apposition(quoted_class: &str) -> String {
    let class = quoted_class.trim_matches('"');
    let family = FAMILIES.iter().find(|family| family.classes.contains(&class));
    family.map(|family| format!(", {}", family.models)).unwrap_or_default()
}

/// The family that tensors, by name without prefix and shape, are evidence of, and the name that
/// tells it.
pub(crate) fn of_tensors<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
) -> Option<(&'static UnsupportedFamily, &'a str)> {
    FAMILIES.iter().find_map(|family| Some((family, witness(family.evidence, tensors.clone())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tensors: &[(&str, &[usize])]) -> Option<&'static str> {
        of_tensors(tensors.iter().copied()).map(|(family, _)| family.models)
    }

    #[test]
    fn several_signs_count_together() {
        let conv: (&str, &[usize]) = ("decoder.conv_in.conv.weight", &[8, 4, 3, 3, 3]);
        assert_eq!(found(&[conv]), Some("a VAE for video"));
        let query: (&str, &[usize]) = ("decoder.mid_block.attentions.0.to_q.weight", &[8, 8]);
        let hunyuan = "the VAE of HunyuanVideo, FramePack, Kandinsky 5 and SkyReels I2V";
        assert_eq!(found(&[query, conv]), Some(hunyuan));
        assert_eq!(found(&[query]), None);
        let gamma: (&str, &[usize]) = ("decoder.mid_block.resnets.0.norm1.gamma", &[8, 1, 1, 1]);
        assert_eq!(found(&[gamma, conv, query]), Some("the VAE of HunyuanVideo 1.5"));
        assert_eq!(found(&[gamma, query]), None);
    }

    #[test]
    fn an_upsample_that_widens_is_not_ours() {
        let name = "decoder.up.1.upsample.conv.weight";
        assert_eq!(found(&[(name, &[8, 8, 3, 3, 3])]), None);
        let video: (&str, &[usize]) = ("decoder.conv_in.weight", &[8, 4, 3, 3, 3]);
        assert_eq!(found(&[video, (name, &[32, 8, 3, 3, 3])]), Some("the VAE of HunyuanImage 3"));
    }
}
