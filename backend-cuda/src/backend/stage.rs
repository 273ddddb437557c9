//! Staging: bringing a window of a conv's input together, with what neighbours hold, zeros where the
//! picture ends, and norm and SiLU applied, so that the product knows nothing of all that.

use halovae_core::Margins;
use halovae_engine::backend::{BackendError, Halo};

use super::CudaBackend;
use super::norm::affine_at;
use crate::kernels::Kernel;
use crate::params::Stage;
use crate::store::Block;
use crate::value::Value;

/// Cells that a thread loads.
const STAGED: u64 = 4;

/// A rectangle of the input, in cells of the part that this rank holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) top: i64,
    pub(super) left: i64,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// What is applied while staging.
#[derive(Debug)]
pub(super) struct Prologue<'a> {
    pub(super) affine: Option<&'a Block>,
    pub(super) silu: bool,
}

impl CudaBackend {
    /// Fills the band with a sample's window: the part, what neighbours hold, else zeros.
    pub(super) fn stage(
        &self,
        prologue: &Prologue<'_>,
        input: &Value,
        sample: usize,
        window: Window,
        halo: Option<&(Margins, Halo<Value>)>,
        band: &Block,
    ) -> Result<(), BackendError> {
        let strip = |of: fn(&Halo<Value>) -> &Option<Value>| {
            let strip = halo.and_then(|(_, halo)| of(halo).as_ref());
            strip.map_or(0, |strip| strip.at(sample * strip.positions()))
        };
        let margins = halo.map_or(Margins::default(), |(margins, _)| *margins);
        let eights = input.eights();
        let stage = Stage {
            part: input.at(sample * input.positions()),
            strip_top: strip(|halo| &halo.top),
            strip_bottom: strip(|halo| &halo.bottom),
            strip_left: strip(|halo| &halo.left),
            strip_right: strip(|halo| &halo.right),
            band: band.pointer(),
            affine: prologue.affine.map_or(0, |affine| affine_at(affine, input, sample)),
            silu: prologue.silu.into(),
            eights,
            height: input.shape.height as u32,
            width: input.shape.width as u32,
            margin_top: margins.top,
            margin_left: margins.left,
            margin_right: margins.right,
            margin_bottom: margins.bottom,
            top: window.top as i32,
            left: window.left as i32,
            rows: window.height as u32,
            columns: window.width as u32,
        };
        let cells = window.height as u64 * window.width as u64;
        self.store.over(Kernel::Stage, &stage, cells.div_ceil(STAGED) * u64::from(eights))
    }
}
