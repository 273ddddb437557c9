//! Puts finished pieces together and gives rows to a sink.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use halovae_core::{Band, Block, Plan, Term};

use crate::group::MESSAGES_UNDER_WAY;
use crate::sink::Sink;

/// Rows that are blended before they go to the sink; bounds the memory of unfinished rows.
const ROWS_AT_ONCE: u32 = 32;

/// Finished pieces of a rank that are on their way: those that it may have sent, the one that it
/// holds, and the one that is copied.
const UNDER_WAY: u64 = MESSAGES_UNDER_WAY as u64 + 2;

/// Bytes of finished pieces and rows that the host holds at most while pieces of `channels` channels
/// are stitched that `ranks` ranks decode.
pub(crate) fn stitching_bytes(plan: &Plan, channels: u32, ranks: u32) -> u64 {
    let bytes = |pixels: u64| pixels.saturating_mul(4 * u64::from(channels));
    let largest = plan.pieces().map(|piece| piece.keep.area()).max().unwrap_or(0);
    let held = plan.bands().map(|band| band.pieces()).map(|pieces| pieces.end - pieces.start).max();
    let under_way = UNDER_WAY.saturating_mul(ranks.into());
    let pieces = held.unwrap_or(0).saturating_add(under_way).min(plan.piece_count());
    let rows = u64::from(plan.output().width).saturating_mul(ROWS_AT_ONCE.into());
    bytes(largest).saturating_mul(pieces).saturating_add(bytes(rows))
}

/// Why stitching ended early.
#[derive(Debug)]
pub enum StitchError<E> {
    /// A piece did not come.
    Piece(E),
    /// The sink did not take the rows.
    Sink(io::Error),
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StitchTimes {
    /// Blending.
    pub stitch: Duration,
    /// In the sink.
    pub write: Duration,
}

/// Stitches one image.
///
/// `fetch` is asked for the pieces of `plan` one by one in the order of their index and gives the
/// kept region of each, channels last. A piece is dropped once the rows that it reaches are done,
/// so about two rows of tiles are held at a time. Blending follows the plan's terms in their order:
/// the bytes depend on the pieces alone, not on who decoded them or when they came.
///
/// # Errors
/// [`StitchError`].
pub fn stitch_image<E>(
    plan: &Plan,
    channels: usize,
    image: usize,
    sink: &mut dyn Sink,
    mut fetch: impl FnMut(u64) -> Result<Vec<f32>, E>,
    mut rows_done: impl FnMut(u64),
) -> Result<StitchTimes, StitchError<E>> {
    let mut times = StitchTimes::default();
    let mut held: BTreeMap<u64, HeldPiece> = BTreeMap::new();
    let mut next = 0;
    for band in plan.bands() {
        let spans = Span::of_band(&band);
        while next < band.pieces().end {
            let data = fetch(next).map_err(StitchError::Piece)?;
            let piece = plan.piece(next).expect("a band names pieces of its own plan");
            let width = piece.keep.width as usize;
            held.insert(next, HeldPiece { bottom: piece.output.bottom(), width, data });
            next += 1;
        }
        let mut done = 0;
        while done < band.height {
            let height = ROWS_AT_ONCE.min(band.height - done);
            let start = Instant::now();
            let rows = blend_rows(plan, channels, &spans, &held, done, height);
            times.stitch += start.elapsed();
            let start = Instant::now();
            let top = (band.top + done) as usize;
            sink.write_rows(image, top, &rows).map_err(StitchError::Sink)?;
            times.write += start.elapsed();
            rows_done(u64::from(height));
            done += height;
        }
        let bottom = u64::from(band.top) + u64::from(band.height);
        held.retain(|_, piece| piece.bottom > bottom);
    }
    Ok(times)
}

struct HeldPiece {
    /// The output row behind its last.
    bottom: u64,
    width: usize,
    data: Vec<f32>,
}

/// Columns of a band in which the same pieces overlap.
struct Span {
    left: usize,
    width: usize,
    terms: Vec<SpanTerm>,
}

/// A term, and the factor of its weight that holds for every row of the band; none if the weight
/// is 1 everywhere.
struct SpanTerm {
    term: Term,
    columns: Option<Vec<f32>>,
}

impl Span {
    fn of_band(band: &Band) -> Vec<Self> {
        let span = |block: Block| {
            let width = block.rect.width as usize;
            let weighed = |term: Term| {
                let columns = (!term.is_unit()).then(|| {
                    let mut columns = vec![0.0; width];
                    term.fill_column_weights(&mut columns);
                    columns
                });
                SpanTerm { term, columns }
            };
            let terms = block.terms().map(weighed).collect();
            Self { left: block.rect.left as usize, width, terms }
        };
        band.blocks().map(span).collect()
    }
}

/// Rows `done..done + height` of a band.
fn blend_rows(
    plan: &Plan,
    channels: usize,
    spans: &[Span],
    held: &BTreeMap<u64, HeldPiece>,
    done: u32,
    height: u32,
) -> Vec<f32> {
    let row_len = plan.output().width as usize * channels;
    let mut rows = vec![0.0; row_len * height as usize];
    for (y, row) in (done..).zip(rows.chunks_exact_mut(row_len)) {
        for span in spans {
            let out = &mut row[span.left * channels..][..span.width * channels];
            for SpanTerm { term, columns } in &span.terms {
                let piece = &held[&term.piece];
                let source_row = term.source.top as usize + y as usize;
                let start = (source_row * piece.width + term.source.left as usize) * channels;
                let source = &piece.data[start..][..out.len()];
                match columns {
                    None => out.copy_from_slice(source),
                    Some(columns) => {
                        add_weighted(out, source, channels, columns, term.row_weight(y) as f32);
                    }
                }
            }
        }
    }
    rows
}

fn add_weighted(out: &mut [f32], source: &[f32], channels: usize, columns: &[f32], row: f32) {
    let pixels = out.chunks_exact_mut(channels).zip(source.chunks_exact(channels));
    for ((out, source), column) in pixels.zip(columns) {
        let weight = row * column;
        out.iter_mut().zip(source).for_each(|(o, s)| *o += weight * s);
    }
}
