//! Names of weights: from what a file calls them to diffusers' names.
//!
//! Original (LDM, BFL) files count the decoder's levels from the shallowest, diffusers from the
//! deepest; `decoder.up.i` is `decoder.up_blocks.(levels - 1 - i)`. What a module calls its parts
//! depends on the converter that wrote the file, not on what it calls the module, so modules and
//! parts are renamed apart from each other: the attention of either naming may have the parts of
//! LDM, of diffusers, or of older diffusers.

use crate::checkpoint::keys::{Names, Naming, Part, split_index};

/// Whose names the original ones are.
const ORIGINAL: Naming = Naming::Original("LDM, BFL");
const MIDDLE_ATTENTION: &str = "mid_block.attentions.0.";

/// How the names of one file are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct AutoencoderKlNames {
    naming: Naming,
    /// Levels of the decoder.
    levels: u32,
}

impl Names for AutoencoderKlNames {
    fn naming(&self) -> Naming {
        self.naming
    }

    fn part(&self, name: &str) -> Part {
        let begins = |starts: [&str; 2]| starts.iter().any(|start| name.starts_with(start));
        if begins(["decoder.", "post_quant_conv."]) {
            Part::Decoder(self.canonical(name))
        } else if begins(["encoder.", "quant_conv."]) {
            Part::Encoder
        } else {
            Part::Unknown
        }
    }

    /// Projections of the attention may be convs.
    fn shape(&self, canonical: &str, mut shape: Vec<usize>) -> Vec<usize> {
        if is_attention_matrix(canonical) && matches!(shape[..], [_, _, 1] | [_, _, 1, 1]) {
            shape.truncate(2);
        }
        shape
    }
}

impl AutoencoderKlNames {
    /// Finds out from the names of a file.
    pub(in crate::checkpoint) fn detect(names: &mut dyn Iterator<Item = &str>) -> Self {
        let mut naming = Naming::Diffusers;
        let mut levels = 0;
        for name in names.filter_map(|name| name.strip_prefix("decoder.")) {
            if ["up.", "mid.", "norm_out."].iter().any(|start| name.starts_with(start)) {
                naming = ORIGINAL;
            }
            let level = ["up.", "up_blocks."].iter().find_map(|up| name.strip_prefix(up));
            if let Some((level, _)) = level.and_then(split_index) {
                levels = levels.max(level.saturating_add(1));
            }
        }
        Self { naming, levels }
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
fn is_attention_matrix(canonical: &str) -> bool {
    let leaf = canonical
        .strip_prefix("decoder.")
        .and_then(|leaf| leaf.strip_prefix(MIDDLE_ATTENTION))
        .and_then(|leaf| leaf.strip_suffix(".weight"));
    matches!(leaf, Some("to_q" | "to_k" | "to_v" | "to_out.0"))
}

/// Whether a name, canonical or not and without prefix, is in the middle block and not in its
/// resnets. In this family that is attention, whatever it is called.
pub(super) fn is_in_middle_beside_resnets(name: &str) -> bool {
    let inner = ["decoder.", "encoder."].iter().find_map(|side| name.strip_prefix(side));
    let beside = |middle, resnets| {
        inner
            .and_then(|inner| inner.strip_prefix(middle))
            .is_some_and(|part: &str| !part.starts_with(resnets))
    };
    beside("mid_block.", "resnets.") || beside("mid.", "block_")
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

    fn ldm(levels: u32) -> AutoencoderKlNames {
        AutoencoderKlNames { naming: ORIGINAL, levels }
    }

    fn detect(names: &[&str]) -> AutoencoderKlNames {
        AutoencoderKlNames::detect(&mut names.iter().copied())
    }

    #[track_caller]
    fn assert_maps(names: &AutoencoderKlNames, from: &str, to: &str) {
        assert_eq!(names.part(from), Part::Decoder(to.into()));
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
        let map = AutoencoderKlNames::detect(&mut names.iter().map(String::as_str));
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
        for map in [ldm(4), AutoencoderKlNames { naming: Naming::Diffusers, levels: 0 }] {
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
    fn what_is_not_the_decoder_is_told_apart() {
        let map = ldm(4);
        for name in ["encoder.down.0.x", "quant_conv.weight"] {
            assert_eq!(map.part(name), Part::Encoder, "{name}");
        }
        for name in ["epoch", "logvar", "discriminator.main.0.weight"] {
            assert_eq!(map.part(name), Part::Unknown, "{name}");
        }
        let odd = "decoder.up.0.attn.0.q.weight";
        assert_maps(&map, odd, odd);
    }
}
