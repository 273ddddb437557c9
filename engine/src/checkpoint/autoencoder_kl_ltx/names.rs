//! Names of weights: from what a file calls them to diffusers' names.
//!
//! The original code has one list of blocks: stacks of resnets, of which the first is the middle, and
//! before each later one what its level begins with, a resnet that changes channels, an upsampler, or
//! both. Where the stacks are in it tells the levels. Convs of shortcuts lie in another module in an
//! `AutoencoderKLLTXVideo` than in an `AutoencoderKLLTX2Video`; the names of the latter count.

use super::statistics;
use crate::checkpoint::keys::{Names, Naming, Part, split_index};

/// Whose names the original ones are.
const ORIGINAL: Naming = Naming::Original("LTX");

/// How the names of one file are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LtxNames {
    /// Places of the stacks of resnets among `decoder.up_blocks`, ascending, where names are original.
    stacks: Option<Vec<u32>>,
}

impl LtxNames {
    /// Finds out from the names of a file.
    pub(super) fn detect(names: &mut dyn Iterator<Item = &str>) -> Self {
        let mut stacks: Vec<u32> = names
            .filter_map(|name| split_index(name.strip_prefix("decoder.up_blocks.")?))
            .filter(|(_, part)| part.starts_with("res_blocks."))
            .map(|(place, _)| place)
            .collect();
        stacks.sort_unstable();
        stacks.dedup();
        Self { stacks: (!stacks.is_empty()).then_some(stacks) }
    }

    /// The name that diffusers gives to `inner`, both without `decoder.`; `None` where it is unknown.
    fn renamed(&self, inner: &str) -> Option<String> {
        let Some(stacks) = &self.stacks else {
            return Some(inner.replace(".conv_shortcut.conv.", ".conv_shortcut."));
        };
        let Some(list) = inner.strip_prefix("up_blocks.") else { return Some(inner.into()) };
        let (place, part) = split_index(list)?;
        // As many stacks are before it, one of which is the middle.
        let before = stacks.partition_point(|&stack| stack < place);
        if let Some(resnet) = part.strip_prefix("res_blocks.") {
            let (index, part) = split_index(resnet)?;
            let block = match before {
                0 => "mid_block".into(),
                _ => format!("up_blocks.{}", before - 1),
            };
            return Some(format!("{block}.resnets.{index}.{}", resnet_part(part)));
        }
        let level = before.checked_sub(1)?;
        Some(match part.starts_with("conv.") {
            true => format!("up_blocks.{level}.upsamplers.0.{part}"),
            false => format!("up_blocks.{level}.conv_in.{}", resnet_part(part)),
        })
    }
}

impl Names for LtxNames {
    fn naming(&self) -> Naming {
        if self.stacks.is_some() { ORIGINAL } else { Naming::Diffusers }
    }

    fn part(&self, name: &str) -> Part {
        if let Some(inner) = name.strip_prefix("decoder.") {
            let renamed = self.renamed(inner);
            return Part::Decoder(
                renamed.map_or_else(|| name.into(), |inner| format!("decoder.{inner}")),
            );
        }
        let is_statistics = statistics::NAMES.as_flattened().contains(&name)
            || name.starts_with("per_channel_statistics.");
        match is_statistics || name.starts_with("encoder.") {
            true => Part::Encoder,
            false => Part::Unknown,
        }
    }
}

fn resnet_part(part: &str) -> String {
    for (original, diffusers) in
        [("norm3.norm.", "norm3."), ("conv_shortcut.conv.", "conv_shortcut.")]
    {
        if let Some(parameter) = part.strip_prefix(original) {
            return format!("{diffusers}{parameter}");
        }
    }
    part.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_maps(names: &LtxNames, from: &str, to: &str) {
        assert_eq!(names.part(from), Part::Decoder(to.into()));
    }

    /// LTX-2.3's list: four upsamplers, each before a stack.
    #[test]
    fn original_names_become_those_of_diffusers() {
        let stacks = (0..=8).step_by(2);
        let all: Vec<_> = stacks
            .map(|place| format!("decoder.up_blocks.{place}.res_blocks.0.conv1.conv.bias"))
            .collect();
        let names = LtxNames::detect(&mut all.iter().map(String::as_str));
        assert_eq!(names.naming(), Naming::Original("LTX"));
        for (from, to) in [
            ("decoder.conv_in.conv.weight", "decoder.conv_in.conv.weight"),
            (
                "decoder.up_blocks.0.res_blocks.1.conv2.conv.weight",
                "decoder.mid_block.resnets.1.conv2.conv.weight",
            ),
            (
                "decoder.up_blocks.1.conv.conv.bias",
                "decoder.up_blocks.0.upsamplers.0.conv.conv.bias",
            ),
            (
                "decoder.up_blocks.2.res_blocks.0.conv1.conv.weight",
                "decoder.up_blocks.0.resnets.0.conv1.conv.weight",
            ),
            (
                "decoder.up_blocks.7.conv.conv.weight",
                "decoder.up_blocks.3.upsamplers.0.conv.conv.weight",
            ),
            (
                "decoder.up_blocks.8.res_blocks.3.conv1.conv.bias",
                "decoder.up_blocks.3.resnets.3.conv1.conv.bias",
            ),
        ] {
            assert_maps(&names, from, to);
        }
    }

    /// LTX-Video 0.9.0's list, from diffusers' conversion.
    #[test]
    fn levels_may_begin_with_a_resnet_or_nothing() {
        let all = [0, 1, 3, 6, 9]
            .map(|place| format!("decoder.up_blocks.{place}.res_blocks.0.conv1.conv.bias"));
        let names = LtxNames::detect(&mut all.iter().map(String::as_str));
        for (from, to) in [
            ("0.res_blocks.3.conv1.conv.bias", "mid_block.resnets.3.conv1.conv.bias"),
            ("1.res_blocks.0.conv1.conv.bias", "up_blocks.0.resnets.0.conv1.conv.bias"),
            ("2.conv.conv.weight", "up_blocks.1.upsamplers.0.conv.conv.weight"),
            ("3.res_blocks.2.conv2.conv.bias", "up_blocks.1.resnets.2.conv2.conv.bias"),
            ("4.conv1.conv.weight", "up_blocks.2.conv_in.conv1.conv.weight"),
            ("4.norm3.norm.weight", "up_blocks.2.conv_in.norm3.weight"),
            ("4.conv_shortcut.bias", "up_blocks.2.conv_in.conv_shortcut.bias"),
            ("4.conv_shortcut.conv.bias", "up_blocks.2.conv_in.conv_shortcut.bias"),
            ("5.conv.conv.bias", "up_blocks.2.upsamplers.0.conv.conv.bias"),
            ("7.conv2.conv.bias", "up_blocks.3.conv_in.conv2.conv.bias"),
            ("9.res_blocks.2.conv2.conv.bias", "up_blocks.3.resnets.2.conv2.conv.bias"),
        ] {
            assert_maps(&names, &format!("decoder.up_blocks.{from}"), &format!("decoder.{to}"));
        }
    }

    #[test]
    fn names_of_diffusers_stay() {
        let all = [
            "decoder.mid_block.resnets.0.conv1.conv.weight",
            "decoder.up_blocks.2.conv_in.norm3.weight",
            "decoder.up_blocks.2.conv_in.conv_shortcut.weight",
            "decoder.up_blocks.0.upsamplers.0.conv.conv.bias",
            "decoder.odd",
        ];
        let names = LtxNames::detect(&mut all.into_iter());
        assert_eq!(names.naming(), Naming::Diffusers);
        all.iter().for_each(|name| assert_maps(&names, name, name));
        let of_ltx = "decoder.up_blocks.2.conv_in.conv_shortcut.conv.weight";
        assert_maps(&names, of_ltx, all[2]);
    }

    #[test]
    fn what_is_unknown_or_not_the_decoder_is_told_apart() {
        let stack = "decoder.up_blocks.1.res_blocks.0.conv1.conv.bias";
        let names = LtxNames::detect(&mut [stack].into_iter());
        for odd in [
            "decoder.up_blocks.0.conv.conv.bias",
            "decoder.up_blocks.x",
            "decoder.up_blocks.01.res_blocks.0.conv1.conv.bias",
            "decoder.up_blocks.1.res_blocks.x",
        ] {
            assert_maps(&names, odd, odd);
        }
        for name in [
            "encoder.conv_in.conv.weight",
            "latents_mean",
            "latents_std",
            "per_channel_statistics.std-of-means",
            "per_channel_statistics.mean-of-stds_over_std-of-means",
        ] {
            assert_eq!(names.part(name), Part::Encoder, "{name}");
        }
        assert_eq!(names.part("epoch"), Part::Unknown);
    }
}
