//! The names that original code and old diffusers give to a decoder's weights.
//!
//! Written from diffusers' conversion scripts, apart from the engine's own table.

use crate::disk::RawTensor;

/// A weight of the decoder under the name and in the shape of the LDM and BFL code.
///
/// There, levels count from the picture's side, and attention's projections are 1x1 convs.
pub fn to_ldm(
    prefix: &str,
    levels: usize,
    name: &str,
    mut tensor: RawTensor,
) -> (String, RawTensor) {
    let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    if let ["decoder", "up_blocks", level, kind, index, ..] =
        parts.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        let level = levels - 1 - level.parse::<usize>().expect("a level");
        let module = match kind {
            "resnets" => format!("decoder.up.{level}.block.{index}"),
            "upsamplers" => format!("decoder.up.{level}.upsample"),
            other => panic!("no module {other} in an up block"),
        };
        parts.splice(..5, [module]);
    }
    let mut renamed = parts.join(".");
    for (from, to) in [
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_q", "mid.attn_1.q"),
        ("mid_block.attentions.0.to_k", "mid.attn_1.k"),
        ("mid_block.attentions.0.to_v", "mid.attn_1.v"),
        ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
    ] {
        renamed = renamed.replace(from, to);
    }
    if renamed.contains(".attn_1.") && tensor.shape.len() == 2 {
        tensor.shape.extend([1, 1]);
    }
    (format!("{prefix}{renamed}"), tensor)
}

/// A weight of LDM's under the name that converters gave it that know diffusers' new attention: only
/// the projections' names are those of diffusers. Some keep them as matrices, too.
pub fn to_converted_ldm(matrices: bool, name: &str, mut tensor: RawTensor) -> (String, RawTensor) {
    let mut renamed = name.to_owned();
    for (from, to) in [
        ("attn_1.q.", "attn_1.to_q."),
        ("attn_1.k.", "attn_1.to_k."),
        ("attn_1.v.", "attn_1.to_v."),
        ("attn_1.proj_out.", "attn_1.to_out.0."),
    ] {
        renamed = renamed.replace(from, to);
    }
    if matrices && renamed != name && renamed.ends_with(".weight") {
        tensor.shape.truncate(2);
    }
    (renamed, tensor)
}

/// A weight under the name that diffusers gave it before its attention classes were merged.
pub fn to_old_diffusers(name: &str, tensor: RawTensor) -> (String, RawTensor) {
    let mut renamed = name.to_owned();
    for (from, to) in [
        ("attentions.0.to_q", "attentions.0.query"),
        ("attentions.0.to_k", "attentions.0.key"),
        ("attentions.0.to_v", "attentions.0.value"),
        ("attentions.0.to_out.0", "attentions.0.proj_attn"),
    ] {
        renamed = renamed.replace(from, to);
    }
    (renamed, tensor)
}

/// A weight of the decoder under the name of Tencent's code for HunyuanImage 2.1, which has a list for each
/// level where diffusers has one for all; the first levels, so many, have an upsampler.
pub fn to_tencent(res_blocks: usize, upsamplers: usize, name: &str) -> String {
    let mut renamed = name.to_owned();
    if let ["decoder", "up_blocks", place, part @ ..] = &name.split('.').collect::<Vec<_>>()[..] {
        let (mut level, mut place) = (0, place.parse::<usize>().expect("a place"));
        let resnets = res_blocks + 1;
        let blocks = |level| resnets + usize::from(level < upsamplers);
        while place >= blocks(level) {
            place -= blocks(level);
            level += 1;
        }
        let part = part.join(".");
        return match place < resnets {
            true => format!("decoder.up.{level}.block.{place}.{part}"),
            false => format!("decoder.up.{level}.upsample.{part}"),
        };
    }
    for (from, to) in [
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0.norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_", "mid.attn_1."),
        ("mid_block.attentions.0.proj", "mid.attn_1.proj_out"),
    ] {
        renamed = renamed.replace(from, to);
    }
    renamed
}

/// A weight of the decoder under the name of Wan's own code, which has all levels in one list.
pub fn to_wan(res_blocks: usize, name: &str) -> String {
    in_lists(res_blocks, false, name)
}

/// The same, of a network whose levels have shortcuts around them, and lists of their own.
pub fn to_wan_residual(res_blocks: usize, name: &str) -> String {
    in_lists(res_blocks, true, name)
}

fn in_lists(res_blocks: usize, is_residual: bool, name: &str) -> String {
    let in_list = |level: &str, place: usize| {
        let level: usize = level.parse().expect("a level");
        if is_residual {
            return format!("decoder.upsamples.{level}.upsamples.{place}");
        }
        // The resnets of a level, one more than the encoder's, and its upsampler.
        format!("decoder.upsamples.{}", level * (res_blocks + 2) + place)
    };
    let parts: Vec<&str> = name.split('.').collect();
    let (module, part) = match parts[..] {
        ["post_quant_conv", ..] => ("conv2".to_owned(), &parts[1..]),
        ["decoder", "conv_in", ..] => ("decoder.conv1".into(), &parts[2..]),
        ["decoder", "norm_out", ..] => ("decoder.head.0".into(), &parts[2..]),
        ["decoder", "conv_out", ..] => ("decoder.head.2".into(), &parts[2..]),
        ["decoder", "mid_block", "resnets", "0", ..] => ("decoder.middle.0".into(), &parts[4..]),
        ["decoder", "mid_block", "attentions", "0", ..] => ("decoder.middle.1".into(), &parts[4..]),
        ["decoder", "mid_block", "resnets", "1", ..] => ("decoder.middle.2".into(), &parts[4..]),
        ["decoder", "up_blocks", level, "resnets", place, ..] => {
            (in_list(level, place.parse().expect("a place")), &parts[5..])
        }
        ["decoder", "up_blocks", level, "upsamplers", "0", ..] => {
            (in_list(level, res_blocks + 1), &parts[5..])
        }
        ["decoder", "up_blocks", level, "upsampler", ..] => {
            (in_list(level, res_blocks + 1), &parts[4..])
        }
        _ => panic!("no module of {name}"),
    };
    let part = part.join(".");
    let part = match part.split_once('.') {
        Some(("norm1", leaf)) => format!("residual.0.{leaf}"),
        Some(("conv1", leaf)) => format!("residual.2.{leaf}"),
        Some(("norm2", leaf)) => format!("residual.3.{leaf}"),
        Some(("conv2", leaf)) => format!("residual.6.{leaf}"),
        Some(("conv_shortcut", leaf)) => format!("shortcut.{leaf}"),
        _ => part,
    };
    format!("{module}.{part}")
}

/// A weight under the name of LTX's own code, which has all blocks in one list: the middle, and of each
/// level what `begins` says, a resnet that changes channels (`conv_in`), an upsampler, or both, and its
/// resnets.
pub fn to_ltx(begins: &[&[&str]], name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    // Blocks before a level's own: the middle, and all of the levels before it.
    let before = |level: &str| {
        let level: usize = level.parse().expect("a level");
        let blocks: usize = begins[..level].iter().map(|blocks| blocks.len() + 1).sum();
        (level, 1 + blocks)
    };
    match parts[..] {
        ["decoder", "mid_block", "resnets", ref part @ ..] => {
            format!("decoder.up_blocks.0.res_blocks.{}", part.join("."))
        }
        ["decoder", "up_blocks", level, "resnets", ref part @ ..] => {
            let (level, place) = before(level);
            let place = place + begins[level].len();
            format!("decoder.up_blocks.{place}.res_blocks.{}", part.join("."))
        }
        ["decoder", "up_blocks", level, block, ref part @ ..] => {
            let (level, place) = before(level);
            let at = begins[level].iter().position(|&begins| begins == block).expect("a block");
            let part = if block == "upsamplers" { &part[1..] } else { part };
            let part = part.join(".");
            // Norms of shortcuts lie in a module of their own.
            let part = part.replace("norm3.", "norm3.norm.");
            format!("decoder.up_blocks.{}.{part}", place + at)
        }
        ["latents_mean"] => "per_channel_statistics.mean-of-means".into(),
        ["latents_std"] => "per_channel_statistics.std-of-means".into(),
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names from the checkpoint of SD 1.5 (four levels).
    #[test]
    fn known_names() {
        for (diffusers, ldm) in [
            ("post_quant_conv.bias", "post_quant_conv.bias"),
            ("decoder.conv_in.weight", "decoder.conv_in.weight"),
            ("decoder.conv_norm_out.weight", "decoder.norm_out.weight"),
            ("decoder.mid_block.resnets.1.norm2.bias", "decoder.mid.block_2.norm2.bias"),
            (
                "decoder.mid_block.attentions.0.to_out.0.weight",
                "decoder.mid.attn_1.proj_out.weight",
            ),
            ("decoder.up_blocks.0.resnets.2.conv1.weight", "decoder.up.3.block.2.conv1.weight"),
            ("decoder.up_blocks.2.upsamplers.0.conv.bias", "decoder.up.1.upsample.conv.bias"),
            (
                "decoder.up_blocks.3.resnets.0.conv_shortcut.weight",
                "decoder.up.0.block.0.nin_shortcut.weight",
            ),
        ] {
            let tensor = RawTensor::f32(&[1], &[0.0]);
            let (name, _) = to_ldm("first_stage_model.", 4, diffusers, tensor);
            assert_eq!(name, format!("first_stage_model.{ldm}"));
        }
    }
}
