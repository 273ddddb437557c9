//! Names of weights: from what a file calls them to diffusers' names.
//!
//! Tencent's code, whose names ComfyUI's files have, counts the decoder's levels in the order in which it
//! runs through them, each with its resnets and perhaps an upsampler. diffusers has one list of all of
//! them, so that a place in it follows from how many the levels before have.

use std::collections::BTreeMap;

use crate::checkpoint::keys::{Names, Naming, Part, split_index};

/// Whose names the original ones are.
const ORIGINAL: Naming = Naming::Original("Tencent");
const MIDDLE_ATTENTION: &str = "mid_block.attentions.0.";

/// How the names of one file are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HunyuanImageNames {
    naming: Naming,
    /// The decoder's levels by number.
    levels: BTreeMap<u32, Level>,
}

/// What a level has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    resnets: u32,
    has_upsampler: bool,
}

/// A part of a level.
enum Place<'a> {
    Resnet(u32, &'a str),
    Upsampler(&'a str),
}

impl HunyuanImageNames {
    /// Finds out from the names of a file.
    pub(super) fn detect(names: &mut dyn Iterator<Item = &str>) -> Self {
        let mut naming = Naming::Diffusers;
        let mut levels: BTreeMap<u32, Level> = BTreeMap::new();
        for name in names.filter_map(|name| name.strip_prefix("decoder.")) {
            if ["up.", "mid."].iter().any(|start| name.starts_with(start)) {
                naming = ORIGINAL;
            }
            let Some((level, place)) = in_level(name) else { continue };
            let level = levels.entry(level).or_default();
            match place {
                Place::Resnet(resnet, _) => {
                    level.resnets = level.resnets.max(resnet.saturating_add(1));
                }
                Place::Upsampler(_) => level.has_upsampler = true,
            }
        }
        Self { naming, levels }
    }

    /// The name that diffusers gives to `inner`, both without `decoder.`; `None` where it is unknown.
    fn renamed(&self, inner: &str) -> Option<String> {
        for (original, diffusers) in
            [("mid.block_1.", "mid_block.resnets.0."), ("mid.block_2.", "mid_block.resnets.1.")]
        {
            if let Some(part) = inner.strip_prefix(original) {
                return Some(format!("{diffusers}{part}"));
            }
        }
        let of_attention = ["mid.attn_1.", MIDDLE_ATTENTION];
        if let Some(part) = of_attention.iter().find_map(|module| inner.strip_prefix(module)) {
            let (module, parameter) = part.rsplit_once('.')?;
            let module = match module {
                "q" => "to_q",
                "k" => "to_k",
                "v" => "to_v",
                "proj_out" => "proj",
                same => same,
            };
            return Some(format!("{MIDDLE_ATTENTION}{module}.{parameter}"));
        }
        let (level, place) = in_level(inner)?;
        let before = self.levels.range(..level).map(|(_, of_level)| of_level.blocks());
        let before = before.fold(0u64, u64::saturating_add);
        let (place, part) = match place {
            Place::Resnet(resnet, part) => (resnet, part),
            Place::Upsampler(part) => (self.levels.get(&level)?.resnets, part),
        };
        Some(format!("up_blocks.{}.{part}", before.saturating_add(place.into())))
    }
}

impl Level {
    /// How many places of diffusers' list it has.
    fn blocks(self) -> u64 {
        u64::from(self.resnets) + u64::from(self.has_upsampler)
    }
}

/// The level that a name of the original code is of, and where in it.
fn in_level(inner: &str) -> Option<(u32, Place<'_>)> {
    let (level, rest) = split_index(inner.strip_prefix("up.")?)?;
    let place = match rest.strip_prefix("block.") {
        Some(block) => {
            let (resnet, part) = split_index(block)?;
            Place::Resnet(resnet, part)
        }
        None => Place::Upsampler(rest.strip_prefix("upsample.")?),
    };
    Some((level, place))
}

impl Names for HunyuanImageNames {
    fn naming(&self) -> Naming {
        self.naming
    }

    fn part(&self, name: &str) -> Part {
        match name.strip_prefix("decoder.") {
            Some(inner) => Part::Decoder(
                self.renamed(inner).map_or_else(|| name.into(), |new| format!("decoder.{new}")),
            ),
            None if name.starts_with("encoder.") => Part::Encoder,
            None => Part::Unknown,
        }
    }

    /// Kernels may have an axis of one frame.
    fn shape(&self, _canonical: &str, mut shape: Vec<usize>) -> Vec<usize> {
        if matches!(shape[..], [_, _, 1, _, _]) {
            shape.remove(2);
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(names: &[String]) -> HunyuanImageNames {
        HunyuanImageNames::detect(&mut names.iter().map(String::as_str))
    }

    /// Three levels of two resnets, the second one without an upsampler.
    fn three_levels() -> Vec<String> {
        let mut names = Vec::new();
        for level in 0..3 {
            names
                .extend((0..2).map(|block| format!("decoder.up.{level}.block.{block}.conv1.bias")));
            names.extend((level == 0).then(|| "decoder.up.0.upsample.conv.bias".to_owned()));
        }
        names
    }

    #[test]
    fn levels_are_one_list() {
        let names = detect(&three_levels());
        assert_eq!(names.naming(), ORIGINAL);
        for (from, to) in [
            ("up.0.block.1.norm1.weight", "up_blocks.1.norm1.weight"),
            ("up.0.upsample.conv.weight", "up_blocks.2.conv.weight"),
            ("up.1.block.0.conv2.bias", "up_blocks.3.conv2.bias"),
            ("up.2.block.1.conv1.weight", "up_blocks.6.conv1.weight"),
            ("mid.block_2.norm2.bias", "mid_block.resnets.1.norm2.bias"),
            ("mid.attn_1.norm.weight", "mid_block.attentions.0.norm.weight"),
            ("mid.attn_1.proj_out.bias", "mid_block.attentions.0.proj.bias"),
            ("mid_block.attentions.0.to_q.weight", "mid_block.attentions.0.to_q.weight"),
            ("conv_in.weight", "conv_in.weight"),
            ("norm_out.weight", "norm_out.weight"),
        ] {
            let [from, to] = [from, to].map(|name| format!("decoder.{name}"));
            assert_eq!(names.part(&from), Part::Decoder(to), "{from}");
        }
        assert_eq!(names.part("encoder.down.0.block.0.x"), Part::Encoder);
        assert_eq!(names.part("epoch"), Part::Unknown);
    }

    #[test]
    fn an_absurd_place_neither_panics_nor_takes_anothers() {
        let huge = format!("decoder.up.0.block.{}.conv1.bias", u32::MAX);
        let names = detect(&[three_levels(), vec![huge.clone()]].concat());
        let part = |name: &str| names.part(name);
        assert_eq!(
            part(&huge),
            Part::Decoder(format!("decoder.up_blocks.{}.conv1.bias", u32::MAX))
        );
        let behind = Part::Decoder(format!("decoder.up_blocks.{}.conv1.bias", 1u64 << 32));
        assert_eq!(part("decoder.up.1.block.0.conv1.bias"), behind);
        for odd in ["decoder.up.01.block.0.x", "decoder.up.0.attn.0.q.bias", "decoder.up.0.block.x"]
        {
            assert_eq!(part(odd), Part::Decoder(odd.into()), "{odd}");
        }
    }

    #[test]
    fn an_axis_of_one_frame_is_left_out() {
        let names = detect(&[]);
        assert_eq!(names.naming(), Naming::Diffusers);
        let shape = |shape: &[usize]| names.shape("decoder.conv_in.weight", shape.to_vec());
        assert_eq!(shape(&[8, 4, 1, 3, 3]), [8, 4, 3, 3]);
        for same in [&[8, 4, 3, 3][..], &[8, 4, 3, 3, 3], &[8]] {
            assert_eq!(shape(same), same);
        }
    }
}
