//! Folds a program for latents of a single frame: a conv over time then reads one frame and padding,
//! and is a conv over rows and columns.

use super::{Edge, FrameRepeat, Op, Program, Timeline, ValueId, WeightPart, taps};
use halovae_core::Window;

/// The same program for latents of one frame.
///
/// Of a conv over time the taps that meet zeros are left out, and those that meet copies of the frame
/// are summed; what is computed of later frames alone is left out. The result decodes single frames
/// only ([`Program::is_of_one_frame`]). Ids of values and weights stay valid.
pub fn fold_single_frame(program: &Program) -> Program {
    let timeline = Timeline::new(program, 1);
    let mut folded = program.clone();
    folded.one_frame = true;
    // What stands in the place of a value that nothing writes any more.
    let mut stands_for: Vec<ValueId> = (0..program.values.len() as u32).map(ValueId).collect();
    folded.ops.clear();
    for op in &program.ops {
        if timeline.total(op.output()) == 0 {
            continue;
        }
        let mut op = *op;
        op.replace_inputs(|id| stands_for[id.index()]);
        match op {
            Op::Join { first, rest, output, .. } if timeline.total(rest) == 0 => {
                stands_for[output.index()] = first;
                continue;
            }
            Op::Upsample { ref mut frames, output, .. } if timeline.total(output) == 1 => {
                *frames = FrameRepeat::NONE;
            }
            Op::Shuffle(ref mut shuffle) if timeline.total(shuffle.output) == 1 => {
                *shuffle = shuffle.of_one_frame();
            }
            Op::Conv(ref mut conv)
                if timeline.total(conv.input) == 1 && timeline.total(conv.output) == 1 =>
            {
                let taps = taps(&conv.windows.time, conv.edges.time, 1, &(0..1), &(0..1));
                let spec = &mut folded.weights[conv.weight.index()];
                let reading = |tap: &Option<usize>| tap.is_some();
                if let (Some(from), Some(last)) =
                    (taps.iter().position(reading), taps.iter().rposition(reading))
                    && conv.windows.time != Window::POINT
                    && spec.part == WeightPart::Whole
                {
                    spec.part = WeightPart::Taps { from, to: last + 1 };
                    conv.windows.time = Window::POINT;
                    conv.edges.time = Edge::Zeros;
                }
            }
            _ => {}
        }
        folded.ops.push(op);
    }
    folded.output = stands_for[program.output.index()];
    folded
}
