//! Names of weights: from what a file calls them to diffusers' names.
//!
//! The original code has one list of what follows the middle: the resnets of a level, its upsampler,
//! the resnets of the next one, and so on. Where the upsamplers are in it tells the levels, whatever
//! number of resnets they have. Where levels have shortcuts around them, each has a list of its own, whose
//! last one is the upsampler. Modules and their parts are renamed apart from each other, since a
//! converter may have renamed one of them alone.

use crate::checkpoint::keys::{Names, Naming, Part, split_index};

/// Whose names the original ones are.
const ORIGINAL: Naming = Naming::Original("Wan");

/// How the names of one file are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WanNames {
    naming: Naming,
    /// Places of the upsamplers among `decoder.upsamples`, ascending.
    upsamplers: Vec<u32>,
}

impl WanNames {
    /// Finds out from the names of a file.
    pub(super) fn detect(names: &mut dyn Iterator<Item = &str>) -> Self {
        let mut naming = Naming::Diffusers;
        let mut upsamplers = Vec::new();
        for name in names.filter_map(|name| name.strip_prefix("decoder.")) {
            let starts = ["conv1.", "middle.", "upsamples.", "head."];
            if starts.iter().any(|start| name.starts_with(start)) {
                naming = ORIGINAL;
            }
            if let Some((place, part)) = name.strip_prefix("upsamples.").and_then(split_index)
                && is_of_upsampler(part)
            {
                upsamplers.push(place);
            }
        }
        upsamplers.sort_unstable();
        upsamplers.dedup();
        Self { naming, upsamplers }
    }

    /// The name that diffusers gives to `inner`, both without `decoder.`; `None` where it is unknown.
    fn renamed(&self, inner: &str) -> Option<String> {
        for (original, diffusers) in
            [("conv1.", "conv_in."), ("head.0.", "norm_out."), ("head.2.", "conv_out.")]
        {
            if let Some(part) = inner.strip_prefix(original) {
                return Some(format!("{diffusers}{part}"));
            }
        }
        let inner = self.in_block_of_diffusers(inner)?;
        let Some((_, indexed)) = inner.split_once(".resnets.") else { return Some(inner) };
        let (_, part) = split_index(indexed)?;
        let module = &inner[..inner.len() - part.len()];
        Some(format!("{module}{}", resnet_part(part)?))
    }

    /// `inner` with its block named as in diffusers.
    fn in_block_of_diffusers(&self, inner: &str) -> Option<String> {
        if let Some(middle) = inner.strip_prefix("middle.") {
            let (place, part) = split_index(middle)?;
            let kind = if place % 2 == 0 { "resnets" } else { "attentions" };
            return Some(format!("mid_block.{kind}.{}.{part}", place / 2));
        }
        let Some(list) = inner.strip_prefix("upsamples.") else { return Some(inner.into()) };
        let (place, part) = split_index(list)?;
        if let Some(level) = part.strip_prefix("upsamples.") {
            let (resnet, part) = split_index(level)?;
            return Some(match is_of_upsampler(part) {
                true => format!("up_blocks.{place}.upsampler.{part}"),
                false => format!("up_blocks.{place}.resnets.{resnet}.{part}"),
            });
        }
        match self.upsamplers.binary_search(&place) {
            Ok(level) => Some(format!("up_blocks.{level}.upsamplers.0.{part}")),
            Err(level) => {
                let behind = level.checked_sub(1).map(|level| self.upsamplers[level] + 1);
                let resnet = place - behind.unwrap_or(0);
                Some(format!("up_blocks.{level}.resnets.{resnet}.{part}"))
            }
        }
    }
}

impl Names for WanNames {
    fn naming(&self) -> Naming {
        self.naming
    }

    fn part(&self, name: &str) -> Part {
        if let Some(inner) = name.strip_prefix("decoder.") {
            let renamed = self.renamed(inner);
            return Part::Decoder(
                renamed.map_or_else(|| name.into(), |inner| format!("decoder.{inner}")),
            );
        }
        let begins = |starts: [&str; 3]| starts.iter().any(|start| name.starts_with(start));
        match name.strip_prefix("conv2.").or_else(|| name.strip_prefix("post_quant_conv.")) {
            Some(part) => Part::Decoder(format!("post_quant_conv.{part}")),
            None if begins(["encoder.", "quant_conv.", "conv1."]) => Part::Encoder,
            None => Part::Unknown,
        }
    }
}

fn is_of_upsampler(part: &str) -> bool {
    ["resample.", "time_conv."].iter().any(|start| part.starts_with(start))
}

/// Names of a network that sees no frames. Its convs over time never run, and others may be kept with an
/// axis of one frame.
#[derive(Debug)]
pub(super) struct ImageNames(WanNames);

impl ImageNames {
    /// Finds out from the names of a file.
    pub(super) fn detect(names: &mut dyn Iterator<Item = &str>) -> Self {
        Self(WanNames::detect(names))
    }
}

impl Names for ImageNames {
    fn naming(&self) -> Naming {
        self.0.naming()
    }

    fn part(&self, name: &str) -> Part {
        match self.0.part(name) {
            Part::Decoder(canonical) if canonical.contains(".time_conv.") => Part::Encoder,
            part => part,
        }
    }

    fn shape(&self, canonical: &str, mut shape: Vec<usize>) -> Vec<usize> {
        if canonical.ends_with(".weight") && matches!(shape[..], [_, _, 1, _, _]) {
            shape.remove(2);
        }
        shape
    }
}

fn resnet_part(part: &str) -> Option<String> {
    for (original, diffusers) in [
        ("residual.0.", "norm1."),
        ("residual.2.", "conv1."),
        ("residual.3.", "norm2."),
        ("residual.6.", "conv2."),
        ("shortcut.", "conv_shortcut."),
    ] {
        let parameter = part.strip_prefix(original).or_else(|| part.strip_prefix(diffusers));
        if let Some(parameter) = parameter {
            return Some(format!("{diffusers}{parameter}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(names: &[&str]) -> WanNames {
        WanNames::detect(&mut names.iter().copied())
    }

    #[track_caller]
    fn assert_maps(names: &WanNames, from: &str, to: &str) {
        assert_eq!(names.part(from), Part::Decoder(to.into()));
    }

    #[test]
    fn original_names_become_those_of_diffusers() {
        // Three resnets a level, as in all released models.
        let names = detect(&[
            "decoder.upsamples.11.resample.1.weight",
            "decoder.upsamples.3.time_conv.bias",
            "decoder.upsamples.3.resample.1.bias",
            "decoder.upsamples.7.resample.1.weight",
        ]);
        assert_eq!(names, WanNames { naming: ORIGINAL, upsamplers: vec![3, 7, 11] });
        for (from, to) in [
            ("conv2.weight", "post_quant_conv.weight"),
            ("decoder.conv1.bias", "decoder.conv_in.bias"),
            ("decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma"),
            ("decoder.middle.1.norm.gamma", "decoder.mid_block.attentions.0.norm.gamma"),
            ("decoder.middle.1.to_qkv.bias", "decoder.mid_block.attentions.0.to_qkv.bias"),
            ("decoder.middle.1.proj.weight", "decoder.mid_block.attentions.0.proj.weight"),
            ("decoder.middle.2.residual.6.bias", "decoder.mid_block.resnets.1.conv2.bias"),
            ("decoder.upsamples.2.residual.2.weight", "decoder.up_blocks.0.resnets.2.conv1.weight"),
            (
                "decoder.upsamples.3.time_conv.weight",
                "decoder.up_blocks.0.upsamplers.0.time_conv.weight",
            ),
            (
                "decoder.upsamples.4.shortcut.bias",
                "decoder.up_blocks.1.resnets.0.conv_shortcut.bias",
            ),
            ("decoder.upsamples.10.residual.3.gamma", "decoder.up_blocks.2.resnets.2.norm2.gamma"),
            (
                "decoder.upsamples.11.resample.1.bias",
                "decoder.up_blocks.2.upsamplers.0.resample.1.bias",
            ),
            (
                "decoder.upsamples.14.residual.6.weight",
                "decoder.up_blocks.3.resnets.2.conv2.weight",
            ),
            ("decoder.head.0.gamma", "decoder.norm_out.gamma"),
            ("decoder.head.2.weight", "decoder.conv_out.weight"),
        ] {
            assert_maps(&names, from, to);
        }
    }

    #[test]
    fn upsamplers_tell_the_levels_whatever_their_resnets() {
        let names = detect(&["decoder.upsamples.5.resample.1.weight"]);
        assert_maps(
            &names,
            "decoder.upsamples.4.shortcut.bias",
            "decoder.up_blocks.0.resnets.4.conv_shortcut.bias",
        );
        assert_maps(
            &names,
            "decoder.upsamples.6.residual.0.gamma",
            "decoder.up_blocks.1.resnets.0.norm1.gamma",
        );
    }

    #[test]
    fn names_of_diffusers_stay() {
        let names = [
            "decoder.conv_in.weight",
            "decoder.mid_block.resnets.1.norm2.gamma",
            "decoder.mid_block.attentions.0.to_qkv.weight",
            "decoder.up_blocks.3.resnets.2.conv_shortcut.bias",
            "decoder.up_blocks.0.upsamplers.0.time_conv.bias",
            "decoder.norm_out.gamma",
            "post_quant_conv.bias",
        ];
        let detected = detect(&names);
        assert_eq!(detected.naming(), Naming::Diffusers);
        names.iter().for_each(|name| assert_maps(&detected, name, name));
    }

    #[test]
    fn what_is_unknown_in_the_decoder_keeps_its_name() {
        let last = "decoder.upsamples.4294967295.resample.1.weight";
        let names = detect(&["decoder.upsamples.3.resample.1.weight", last]);
        assert_maps(&names, last, "decoder.up_blocks.1.upsamplers.0.resample.1.weight");
        for odd in [
            "decoder.upsamples.01.residual.0.gamma",
            "decoder.upsamples.0.residual.1.weight",
            "decoder.upsamples.x",
            "decoder.middle.0.weight",
            "decoder.head.1.weight",
            "decoder.odd",
        ] {
            assert_maps(&names, odd, odd);
        }
    }

    #[test]
    fn levels_with_shortcuts_have_lists_of_their_own() {
        let all = [
            "decoder.upsamples.0.upsamples.3.resample.1.weight",
            "decoder.upsamples.0.upsamples.3.time_conv.bias",
            "decoder.upsamples.2.upsamples.0.shortcut.weight",
            "decoder.upsamples.3.upsamples.2.residual.6.bias",
        ];
        let names = detect(&all);
        assert_eq!(names.naming(), ORIGINAL);
        for (from, to) in all.into_iter().zip([
            "decoder.up_blocks.0.upsampler.resample.1.weight",
            "decoder.up_blocks.0.upsampler.time_conv.bias",
            "decoder.up_blocks.2.resnets.0.conv_shortcut.weight",
            "decoder.up_blocks.3.resnets.2.conv2.bias",
        ]) {
            assert_maps(&names, from, to);
            assert_maps(&names, to, to);
        }
        let odd = "decoder.upsamples.0.upsamples.x.residual.2.weight";
        assert_maps(&names, odd, odd);
        let images = ImageNames::detect(&mut all.into_iter());
        assert_eq!(images.part(all[1]), Part::Encoder);
        assert_eq!(images.shape("x.weight", vec![8, 4, 1, 3, 3]), [8, 4, 3, 3]);
        for shape in [vec![8, 4, 3, 3], vec![8, 4, 3, 3, 3], vec![8, 1, 1, 1]] {
            assert_eq!(images.shape("x.weight", shape.clone()), shape);
        }
        assert_eq!(images.shape("x.gamma", vec![8, 1, 1, 1, 1]), [8, 1, 1, 1, 1]);
    }

    #[test]
    fn what_is_not_the_decoder_is_told_apart() {
        let names = detect(&[]);
        for name in ["encoder.conv1.weight", "quant_conv.bias", "conv1.weight"] {
            assert_eq!(names.part(name), Part::Encoder, "{name}");
        }
        for name in ["conv3.weight", "epoch", "conv1"] {
            assert_eq!(names.part(name), Part::Unknown, "{name}");
        }
    }
}
