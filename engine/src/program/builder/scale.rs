//! How cells of what is computed lie on those of the latents.

use halovae_core::{Axes, Scale, TimeLaw, TimeScale, Window};

use super::{LARGEST_EXTENT, ProgramBuilder, check_frames};
use crate::program::{ProgramError, ValueId};

impl ProgramBuilder {
    /// How the cells of what is computed through windows lie on those of the latents.
    pub(super) fn scale_through(
        &self,
        op: &str,
        input: ValueId,
        windows: &Axes<Window>,
    ) -> Result<Scale, ProgramError> {
        let (_, scale) = self.read_features(op, input)?;
        let through = |of: u32, window: &Window| {
            let repeated = of.saturating_mul(window.repeat);
            let is_whole = window.stride > 0 && repeated.is_multiple_of(window.stride);
            is_whole
                .then(|| repeated / window.stride)
                .filter(|of| (1..=LARGEST_EXTENT).contains(of))
        };
        let impossible = |what: String| ProgramError::Impossible { op: op.into(), what };
        let space = through(scale.space, &windows.height)
            .filter(|&space| Some(space) == through(scale.space, &windows.width))
            .ok_or_else(|| {
                let (height, width) = (windows.height, windows.width);
                impossible(format!(
                    "rows and columns are to be scaled alike and by whole numbers, to no more than \
                     {LARGEST_EXTENT}, and of {} per latent cell they are repeated {} and {} times \
                     and strided by {} and {}",
                    scale.space, height.repeat, width.repeat, height.stride, width.stride
                ))
            })?;
        // The law is that which the numbers of frames follow.
        let laws = [scale.time.law, TimeLaw::Even, TimeLaw::FirstAlone, TimeLaw::AfterFirst];
        let time = through(scale.time.factor, &windows.time).and_then(|factor| {
            laws.into_iter().map(|law| TimeScale { factor, law }).find(|time| {
                (1..=8).all(|latents| {
                    let frames = scale.time.at(latents).unwrap_or(u32::MAX);
                    let outputs = windows.time.outputs(frames.into());
                    time.at(latents).is_some_and(|frames| outputs == u64::from(frames))
                })
            })
        });
        let time = time.ok_or_else(|| {
            impossible("its frames do not keep in proportion to those of the latents".into())
        })?;
        check_frames(op, time.factor)?;
        Ok(Scale { time, space })
    }
}
