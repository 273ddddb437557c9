//! Staging: bringing a window of a conv's input together, with what neighbours hold, zeros where the
//! picture ends, and norm and SiLU applied, so that what follows knows nothing of all that.

use std::ops::Range;

use halovae_core::Margins;
use halovae_engine::backend::{BackendError, Halo};
use wgpu::Buffer;

use super::WgpuBackend;
use crate::kernels::Shader;
use crate::store::{Block, Value};
use crate::template::{Names, names};

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

impl Staging<'_> {
    /// What a kernel that stages has to be written for.
    pub(super) fn names(&self) -> Names {
        names([
            ("NORM", self.prologue.affine.is_some().into()),
            ("SILU", self.prologue.silu.into()),
            ("UP", self.factor),
        ])
    }

    /// The numbers that tell such a kernel of its source, for a rectangle that begins there.
    pub(super) fn source(
        &self,
        source: &Source<'_>,
        quads: usize,
        row: i64,
        column: i64,
    ) -> [u32; 6] {
        [
            source.first as u32,
            (row - source.origin[0]) as i32 as u32,
            (column - source.origin[1]) as i32 as u32,
            source.rows as u32 * self.factor,
            source.width as u32,
            (self.sample * 2 * quads) as u32,
        ]
    }
}

/// Rows of one buffer, and where their first position lies in the coordinates of the window.
pub(super) struct Source<'a> {
    pub(super) buffer: &'a Buffer,
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
            (&halo.top, [above, before]),
            (&halo.bottom, [extent[0], before]),
            (&halo.left, [0, before]),
            (&halo.right, [0, extent[1]]),
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

    /// The one buffer in which all lies that the window has of a value, if there is one, and no
    /// neighbour holds any of it.
    pub(super) fn only_source<'a>(
        &self,
        staging: &Staging<'_>,
        input: &'a Value,
    ) -> Option<Source<'a>> {
        let (layout, factor) = (input.layout, i64::from(staging.factor));
        let Window { top, height, .. } = staging.window;
        let cell = |row: i64| row.div_euclid(factor).clamp(0, layout.height as i64) as usize;
        let rows = cell(top)..cell(top + height as i64 + factor - 1);
        let mut runs = layout.runs(staging.sample, rows);
        let (run, None) = (runs.next()?, runs.next()) else { return None };
        Some(Source {
            buffer: &input.chunks[run.chunk],
            first: run.at * layout.width * layout.quads,
            rows: run.rows.len(),
            width: layout.width,
            origin: [run.rows.start as i64 * factor, 0],
        })
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
        let first = (y * window.width + x) * quads;
        let place = [height, width, quads, first, window.width].map(|n| n as u32);
        let source_place = staging.source(source, quads, rows.start, columns.start);
        let immediates = [&place[..], &source_place].concat();
        let mut of_stage = staging.names();
        of_stage.extend(names([("EACH", EACH as u32)]));
        let mut buffers: Vec<&Buffer> = vec![source.buffer, band];
        buffers.extend(prologue.affine.map(|block| &**block));
        let places = height * width.div_ceil(EACH) * quads;
        self.over(Shader::Stage, of_stage, &buffers, &immediates, places as u64)
    }
}
