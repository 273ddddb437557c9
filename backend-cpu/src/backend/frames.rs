//! Ops that add, cut off, repeat, join and shuffle.

use std::ops::Range;

use halovae_engine::backend::Operands;
use halovae_engine::program::{FrameRepeat, Shuffle};
use halovae_engine::tensor::Shape;

use super::CpuBackend;
use super::store::{Value, frames_of};
use crate::buffer::write_copy;
use crate::error::KernelError;
use crate::{elementwise, frames};

impl CpuBackend {
    pub(super) fn add(&self, operands: &mut Operands<'_, Value>) -> Result<Value, KernelError> {
        for (at, other) in [(0, 1), (1, 0)] {
            if let Some(mut sum) = operands.take_owned(at) {
                let other = operands.get(other).data();
                elementwise::add_assign(self.level, &self.pool, sum.data_mut(), other)?;
                return Ok(sum);
            }
        }
        let [a, b] = [operands.get(0), operands.get(1)];
        let mut out = self.store.value(a.shape())?;
        elementwise::sum(self.level, &self.pool, a.data(), b.data(), out.uninit())?;
        Ok(out)
    }

    pub(super) fn clamp(
        &self,
        bounds: [f32; 2],
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, KernelError> {
        let mut value = match operands.take_owned(0) {
            Some(value) => value,
            None => {
                let input = operands.get(0);
                let mut copy = self.store.value(input.shape())?;
                write_copy(copy.uninit(), input.data());
                copy
            }
        };
        elementwise::clamp(self.level, &self.pool, value.data_mut(), bounds)?;
        Ok(value)
    }

    pub(super) fn upsample(
        &self,
        factor: usize,
        repeat: FrameRepeat,
        operands: &Operands<'_, Value>,
    ) -> Result<Value, KernelError> {
        let scaled = |s: Shape| Shape {
            height: s.height.saturating_mul(factor),
            width: s.width.saturating_mul(factor),
            ..s
        };
        if repeat == FrameRepeat::NONE {
            let input = operands.get(0);
            let s = input.shape();
            let mut out = self.store.value(scaled(s))?;
            let sizes = [s.images(), s.height, s.width, s.channels];
            frames::upsample(&self.pool, input.data(), sizes, [factor; 2], out.uninit())?;
            return Ok(out);
        }
        let reads = operands.frames();
        let (s, read) = frames_of(reads.parts());
        let mut out = self.store.value(scaled(s).over(reads.outputs()))?;
        let len = scaled(s).frame_len().max(1);
        let sizes = [1, s.height, s.width, s.channels];
        for (to, tap) in out.uninit().chunks_exact_mut(len).zip(reads.taps()) {
            let from = read[tap.expect("repeats of frames read frames")];
            frames::upsample(&self.pool, from, sizes, [factor; 2], to)?;
        }
        Ok(out)
    }

    pub(super) fn shuffle(
        &self,
        shuffle: &Shuffle,
        operands: &Operands<'_, Value>,
    ) -> Result<Value, KernelError> {
        let (s, read) = match shuffle.frames == FrameRepeat::NONE {
            true => (operands.get(0).shape(), operands.get(0).frames()),
            false => frames_of(operands.frames().parts()),
        };
        let which: Vec<usize> = match shuffle.frames == FrameRepeat::NONE {
            true => (0..read.len()).collect(),
            false => {
                let taps = operands.frames().taps().iter();
                taps.map(|tap| tap.expect("frames lie in frames")).collect()
            }
        };
        let space = shuffle.space as usize;
        let block = Shape {
            height: s.height.saturating_mul(space),
            width: s.width.saturating_mul(space),
            channels: shuffle.channels as usize,
            ..s
        };
        let shape = match shuffle.frames == FrameRepeat::NONE {
            true => block,
            false => block.over(which.len()),
        };
        let mut out = self.store.value(shape)?;
        let len = block.frame_len().max(1);
        let sizes = [s.height, s.width, s.channels];
        let of_blocks = shuffle.frames_in_blocks(&which);
        let frames = which.into_iter().zip(of_blocks);
        for (to, (from, frame)) in out.uninit().chunks_exact_mut(len).zip(frames) {
            let channels = |row: usize, column: usize| {
                shuffle.channels_at([frame, row as u32, column as u32]).collect()
            };
            frames::shuffle(&self.pool, read[from], sizes, space, channels, to)?;
        }
        Ok(out)
    }

    pub(super) fn join(
        &self,
        factor: usize,
        operands: &Operands<'_, Value>,
    ) -> Result<Value, KernelError> {
        let (rest, first) = (operands.try_get(0), operands.try_get(1));
        let of_rest = rest.map(|rest| {
            let s = rest.shape();
            Shape { channels: s.channels / factor, ..s }
        });
        let shape = first.map(Value::shape).or(of_rest).unwrap_or(Shape::new(1, 0, 0, 0));
        let [first, rest] = [first, rest].map(|frames| frames.map_or_else(Vec::new, Value::frames));
        let count = first.len() + factor * rest.len();
        let mut out = self.store.value(shape.over(count))?;
        let sizes = [shape.height * shape.width, shape.channels];
        frames::join_frames(&self.pool, &first, &rest, factor, sizes, out.uninit())?;
        Ok(out)
    }

    /// Copies frames of one sample into one value.
    pub(super) fn copy_frames(
        &self,
        parts: &[(&Value, Range<usize>)],
    ) -> Result<Value, KernelError> {
        let (shape, frames) = frames_of(parts);
        let mut out = self.store.value(shape.over(frames.len()))?;
        let mut to = out.uninit();
        for frame in frames {
            let (here, behind) = to.split_at_mut(frame.len());
            write_copy(here, frame);
            to = behind;
        }
        Ok(out)
    }
}
