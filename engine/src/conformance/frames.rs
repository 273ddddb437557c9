//! What a backend that holds frames must do with them: copies of frames, and convs over time on a part
//! of each frame with a halo around it.

use halovae_core::{Axes, Margins, Region, Window};

use super::case::{assert_close, random_tensor};
use super::over_time::run_at_once;
use super::{Make, Random, Reference};
use crate::backend::{Backend, BackendError, FrameReads, Halo, Operand, Operands, Surroundings};
use crate::program::{Edge, ProgramBuilder, fuse, taps};
use crate::tensor::{HostTensor, Shape};

fn crop(tensor: &HostTensor, region: Region) -> HostTensor {
    tensor.crop(0, region).expect("a part of a small tensor")
}

/// Frames of several tensors, one behind the other in one tensor; a backend without frames refuses.
pub fn frames_are_gathered<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 0..20 {
        let mut random = Random::new(7000 + seed);
        let channels = random.choice(&[1, 7, 16, 33]);
        let [height, width] = [(); 2].map(|()| random.integer(1, 9) as usize);
        let frame = Shape::new(1, height, width, channels);
        let mut expected = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..random.integer(1, 4) {
            let frames = random.integer(1, 5) as usize;
            let tensor = rounding.tensor(random_tensor(&mut random, frame.over(frames)));
            let first = random.integer(0, frames as u32 - 1) as usize;
            let end = random.integer(first as u32 + 1, frames as u32) as usize;
            expected.extend_from_slice(
                &tensor.data()[first * frame.frame_len()..end * frame.frame_len()],
            );
            parts.push((tensor, first..end));
        }
        if !backend.holds_frames() {
            let one = backend.upload(&random_tensor(&mut random, frame)).expect("upload");
            let refused = backend.gather(&[(&one, 0..1)]).err();
            assert!(matches!(refused, Some(BackendError::Unsupported { .. })), "{refused:?}");
            return;
        }
        let upload = |(tensor, range)| (backend.upload(&tensor).expect("upload"), range);
        let parts: Vec<_> = parts.into_iter().map(upload).collect();
        let lent: Vec<_> = parts.iter().map(|(tensor, range)| (tensor, range.clone())).collect();
        let gathered = backend.gather(&lent).expect("a copy");
        let shape = backend.shape(&gathered);
        assert_eq!(shape, frame.over(expected.len() / frame.frame_len()), "seed {seed}");
        let got = backend.download(&gathered, shape.size().at_origin()).expect("download");
        assert!(got.data() == expected, "seed {seed}: a copy is exact");
    }
}

/// A conv over time on a part of each frame, whose halo comes late, gives what it gives on whole frames
/// there. Its frames lie in two tensors, and the strips have all of them.
pub fn convs_over_time_within_halos<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    if !backend.holds_frames() {
        return;
    }
    for seed in 0..40 {
        let mut random = Random::new(7100 + seed);
        let channels = random.choice(&[1, 5, 16, 34]);
        let time = random.choice(&[Window::causal(3), Window::centred(3), Window::causal(2)]);
        let sides = Window::centred(3);
        let edges = Axes { time: random.choice(&[Edge::Zeros, Edge::Repeat]), ..Axes::default() };
        let mut builder = ProgramBuilder::new(channels).expect("a few channels");
        let mut x = builder.latents();
        if random.coin() {
            x = match random.coin() {
                true => builder.channel_norm("norm", x, 1e-12, 3).expect("a norm"),
                false => builder.rms_norm("norm", x, 1e-8).expect("a norm"),
            };
            x = builder.silu("silu", x).expect("an activation");
        }
        let out = random.choice(&[3, 16, 20]);
        let windows = Axes::new(time, sides, sides);
        x = builder.conv_over_time("conv", x, out, windows, edges).expect("a conv");
        let plain = builder.finish(x).expect("a feature map");
        let program = fuse(&plain, |program, op| backend.supports(program, op));
        // What was not fused is not what is tested here.
        let [op] = program.ops() else { continue };

        let extent = |random: &mut Random| 2 + random.integer(2, 14);
        let [frames, height, width] =
            [random.integer(2, 5), extent(&mut random), extent(&mut random)];
        let shape = Shape::new(1, height as usize, width as usize, channels as usize);
        let input = rounding.tensor(random_tensor(&mut random, shape.over(frames as usize)));
        let source = rounding.weights(seed);
        let weights = Reference.prepare(&plain, &source).expect("random weights");
        let whole = run_at_once(&Reference, &plain, &weights, &input);

        let mut axis = |extent: u32| {
            let first = if random.coin() { 0 } else { random.integer(1, extent - 2) };
            let end = if random.coin() { extent } else { random.integer(first + 1, extent - 1) };
            let margins = [u32::from(first > 0), u32::from(end < extent)];
            ([first, end - first], margins)
        };
        let ([top, rows], [above, below]) = axis(height);
        let ([left, columns], [before, behind]) = axis(width);
        let all = |top, left, rows, columns| Region::new(top, left, rows, columns).over(0, frames);
        let strip = |region: Region| {
            let strip = (!region.is_empty()).then(|| crop(&input, region));
            strip.map(|strip| backend.upload(&strip).expect("upload"))
        };
        let wide = before + columns + behind;
        let mut fetched = 0;
        let mut fetch = || {
            fetched += 1;
            Ok(Halo {
                top: strip(all(top - above, left - before, above, wide)),
                bottom: strip(all(top + rows, left - before, below, wide)),
                left: strip(all(top, left - before, rows, before)),
                right: strip(all(top, left + columns, rows, behind)),
                ..Halo::default()
            })
        };

        let part = all(top, left, rows, columns);
        let split = random.integer(1, frames - 1);
        let parts = [part.over(0, split), part.over(split, frames - split)];
        let parts = parts.map(|part| backend.upload(&crop(&input, part)).expect("upload"));
        let lent = parts.iter().map(|part| (part, 0..backend.shape(part).frames)).collect();
        let range = 0..u64::from(frames);
        let taps = taps(&time, edges.time, range.end, &range, &range);
        let reads = FrameReads::new(lent, time.kernel as usize, taps);
        let margins = Margins::of_frame([above, below, before, behind]);
        let operands = Operands::of_slots([None::<Operand<'_, B::Tensor>>]).over_time(Some(reads));
        let operands = match margins.is_none() {
            true => operands,
            false => operands.within(Surroundings { margins, fetch: &mut fetch }),
        };
        let weights = backend.prepare(&program, &source).expect("random weights");
        let output = backend.run(&program, op, &weights, operands).expect("a conv");
        let got = backend.download(&output, backend.shape(&output).size().at_origin());
        assert_eq!(fetched, u32::from(!margins.is_none()), "the halo is fetched once");
        let what = format!("seed {seed}, part {part:?}, {op:?}");
        assert_close(&what, &got.expect("download"), &crop(&whole, part), rounding.op);
    }
}
