//! Fuses plain ops into the convs that read or follow them, as far as a backend takes it.

use super::{Conv, FrameRepeat, Op, Program, ValueId};

/// Rewrites a program of plain ops with fused ones.
///
/// A norm (with its SiLU) and a nearest upsample move into the only conv that reads them, and an
/// add moves into the conv whose result it takes. `accepts` is asked for each fused op; a fusion
/// that it declines stays plain. Values that no op writes any more are left out of the ops, not of
/// [`Program::values`], so ids stay valid.
pub fn fuse(program: &Program, accepts: impl Fn(&Program, &Op) -> bool) -> Program {
    let mut fused = program.clone();
    fused.ops = merge_silu(&fused);
    let accepts = |op: &Op| accepts(program, op);
    fused.ops = fold_into_readers(&fused, &accepts);
    fused.ops = fold_adds(&fused, &accepts);
    fused
}

fn readers(program: &Program, id: ValueId) -> usize {
    program.ops.iter().flat_map(Op::inputs).filter(|&read| read == id).count()
        + usize::from(program.output == id)
}

fn writer(ops: &[Op], id: ValueId) -> Option<usize> {
    ops.iter().position(|op| op.output() == id)
}

/// A SiLU that alone reads a norm becomes part of it; every backend's norm knows SiLU.
fn merge_silu(program: &Program) -> Vec<Op> {
    let mut ops: Vec<Option<Op>> = program.ops.iter().copied().map(Some).collect();
    for (index, op) in program.ops.iter().enumerate() {
        let Op::Silu { input, output } = *op else { continue };
        let Some(at) = writer(&program.ops, input) else { continue };
        if let Op::NormApply { input: source, norm, .. } = program.ops[at]
            && !norm.silu
            && readers(program, input) == 1
        {
            ops[at] = None;
            let norm = super::Norm { silu: true, ..norm };
            ops[index] = Some(Op::NormApply { input: source, output, norm });
        }
    }
    ops.into_iter().flatten().collect()
}

/// Norms and upsamples move into the conv that alone reads them.
fn fold_into_readers(program: &Program, accepts: &impl Fn(&Op) -> bool) -> Vec<Op> {
    let mut ops = program.ops.clone();
    let mut index = 0;
    while index < ops.len() {
        let Op::Conv(conv) = ops[index] else {
            index += 1;
            continue;
        };
        let folded = writer(&ops, conv.input)
            .filter(|_| readers(program, conv.input) == 1)
            .and_then(|at| Some((at, fold_prologue(conv, &ops[at])?)))
            .filter(|(_, folded)| accepts(folded));
        match folded {
            Some((at, folded)) => {
                ops[index] = folded;
                ops.remove(at);
                index -= 1;
            }
            None => index += 1,
        }
    }
    ops
}

/// `conv` with its input's writer taken in, if that is a norm or an upsample.
fn fold_prologue(conv: Conv, writer: &Op) -> Option<Op> {
    match *writer {
        // The norm comes before the upsample in a fused conv, so it only folds in on its inside.
        Op::NormApply { input, norm, .. } if conv.norm.is_none() => {
            Some(Op::Conv(Conv { input, norm: Some(norm), ..conv }))
        }
        Op::Upsample { input, factor, frames: FrameRepeat::NONE, .. } if conv.norm.is_none() => {
            let mut windows = conv.windows;
            windows.height.repeat *= factor;
            windows.width.repeat *= factor;
            Some(Op::Conv(Conv { input, windows, ..conv }))
        }
        _ => None,
    }
}

/// An add moves into the later of the convs whose results it takes.
fn fold_adds(program: &Program, accepts: &impl Fn(&Op) -> bool) -> Vec<Op> {
    let mut ops = program.ops.clone();
    let mut index = 0;
    while index < ops.len() {
        if let Op::Add { a, b, output } = ops[index]
            && a != b
        {
            let mut candidates: Vec<(usize, Op)> = [(a, b), (b, a)]
                .into_iter()
                .filter(|&(sum, _)| readers(program, sum) == 1)
                .filter_map(|(sum, residual)| {
                    let at = writer(&ops, sum)?;
                    let Op::Conv(conv) = ops[at] else { return None };
                    let ready = writer(&ops, residual).is_none_or(|other| other < at);
                    (conv.residual.is_none() && ready).then_some((
                        at,
                        Op::Conv(Conv { output, residual: Some(residual), ..conv }),
                    ))
                })
                .filter(|(_, folded)| accepts(folded))
                .collect();
            candidates.sort_by_key(|&(at, _)| at);
            if let Some((at, folded)) = candidates.pop() {
                ops[at] = folded;
                ops.remove(index);
                continue;
            }
        }
        index += 1;
    }
    ops
}
