//! What decoders of images with group norms are made of, whatever their levels are.

use crate::program::{ProgramBuilder, ProgramError, ValueId};

/// Of every group norm in these families; torch's default is another.
pub(super) const EPS: f32 = 1e-6;

/// norm, SiLU, conv, norm, SiLU, conv, plus the input, through a conv 1x1 where channels change.
pub(super) fn resnet(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
    channels: u32,
    groups: u32,
) -> Result<ValueId, ProgramError> {
    let mut h = input;
    let mut skip = input;
    for half in 1..=2 {
        h = builder.group_norm(&format!("{name}.norm{half}"), h, groups, EPS)?;
        h = builder.silu(&format!("{name}.act{half}"), h)?;
        h = builder.conv(&format!("{name}.conv{half}"), h, channels, 3)?;
        // The shortcut runs between the two convs: the input dies there, before the second conv
        // needs its workspace, and that conv adds into the shortcut's memory.
        if half == 1 && builder.channels(input) != channels {
            skip = builder.conv(&format!("{name}.conv_shortcut"), input, channels, 1)?;
        }
    }
    builder.add(name, h, skip)
}

/// What a class calls the parts of its attention, and how it keeps the projections.
#[derive(Clone, Copy)]
pub(super) struct AttentionParts {
    pub(super) norm: &'static str,
    /// The projection behind the attention.
    pub(super) out: &'static str,
    /// Whether projections are convs 1x1, else matrices.
    pub(super) of_convs: bool,
}

/// Single-head attention over all positions, with a norm before and a residual around.
pub(super) fn attention(
    builder: &mut ProgramBuilder,
    name: &str,
    input: ValueId,
    groups: u32,
    parts: AttentionParts,
) -> Result<ValueId, ProgramError> {
    let channels = builder.channels(input);
    let project = |builder: &mut ProgramBuilder, part: &str, input| {
        let name = format!("{name}.{part}");
        match parts.of_convs {
            true => builder.conv(&name, input, channels, 1),
            false => builder.linear(&name, input, channels),
        }
    };
    let normed = builder.group_norm(&format!("{name}.{}", parts.norm), input, groups, EPS)?;
    let q = project(builder, "to_q", normed)?;
    let k = project(builder, "to_k", normed)?;
    let v = project(builder, "to_v", normed)?;
    let mixed = builder.attention(&format!("{name}.attention"), [q, k, v])?;
    let out = project(builder, parts.out, mixed)?;
    builder.add(name, out, input)
}
