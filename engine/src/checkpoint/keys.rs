//! Names of weights: from what a file calls them to diffusers' names.
//!
//! Original (LDM, BFL) files count the decoder's levels from the shallowest, diffusers from the
//! deepest; `decoder.up.i` is `decoder.up_blocks.(levels - 1 - i)`. What a module calls its parts
//! depends on the converter that wrote the file, not on what it calls the module, so modules and
//! parts are renamed apart from each other: the attention of either naming may have the parts of
//! LDM, of diffusers, or of older diffusers.

use super::prefix;

const MIDDLE_ATTENTION: &str = "mid_block.attentions.0.";

/// What the names of a file follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As diffusers names modules.
    Diffusers,
    /// As in the original LDM and BFL files.
    Ldm,
}

/// How the names of one file are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyMap {
    /// What precedes every name of the VAE, or nothing. Letters, digits and `._-` only.
    pub(crate) prefix: String,
    pub(crate) naming: Naming,
    /// Levels of the decoder.
    levels: u32,
}

/// What a tensor is to a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A weight of the decoder, under its canonical name.
    Decoder(String),
    /// What the decoder's weight of that canonical name is to be multiplied by.
    Scale(String),
    /// Of the encoder, of training, of another way to compute, or of another model in the same
    /// file.
    Other,
    /// Nothing that is known, outside the decoder.
    Unknown,
}

impl KeyMap {
    /// Finds out from all names of a file.
    ///
    /// # Errors
    /// The prefixes of several decoders, where nothing tells which one is meant.
    pub(crate) fn detect<'a>(
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self, Vec<&'a str>> {
        let prefix = prefix::find(names.clone())?;
        let decoder = names.filter_map(|name| name.strip_prefix(prefix)?.strip_prefix("decoder."));
        let mut naming = Naming::Diffusers;
        let mut levels = 0;
        for name in decoder {
            if ["up.", "mid.", "norm_out."].iter().any(|start| name.starts_with(start)) {
                naming = Naming::Ldm;
            }
            let level = ["up.", "up_blocks."].iter().find_map(|up| name.strip_prefix(up));
            if let Some((level, _)) = level.and_then(split_index) {
                levels = levels.max(level.saturating_add(1));
            }
        }
        Ok(Self { prefix: prefix.into(), naming, levels })
    }

    /// What the tensor called `name` is.
    pub(crate) fn role(&self, name: &str) -> Role {
        let Some(name) = name.strip_prefix(&self.prefix) else { return Role::Other };
        if ["decoder.", "post_quant_conv."].iter().any(|start| name.starts_with(start)) {
            return self.role_in_decoder(name);
        }
        // `scaled_fp8` marks a file whose fp8 weights have scales.
        let other = ["encoder.", "quant_conv.", "loss.", "model_ema", "scaled_fp8"];
        if other.iter().any(|start| name.starts_with(start)) {
            return Role::Other;
        }
        Role::Unknown
    }

    fn role_in_decoder(&self, name: &str) -> Role {
        match name.rsplit_once('.') {
            Some((module, "scale_weight" | "weight_scale")) => {
                Role::Scale(self.canonical(&format!("{module}.weight")))
            }
            // Scales of the input serve fp8 arithmetic; the format says what the types say as well.
            Some((_, "scale_input" | "input_scale" | "comfy_quant")) => Role::Other,
            _ => Role::Decoder(self.canonical(name)),
        }
    }

    /// The name that diffusers gives to `name`; `name` itself where it is unknown.
    fn canonical(&self, name: &str) -> String {
        let renamed = name.strip_prefix("decoder.").and_then(|inner| self.renamed(inner));
        renamed.map_or_else(|| name.into(), |renamed| format!("decoder.{renamed}"))
    }

    fn renamed(&self, inner: &str) -> Option<String> {
        let inner = self.in_module_of_diffusers(inner)?;
        if let Some(part) = inner.strip_prefix(MIDDLE_ATTENTION) {
            return Some(format!("{MIDDLE_ATTENTION}{}", attention_part(part)?));
        }
        match split_resnet(&inner) {
            Some((module, part)) => Some(format!("{module}{}", resnet_part(part)?)),
            None => Some(inner),
        }
    }

    /// `inner` (without `decoder.`) with its module named as in diffusers.
    fn in_module_of_diffusers(&self, inner: &str) -> Option<String> {
        for (ldm, diffusers) in [
            ("norm_out.", "conv_norm_out."),
            ("mid.block_1.", "mid_block.resnets.0."),
            ("mid.block_2.", "mid_block.resnets.1."),
            ("mid.attn_1.", MIDDLE_ATTENTION),
        ] {
            if let Some(part) = inner.strip_prefix(ldm) {
                return Some(format!("{diffusers}{part}"));
            }
        }
        let Some(level) = inner.strip_prefix("up.") else { return Some(inner.into()) };
        let (level, rest) = split_index(level)?;
        // `detect` saw this very name, so `levels` is above `level`, unless it saturated.
        let level = self.levels.checked_sub(level)?.checked_sub(1)?;
        if let Some(part) = rest.strip_prefix("upsample.conv.") {
            return Some(format!("up_blocks.{level}.upsamplers.0.conv.{part}"));
        }
        let (block, part) = split_index(rest.strip_prefix("block.")?)?;
        Some(format!("up_blocks.{level}.resnets.{block}.{part}"))
    }
}

/// Whether a weight is one of the attention's projections, which diffusers keeps as matrices.
pub(crate) fn is_attention_matrix(canonical: &str) -> bool {
    let leaf = canonical
        .strip_prefix("decoder.")
        .and_then(|leaf| leaf.strip_prefix(MIDDLE_ATTENTION))
        .and_then(|leaf| leaf.strip_suffix(".weight"));
    matches!(leaf, Some("to_q" | "to_k" | "to_v" | "to_out.0"))
}

/// Whether a name, canonical or not and without prefix, is in the middle block and not in its
/// resnets. In this family that is attention, whatever it is called.
pub(crate) fn is_in_middle_beside_resnets(name: &str) -> bool {
    let inner = ["decoder.", "encoder."].iter().find_map(|side| name.strip_prefix(side));
    let beside = |middle, resnets| {
        inner
            .and_then(|inner| inner.strip_prefix(middle))
            .is_some_and(|part: &str| !part.starts_with(resnets))
    };
    beside("mid_block.", "resnets.") || beside("mid.", "block_")
}

/// `12.rest` as (12, `rest`). Only the digits of a number as it is printed: no sign, no zero ahead.
pub(crate) fn split_index(name: &str) -> Option<(u32, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if !plain {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

/// `mid_block.resnets.1.part` as its module, with the dot, and the part.
fn split_resnet(inner: &str) -> Option<(&str, &str)> {
    let (_, indexed) = inner.split_once(".resnets.")?;
    let (_, part) = split_index(indexed)?;
    Some((&inner[..inner.len() - part.len()], part))
}

fn resnet_part(part: &str) -> Option<String> {
    let (module, parameter) = part.split_once('.')?;
    let module = match module {
        "norm1" | "conv1" | "norm2" | "conv2" => module,
        "nin_shortcut" | "conv_shortcut" => "conv_shortcut",
        _ => return None,
    };
    Some(format!("{module}.{parameter}"))
}

fn attention_part(part: &str) -> Option<String> {
    let (module, parameter) = part.rsplit_once('.')?;
    let module = match module {
        "norm" | "group_norm" => "group_norm",
        "q" | "query" | "to_q" => "to_q",
        "k" | "key" | "to_k" => "to_k",
        "v" | "value" | "to_v" => "to_v",
        "proj_out" | "proj_attn" | "to_out" | "to_out.0" => "to_out.0",
        _ => return None,
    };
    Some(format!("{module}.{parameter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ldm(levels: u32) -> KeyMap {
        KeyMap { prefix: String::new(), naming: Naming::Ldm, levels }
    }

    fn detect(names: &[&str]) -> KeyMap {
        KeyMap::detect(names.iter().copied()).unwrap()
    }

    #[track_caller]
    fn assert_maps(map: &KeyMap, from: &str, to: &str) {
        assert_eq!(map.role(from), Role::Decoder(to.into()));
    }

    #[test]
    fn ldm_names_become_those_of_diffusers() {
        let map = ldm(4);
        for (from, to) in [
            ("decoder.conv_in.weight", "decoder.conv_in.weight"),
            ("decoder.norm_out.bias", "decoder.conv_norm_out.bias"),
            ("decoder.mid.block_1.norm1.weight", "decoder.mid_block.resnets.0.norm1.weight"),
            ("decoder.mid.block_2.conv2.bias", "decoder.mid_block.resnets.1.conv2.bias"),
            ("decoder.mid.attn_1.norm.bias", "decoder.mid_block.attentions.0.group_norm.bias"),
            ("decoder.mid.attn_1.q.weight", "decoder.mid_block.attentions.0.to_q.weight"),
            ("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias"),
            ("decoder.up.0.block.2.conv1.weight", "decoder.up_blocks.3.resnets.2.conv1.weight"),
            (
                "decoder.up.1.block.0.nin_shortcut.bias",
                "decoder.up_blocks.2.resnets.0.conv_shortcut.bias",
            ),
            ("decoder.up.3.upsample.conv.weight", "decoder.up_blocks.0.upsamplers.0.conv.weight"),
            ("post_quant_conv.bias", "post_quant_conv.bias"),
        ] {
            assert_maps(&map, from, to);
        }
    }

    #[test]
    fn indices_are_numbers_not_substrings() {
        let names = (0..12).map(|level| format!("decoder.up.{level}.block.0.conv1.weight"));
        let names: Vec<_> = names.collect();
        let map = KeyMap::detect(names.iter().map(String::as_str)).unwrap();
        assert_eq!(map, ldm(12));
        assert_maps(&map, &names[1], "decoder.up_blocks.10.resnets.0.conv1.weight");
        assert_maps(&map, &names[11], "decoder.up_blocks.0.resnets.0.conv1.weight");
        for odd in ["01", "+1", "-1", "", "1x", "99999999999"] {
            let name = format!("decoder.up.{odd}.block.0.conv1.weight");
            assert_maps(&map, &name, &name);
        }
    }

    #[test]
    fn an_absurd_level_neither_panics_nor_maps() {
        let name = "decoder.up.4294967295.block.0.conv1.weight";
        assert_maps(&detect(&[name]), name, name);
    }

    /// Every name that a converter gave to a part of the attention, in modules of either naming.
    #[test]
    fn parts_of_the_attention_are_known_by_all_their_names() {
        for map in [ldm(4), KeyMap { naming: Naming::Diffusers, ..ldm(0) }] {
            for module in ["decoder.mid_block.attentions.0", "decoder.mid.attn_1"] {
                for (names, part) in [
                    (&["q", "query", "to_q"][..], "to_q"),
                    (&["k", "key", "to_k"], "to_k"),
                    (&["v", "value", "to_v"], "to_v"),
                    (&["proj_out", "proj_attn", "to_out", "to_out.0"], "to_out.0"),
                    (&["norm", "group_norm"], "group_norm"),
                ] {
                    for (name, parameter) in
                        names.iter().flat_map(|name| [(name, "weight"), (name, "bias")])
                    {
                        let to = format!("decoder.mid_block.attentions.0.{part}.{parameter}");
                        assert_maps(&map, &format!("{module}.{name}.{parameter}"), &to);
                        let matrix = part != "group_norm" && parameter == "weight";
                        assert_eq!(is_attention_matrix(&to), matrix, "{to}");
                    }
                }
                let odd = format!("{module}.qkv.weight");
                assert_maps(&map, &odd, &odd);
                assert!(is_in_middle_beside_resnets(&odd));
            }
        }
    }

    #[test]
    fn whatever_the_middle_has_beside_resnets_is_attention() {
        for name in
            ["decoder.mid.attn_1.q.bias", "decoder.mid_block.attentions.0.x", "encoder.mid.a"]
        {
            assert!(is_in_middle_beside_resnets(name), "{name}");
        }
        for name in [
            "decoder.mid.block_1.conv1.bias",
            "encoder.mid_block.resnets.0.x",
            "decoder.up.0.attn.0.q.bias",
            "mid.attn_1.q.bias",
        ] {
            assert!(!is_in_middle_beside_resnets(name), "{name}");
        }
    }

    #[test]
    fn shortcuts_are_known_by_both_names() {
        for name in ["nin_shortcut", "conv_shortcut"] {
            for module in ["decoder.up.3.block.1", "decoder.up_blocks.0.resnets.1"] {
                let to = "decoder.up_blocks.0.resnets.1.conv_shortcut.bias";
                assert_maps(&ldm(4), &format!("{module}.{name}.bias"), to);
            }
        }
    }

    #[test]
    fn the_prefix_of_a_larger_checkpoint_is_found() {
        let both = ["first_stage_model.decoder.conv_in.weight", "vae.decoder.conv_in.weight"];
        let map = detect(&both);
        assert_eq!(map.prefix, "vae.");
        assert_eq!(map.role(both[0]), Role::Other);
        assert_maps(&map, both[1], "decoder.conv_in.weight");
        assert_eq!(map.role("model.diffusion_model.x"), Role::Other);
        assert_eq!(map.role("vae.odd"), Role::Unknown);
        assert_eq!(map.role("vae.encoder.conv_in.weight"), Role::Other);

        let first = detect(&[both[0], "vae.encoder.conv_in.weight"]);
        assert_eq!(first.prefix, "first_stage_model.");
    }

    #[test]
    fn scales_belong_to_weights() {
        let scale = |weight: &str| Role::Scale(weight.into());
        let map = ldm(4);
        for suffix in ["scale_weight", "weight_scale"] {
            assert_eq!(
                map.role(&format!("decoder.mid.attn_1.q.{suffix}")),
                scale("decoder.mid_block.attentions.0.to_q.weight")
            );
            assert_eq!(
                map.role(&format!("post_quant_conv.{suffix}")),
                scale("post_quant_conv.weight")
            );
            assert_eq!(map.role(&format!("encoder.conv_in.{suffix}")), Role::Other);
        }
        for suffix in ["scale_input", "input_scale", "comfy_quant"] {
            assert_eq!(map.role(&format!("decoder.conv_in.{suffix}")), Role::Other);
        }
    }

    #[test]
    fn what_is_not_the_decoder_is_told_apart() {
        let map = ldm(4);
        for name in [
            "encoder.down.0.x",
            "quant_conv.weight",
            "loss.logvar",
            "model_ema.decay",
            "scaled_fp8",
        ] {
            assert_eq!(map.role(name), Role::Other, "{name}");
        }
        for name in ["epoch", "logvar", "discriminator.main.0.weight"] {
            assert_eq!(map.role(name), Role::Unknown, "{name}");
        }
        let odd = "decoder.up.0.attn.0.q.weight";
        assert_maps(&map, odd, odd);
    }
}
