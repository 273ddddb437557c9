//! Norms: statistics, factors, and their application apart from a conv.

use halovae_engine::backend::{Operand, Operands};
use halovae_engine::program::{Norm, NormOver};
use halovae_engine::tensor::Shape;

use super::CpuBackend;
use super::store::Value;
use super::weights::CpuWeights;
use crate::channel_norm::{Divisor, layer_norm, position_factors};
use crate::elementwise;
use crate::error::KernelError;
use crate::norm::{self, Moments};
use crate::prologue::Prologue;

/// What a norm multiplies with, besides its parameters.
pub(super) enum Factors {
    None,
    /// Factors and summands by sample and channel.
    OfSamples(Vec<f32>, Vec<f32>),
    /// Factors by position, `[1, frames, positions, 1, 1]`.
    OfPositions(Value),
}

/// A norm, where its parameters are, and its factors' frames.
pub(super) struct Normed<'a> {
    pub(super) norm: &'a Norm,
    pub(super) weights: &'a CpuWeights,
    pub(super) of_frames: &'a [&'a [f32]],
}

impl Factors {
    /// Factors by position, frame by frame; none if there are no such factors.
    pub(super) fn of_frames(&self) -> Vec<&[f32]> {
        match self {
            Self::OfPositions(value) => value.frames(),
            Self::None | Self::OfSamples(..) => Vec::new(),
        }
    }

    /// What a kernel does to the values that it reads.
    pub(super) fn prologue<'a>(&'a self, normed: &Normed<'a>) -> Prologue<'a> {
        let Normed { norm, weights, of_frames } = *normed;
        match (self, norm.silu) {
            (Self::None, _) => Prologue::None,
            (Self::OfSamples(scale, shift), true) => Prologue::AffineSilu { scale, shift },
            (Self::OfSamples(scale, shift), false) => Prologue::Affine { scale, shift },
            (Self::OfPositions(_), silu) => {
                let [gamma, _] = norm.parameters();
                let gamma = gamma.map(|id| weights.vector(id));
                Prologue::Positions { factors: of_frames, gamma, silu }
            }
        }
    }
}

impl CpuBackend {
    /// The factors of a norm on frames of so many channels.
    pub(super) fn factors(
        &self,
        norm: &Norm,
        weights: &CpuWeights,
        stats: Option<&Value>,
        (frames, channels): (&[&[f32]], usize),
    ) -> Result<Factors, KernelError> {
        match norm.over {
            NormOver::Groups { gamma, beta, eps, .. } => {
                let stats = stats.expect("a group norm reads statistics");
                let moments: Vec<Moments> = stats
                    .data()
                    .chunks_exact(2)
                    .map(|pair| Moments { count: 1.0, mean: pair[0].into(), m2: pair[1].into() })
                    .collect();
                let [gamma, beta] = [gamma, beta].map(|id| weights.vector(id));
                let groups = stats.shape().height;
                let (scale, shift) = norm::affine(&moments, groups, gamma, beta, eps.into())?;
                Ok(Factors::OfSamples(scale, shift))
            }
            NormOver::Channels { eps, floor, .. } => {
                let divisor = Divisor { eps, floor };
                self.position_factors(frames, channels, divisor).map(Factors::OfPositions)
            }
            NormOver::Layer { .. } => unreachable!("a layer norm is an op of its own"),
        }
    }

    /// Factors of the positions of frames for a norm over channels, `[1, frames, positions, 1, 1]`.
    pub(super) fn position_factors(
        &self,
        frames: &[&[f32]],
        channels: usize,
        divisor: Divisor,
    ) -> Result<Value, KernelError> {
        let positions = frames.first().map_or(0, |frame| frame.len() / channels);
        let mut out = self.store.value(Shape::new(1, positions, 1, 1).over(frames.len()))?;
        position_factors(self.level, &self.pool, frames, channels, divisor, out.uninit())?;
        Ok(out)
    }

    pub(super) fn stats(&self, input: &Value, groups: usize) -> Result<Value, KernelError> {
        let shape = input.shape();
        let bytes = norm::workspace_bytes(shape.channels, self.threads());
        let positions = shape.frames * shape.height * shape.width;
        let sizes = [shape.batch, positions, shape.channels];
        let moments = self.store.with_workspace(bytes, |ws| {
            norm::group_moments(self.level, &self.pool, ws, input.data(), sizes, groups)
        })?;
        let mut out = self.store.value(Shape::new(shape.batch, groups, 1, 2))?;
        for (pair, m) in out.uninit().chunks_exact_mut(2).zip(&moments) {
            pair[0].write(m.mean as f32);
            pair[1].write(m.variance() as f32);
        }
        Ok(out)
    }

    pub(super) fn norm(
        &self,
        norm: &Norm,
        weights: &CpuWeights,
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, KernelError> {
        if let NormOver::Layer { gamma, beta, eps } = norm.over {
            let mut out = self.store.value(operands.get(0).shape())?;
            let parameters = [gamma, beta].map(|id| weights.vector(id));
            layer_norm(&self.pool, operands.get(0).data(), parameters, eps, out.uninit())?;
            return match norm.silu {
                true => {
                    let mut operands = Operands::new([Operand::Owned(out)]);
                    self.map(Prologue::Silu, &mut operands)
                }
                false => Ok(out),
            };
        }
        let input = operands.get(0);
        let frames = (&input.frames()[..], input.shape().channels);
        let factors = self.factors(norm, weights, operands.try_get(1), frames)?;
        let of_frames = factors.of_frames();
        let prologue = factors.prologue(&Normed { norm, weights, of_frames: &of_frames });
        self.map(prologue, operands)
    }

    /// An activation, or a norm whose factors are known.
    pub(super) fn map(
        &self,
        prologue: Prologue,
        operands: &mut Operands<'_, Value>,
    ) -> Result<Value, KernelError> {
        let sizes = |s: Shape| [s.images(), s.height * s.width, s.channels];
        if let Some(mut value) = operands.take_owned(0) {
            let sizes = sizes(value.shape());
            elementwise::apply_in_place(self.level, &self.pool, value.data_mut(), sizes, prologue)?;
            return Ok(value);
        }
        let input = operands.get(0);
        let mut out = self.store.value(input.shape())?;
        let sizes = sizes(input.shape());
        elementwise::apply(self.level, &self.pool, input.data(), sizes, prologue, out.uninit())?;
        Ok(out)
    }
}
