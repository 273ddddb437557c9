//! What an adapter can do at most, for benchmarks.

use std::time::Instant;

use halovae_engine::backend::{Backend, BackendError};

use crate::device::WgpuDevice;
use crate::kernels::{GROUP, Shader};
use crate::record::Dispatch;
use crate::template::names;

/// Operations of one turn of an invocation: 32 steps of three fours, two each.
const TURN_FLOPS: u64 = 32 * 3 * 4 * 2;

impl WgpuDevice {
    /// Multiplications and additions of a kernel that does nothing else, and the seconds that it
    /// took by `clock` (which may count something else than time passed).
    ///
    /// # Errors
    /// What the device says.
    pub fn measure_peak(&self, clock: impl Fn() -> f64) -> Result<(f64, f64), BackendError> {
        let backend = self.backend();
        let groups = 1024u32;
        let out = backend.block("peak", u64::from(groups * GROUP) * 16)?;
        let run = |turns: u32| {
            backend.dispatch(&Dispatch {
                shader: Shader::Peak,
                names: names([]),
                buffers: &[&out],
                immediates: &[turns, 0.999f32.to_bits(), 1e-9f32.to_bits()],
                groups: [groups, 1, 1],
                work: 0,
            })?;
            backend.synchronize()
        };
        run(1)?;
        let mut turns = 16;
        loop {
            let (start, before) = (Instant::now(), clock());
            run(turns)?;
            // Long enough to measure, short enough to be repeated.
            if start.elapsed().as_secs_f64() > 0.05 || turns > 1 << 20 {
                let flops = u64::from(groups * GROUP) * u64::from(turns) * TURN_FLOPS;
                return Ok((flops as f64, clock() - before));
            }
            turns *= 4;
        }
    }
}
