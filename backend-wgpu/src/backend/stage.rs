//! Staging: bringing a window of a conv's input together, with what neighbours hold, zeros where the
//! picture ends, and norm and SiLU applied, so that what follows knows nothing of all that.

use std::ops::Range;

use halovae_core::Margins;
use halovae_engine::backend::{BackendError, Halo};
use wgpu::Buffer;

use super::WgpuBackend;
use crate::kernels::Shader;
use crate::store::{Block, Value};
use crate::template::names;

/// Positions of a row that an invocation stages.
const EACH: usize = 4;

/// A rectangle of the input, in cells of the part that this rank holds, repeated cells counted.
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

/// What is staged of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staging<'a> {
    pub(super) prologue: &'a Prologue<'a>,
    pub(super) sample: usize,
    /// How often each row and column is repeated.
    pub(super) factor: u32,
    pub(super) window: Window,
}

/// Rows of one buffer, and where their first position lies in the coordinates of the window.
struct Source<'a> {
    buffer: &'a Buffer,
    /// The first four.
    first: usize,
    rows: usize,
    width: usize,
    origin: [i64; 2],
}

impl WgpuBackend {
    /// Fills the band with the window: the part, what neighbours hold, else zeros.
    pub(super) fn stage(
        &self,
        staging: &Staging<'_>,
        input: &Value,
        halo: &Option<(Margins, Halo<Value>)>,
        band: &Block,
    ) -> Result<(), BackendError> {
        let factor = i64::from(staging.factor);
        let Window { top, left, height, width } = staging.window;
        let (bottom, right) = (top + height as i64, left + width as i64);
        let extent = [input.layout.height, input.layout.width].map(|cells| cells as i64 * factor);
        // Rows beyond the part, full of zeros until a halo overwrites them.
        let inside = top.clamp(0, extent[0])..bottom.clamp(0, extent[0]);
        for rows in [top..inside.start.min(bottom), inside.end.max(top)..bottom] {
            if !rows.is_empty() {
                let source = Source {
                    buffer: &input.chunks[0],
                    first: 0,
                    rows: 0,
                    width: 0,
                    origin: [0; 2],
                };
                let quads = input.layout.quads;
                self.stage_rect(staging, &source, quads, (rows, left..right), band)?;
            }
        }
        self.stage_from(staging, input, [0, 0], (inside, left..right), band)?;
        let Some((margins, halo)) = halo else { return Ok(()) };
        let [above, before] = [margins.top, margins.left].map(|cells| -i64::from(cells) * factor);
        let strips = [
            (&halo.above, [above, before]),
            (&halo.below, [extent[0], before]),
            (&halo.before, [0, before]),
            (&halo.behind, [0, extent[1]]),
        ];
        for (strip, origin) in strips {
            let Some(strip) = strip else { continue };
            let end = [strip.layout.height, strip.layout.width].map(|cells| cells as i64 * factor);
            let rows = origin[0].max(top)..(origin[0] + end[0]).min(bottom);
            let columns = origin[1].max(left)..(origin[1] + end[1]).min(right);
            if !columns.is_empty() {
                self.stage_from(staging, strip, origin, (rows, columns), band)?;
            }
        }
        Ok(())
    }

    /// Fills a rectangle from a value whose first position is `origin`, chunk by chunk.
    fn stage_from(
        &self,
        staging: &Staging<'_>,
        value: &Value,
        origin: [i64; 2],
        (rows, columns): (Range<i64>, Range<i64>),
        band: &Block,
    ) -> Result<(), BackendError> {
        if rows.is_empty() {
            return Ok(());
        }
        let factor = i64::from(staging.factor);
        let [first, last] = [rows.start, rows.end - 1].map(|row| (row - origin[0]) / factor);
        let layout = value.layout;
        for run in layout.runs(staging.sample, first as usize..last as usize + 1) {
            let [begin, end] =
                [run.rows.start, run.rows.end].map(|row| origin[0] + row as i64 * factor);
            let source = Source {
                buffer: &value.chunks[run.chunk],
                first: run.at * layout.width * layout.quads,
                rows: run.rows.len(),
                width: layout.width,
                origin: [begin, origin[1]],
            };
            let rect = (begin.max(rows.start)..end.min(rows.end), columns.clone());
            self.stage_rect(staging, &source, layout.quads, rect, band)?;
        }
        Ok(())
    }

    /// Fills a rectangle from rows of one buffer.
    fn stage_rect(
        &self,
        staging: &Staging<'_>,
        source: &Source<'_>,
        quads: usize,
        (rows, columns): (Range<i64>, Range<i64>),
        band: &Block,
    ) -> Result<(), BackendError> {
        let Staging { prologue, window, .. } = staging;
        let [height, width] = [&rows, &columns].map(|range| (range.end - range.start) as usize);
        let [y, x] = [rows.start - window.top, columns.start - window.left].map(|n| n as usize);
        let immediates = [
            height as u32,
            width as u32,
            quads as u32,
            ((y * window.width + x) * quads) as u32,
            window.width as u32,
            source.first as u32,
            (rows.start - source.origin[0]) as i32 as u32,
            (columns.start - source.origin[1]) as i32 as u32,
            source.rows as u32 * staging.factor,
            source.width as u32,
            (staging.sample * 2 * quads) as u32,
        ];
        let names = names([
            ("NORM", prologue.affine.is_some().into()),
            ("SILU", prologue.silu.into()),
            ("UP", staging.factor),
            ("EACH", EACH as u32),
        ]);
        let mut buffers: Vec<&Buffer> = vec![source.buffer, band];
        buffers.extend(prologue.affine.map(|block| &**block));
        let places = height * width.div_ceil(EACH) * quads;
        self.over(Shader::Stage, names, &buffers, &immediates, places as u64)
    }
}
