//! Names of weights: from what a file calls them to diffusers' names.
//!
//! Original (LDM, BFL) files count the decoder's levels from the shallowest, diffusers from the
//! deepest; `decoder.up.i` is `decoder.up_blocks.(levels - 1 - i)`. They keep the attention's
//! projections as 1x1 convs. Old diffusers files call them `query`, `key`, `value`, `proj_attn`.

/// Prefixes of a VAE inside a larger checkpoint. Where both occur the later counts, as it does in
/// diffusers.
const PREFIXES: [&str; 2] = ["first_stage_model.", "vae."];

/// What the names of a file follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// As diffusers names modules.
    Diffusers,
    /// As in the original LDM and BFL files.
    Ldm,
}

/// How the names of one file are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyMap {
    /// What precedes every name of the VAE: one of two prefixes, or nothing.
    pub(crate) prefix: &'static str,
    pub(crate) naming: Naming,
    /// Levels of an LDM decoder.
    levels: u32,
}

/// What a tensor is to a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A weight of the decoder, under its canonical name.
    Decoder(String),
    /// Of the encoder, of training, or of another model in the same file.
    Other,
    /// Nothing that is known.
    Unknown,
}

impl KeyMap {
    /// Finds out from all names of a file.
    pub(crate) fn detect<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let prefix = PREFIXES
            .into_iter()
            .rev()
            .find(|prefix| {
                names.clone().any(|name| {
                    name.strip_prefix(prefix).is_some_and(|name| name.starts_with("decoder."))
                })
            })
            .unwrap_or("");
        let decoder = names.filter_map(|name| name.strip_prefix(prefix)?.strip_prefix("decoder."));
        let mut naming = Naming::Diffusers;
        let mut levels = 0;
        for name in decoder {
            if ["up.", "mid.", "norm_out."].iter().any(|start| name.starts_with(start)) {
                naming = Naming::Ldm;
            }
            if let Some((level, _)) = name.strip_prefix("up.").and_then(split_index) {
                levels = levels.max(level.saturating_add(1));
            }
        }
        Self { prefix, naming, levels }
    }

    /// What the tensor called `name` is.
    pub(crate) fn role(&self, name: &str) -> Role {
        let Some(name) = name.strip_prefix(self.prefix) else { return Role::Other };
        if name.starts_with("post_quant_conv.") {
            return Role::Decoder(name.into());
        }
        if let Some(inner) = name.strip_prefix("decoder.") {
            let canonical = self.canonical(inner).unwrap_or_else(|| inner.into());
            return Role::Decoder(format!("decoder.{canonical}"));
        }
        let other = ["encoder.", "quant_conv.", "loss.", "model_ema"];
        if other.iter().any(|start| name.starts_with(start)) {
            return Role::Other;
        }
        Role::Unknown
    }

    /// The name that `inner` (without `decoder.`) has in diffusers; `None` where it has that name
    /// already, or is unknown.
    fn canonical(&self, inner: &str) -> Option<String> {
        if let Some(leaf) = inner.strip_prefix("mid_block.attentions.0.") {
            let (module, parameter) = leaf.rsplit_once('.')?;
            let module = match module {
                "query" => "to_q",
                "key" => "to_k",
                "value" => "to_v",
                "proj_attn" => "to_out.0",
                _ => return None,
            };
            return Some(format!("mid_block.attentions.0.{module}.{parameter}"));
        }
        if self.naming == Naming::Diffusers {
            return None;
        }
        if let Some(parameter) = inner.strip_prefix("norm_out.") {
            return Some(format!("conv_norm_out.{parameter}"));
        }
        if let Some(inner) = inner.strip_prefix("mid.") {
            let (module, leaf) = inner.split_once('.')?;
            return match module {
                "block_1" => Some(format!("mid_block.resnets.0.{}", resnet_leaf(leaf)?)),
                "block_2" => Some(format!("mid_block.resnets.1.{}", resnet_leaf(leaf)?)),
                "attn_1" => Some(format!("mid_block.attentions.0.{}", attention_leaf(leaf)?)),
                _ => None,
            };
        }
        let (level, rest) = split_index(inner.strip_prefix("up.")?)?;
        // `detect` saw this very name, so `levels` is above `level`, unless it saturated.
        let level = self.levels.checked_sub(level)?.checked_sub(1)?;
        if let Some(parameter) = rest.strip_prefix("upsample.conv.") {
            return Some(format!("up_blocks.{level}.upsamplers.0.conv.{parameter}"));
        }
        let (block, leaf) = split_index(rest.strip_prefix("block.")?)?;
        Some(format!("up_blocks.{level}.resnets.{block}.{}", resnet_leaf(leaf)?))
    }
}

/// Whether a weight is one of the attention's projections, which diffusers keeps as matrices.
pub(crate) fn is_attention_matrix(canonical: &str) -> bool {
    let leaf = canonical
        .strip_prefix("decoder.mid_block.attentions.0.")
        .and_then(|leaf| leaf.strip_suffix(".weight"));
    matches!(leaf, Some("to_q" | "to_k" | "to_v" | "to_out.0"))
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

fn resnet_leaf(leaf: &str) -> Option<String> {
    let (module, parameter) = leaf.split_once('.')?;
    let module = match module {
        "norm1" | "conv1" | "norm2" | "conv2" => module,
        "nin_shortcut" => "conv_shortcut",
        _ => return None,
    };
    Some(format!("{module}.{parameter}"))
}

fn attention_leaf(leaf: &str) -> Option<String> {
    let (module, parameter) = leaf.split_once('.')?;
    let module = match module {
        "norm" => "group_norm",
        "q" => "to_q",
        "k" => "to_k",
        "v" => "to_v",
        "proj_out" => "to_out.0",
        _ => return None,
    };
    Some(format!("{module}.{parameter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ldm(levels: u32) -> KeyMap {
        KeyMap { prefix: "", naming: Naming::Ldm, levels }
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
        let map = KeyMap::detect(names.iter().map(String::as_str));
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
        let map = KeyMap::detect([name].into_iter());
        assert_maps(&map, name, name);
    }

    #[test]
    fn old_attention_names_become_new_ones() {
        let map = KeyMap { prefix: "", naming: Naming::Diffusers, levels: 0 };
        for (from, to) in
            [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")]
        {
            let [from, to] =
                [from, to].map(|module| format!("decoder.mid_block.attentions.0.{module}.weight"));
            assert_maps(&map, &from, &to);
            assert!(is_attention_matrix(&to));
        }
        let norm = "decoder.mid_block.attentions.0.group_norm.weight";
        assert_maps(&map, norm, norm);
        assert!(!is_attention_matrix(norm));
    }

    #[test]
    fn the_prefix_of_a_larger_checkpoint_is_found() {
        let both = ["first_stage_model.decoder.conv_in.weight", "vae.decoder.conv_in.weight"];
        let map = KeyMap::detect(both.into_iter());
        assert_eq!(map.prefix, "vae.");
        assert_eq!(map.role(both[0]), Role::Other);
        assert_maps(&map, both[1], "decoder.conv_in.weight");
        assert_eq!(map.role("model.diffusion_model.x"), Role::Other);
        assert_eq!(map.role("vae.odd"), Role::Unknown);
        assert_eq!(map.role("vae.encoder.conv_in.weight"), Role::Other);

        let first = KeyMap::detect([both[0], "vae.encoder.conv_in.weight"].into_iter());
        assert_eq!(first.prefix, "first_stage_model.");
    }

    #[test]
    fn what_is_not_the_decoder_is_told_apart() {
        let map = ldm(4);
        for name in ["encoder.down.0.x", "quant_conv.weight", "loss.logvar", "model_ema.decay"] {
            assert_eq!(map.role(name), Role::Other, "{name}");
        }
        assert_eq!(map.role("bn.running_mean"), Role::Unknown);
        let odd = "decoder.up.0.attn.0.q.weight";
        assert_maps(&map, odd, odd);
    }
}
