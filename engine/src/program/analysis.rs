//! What can be known of a program without running it: receptive field, work, memory.

use halovae_core::Size;

use super::{Geometry, MemoryModel, Op, Program, Reads, peak_bytes};

/// How far a pixel of the picture looks into the latents through convs and upsamples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// The largest distance, in latent cells, from a pixel's own cell to one that it reads.
    pub radius: u32,
    /// How many frames of the latents before a frame's own it reads, and how many behind: of frames
    /// that lie far from the video's ends.
    pub frames: [u32; 2],
    /// Whether the program also has ops that read everything (norm statistics, attention), so
    /// that even a halo of that radius is not exact.
    pub has_global_ops: bool,
}

/// Figures of a program at a size.
#[derive(Clone, Copy, Debug)]
pub struct Analysis {
    /// Multiplications and additions of convs and attention.
    pub flops: u128,
    /// Those of attention alone.
    pub attention_flops: u128,
    /// Bytes of values and workspace at the worst moment, weights not counted.
    pub peak_live_bytes: u64,
    /// Bytes of the prepared weights.
    pub weight_bytes: u64,
}

impl Analysis {
    /// Figures for one sample of `latents` cells on a backend with that memory model, at most `chunk`
    /// frames of them at a time.
    pub fn new(program: &Program, latents: Size, chunk: u32, model: &dyn MemoryModel) -> Self {
        let geometry = Geometry::new(program, 1, latents);
        let sum = |counts: fn(&Op) -> bool| {
            let counted = program.ops.iter().filter(|op| counts(op));
            counted.fold(0u128, |sum, op| sum.saturating_add(geometry.flops(op)))
        };
        Self {
            flops: sum(|_| true),
            attention_flops: sum(|op| matches!(op, Op::Attention { .. })),
            peak_live_bytes: peak_bytes(program, latents, chunk, model),
            weight_bytes: model.prepared_weight_bytes(program),
        }
    }
}

impl ReceptiveField {
    /// Walks back from each phase of a pixel within its cell, and from all frames of one of the
    /// latents', exactly, over all paths.
    pub fn new(program: &Program) -> Self {
        let scale = i64::from(program.scale());
        let radius = (0..scale)
            .map(|phase| {
                let read = input_interval(program, Along::Frame, (phase, phase));
                let (low, high) = read.unwrap_or((0, 0));
                low.unsigned_abs().max(high.unsigned_abs())
            })
            .max()
            .unwrap_or(0);
        let (_, layer) = program.features(program.output);
        let [first, behind] = [FAR, FAR + 1].map(|latent| layer.time.at(latent).unwrap_or(0));
        let of_latent = (i64::from(first), i64::from(behind) - 1);
        let far = i64::from(FAR);
        let (low, high) = input_interval(program, Along::Time, of_latent).unwrap_or((far, far));
        let count = |frames: i64| u32::try_from(frames.max(0)).unwrap_or(u32::MAX);
        Self {
            radius: u32::try_from(radius).unwrap_or(u32::MAX),
            frames: [count(far - low), count(high - far)],
            has_global_ops: program.ops.iter().any(Op::is_global),
        }
    }
}

/// A frame of the latents with more before it than any decoder looks back to.
const FAR: u32 = 1 << 16;

/// What is followed through a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Along {
    /// Rows and columns, which are alike in every decoder; the wider window counts.
    Frame,
    /// Frames far from the first.
    Time,
}

/// The first and the last of the latents' cells, or frames, that those of the output between the first
/// and the last of `outputs` read through local ops; `None` if they read none.
fn input_interval(program: &Program, along: Along, outputs: (i64, i64)) -> Option<(i64, i64)> {
    let mut reads: Vec<Option<(i64, i64)>> = vec![None; program.values.len()];
    reads[program.output.index()] = Some(outputs);
    let widen = |slot: &mut Option<(i64, i64)>, (low, high): (i64, i64)| {
        *slot = Some(slot.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
    };
    for op in program.ops.iter().rev() {
        let Some((low, high)) = reads[op.output().index()] else { continue };
        for (id, how) in op.reads() {
            match how {
                Reads::Cells(all) => {
                    let windows = match along {
                        Along::Frame => [all.height, all.width],
                        Along::Time => [all.time; 2],
                    };
                    for window in windows {
                        let last = window.first(high) + i64::from(window.kernel) - 1;
                        let interval = (window.cell(window.first(low)), window.cell(last));
                        widen(&mut reads[id.index()], interval);
                    }
                }
                Reads::Frame => widen(&mut reads[id.index()], (low, high)),
                // A frame's cells read those at their own places.
                Reads::FirstFrame if along == Along::Frame => {
                    widen(&mut reads[id.index()], (low, high));
                }
                Reads::FirstFrame | Reads::All | Reads::Statistics => {}
            }
        }
    }
    reads[program.input.index()]
}
