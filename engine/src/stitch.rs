//! Puts finished pieces together and gives rows to a sink.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use halovae_core::{Band, Block, Piece, Plan, Size, Term};

use crate::group::MESSAGES_UNDER_WAY;
use crate::sink::{ROWS_AT_ONCE, RowsAt, Sink, no_room_for_rows};

/// Finished pieces of a rank that are on their way: those that it may have sent, the one that it
/// holds, and the one that is copied.
const UNDER_WAY: u64 = MESSAGES_UNDER_WAY as u64 + 2;

/// Bytes of finished pieces and rows that the host holds at most while pieces of `channels` channels
/// are stitched that `ranks` ranks decode, each in parts of at most `part_frames` frames.
pub(crate) fn stitching_bytes(plan: &Plan, channels: u32, ranks: u32, part_frames: u32) -> u64 {
    let bytes = |pixels: u128| {
        u64::try_from(pixels.saturating_mul(4 * u128::from(channels))).unwrap_or(u64::MAX)
    };
    let largest = plan.pieces().map(|piece| piece.keep.size()).max_by_key(|size| size.volume());
    let Some(largest) = largest else { return 0 };
    let together = match plan {
        // Slices of a video come as they are, once all of their frames are finished.
        Plan::Sharded(grid) if grid.slices() > 1 => largest.frames,
        _ => part_frames.max(1),
    };
    let part = Size { frames: largest.frames.min(together), ..largest };
    let parts_of_piece = u64::from(largest.frames.div_ceil(part.frames.max(1)));
    // Shards of all frames go through them together, and a piece that is alone goes on as its parts
    // come. Others wait as a whole for those beside them.
    let parts_held = match plan {
        Plan::Sharded(grid) if grid.slices() == 1 => 1,
        _ if plan.piece_count() == 1 => 1,
        _ => parts_of_piece,
    };
    let held = pieces_held(plan, part.frames).saturating_mul(parts_held);
    let under_way = UNDER_WAY.saturating_mul(ranks.into());
    let parts =
        held.saturating_add(under_way).min(plan.piece_count().saturating_mul(parts_of_piece));
    let rows = u128::from(plan.output().width) * u128::from(ROWS_AT_ONCE);
    bytes(part.volume()).saturating_mul(parts).saturating_add(bytes(rows))
}

/// The most pieces that wait for each other: those that share rows, and where a part has several
/// frames, all that share frames, since frames go out one after the other.
fn pieces_held(plan: &Plan, part_frames: u32) -> u64 {
    let mut most = 0;
    let mut of_frames = (None, 0..0);
    for band in plan.bands() {
        let pieces = band.pieces();
        let same = part_frames > 1 && of_frames.0 == Some(band.first);
        let start = if same { pieces.start.min(of_frames.1.start) } else { pieces.start };
        let end = if same { pieces.end.max(of_frames.1.end) } else { pieces.end };
        most = most.max(end - start);
        of_frames = (Some(band.first), start..end);
    }
    most
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

/// Some frames of a piece, in the order in which ranks send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PiecePart {
    /// The piece of the plan.
    pub piece: u64,
    /// Its frames, counted in what is kept of it.
    pub frames: Range<u32>,
}

/// Stitches one image or video.
///
/// `fetch` is asked for the `parts` of the plan's pieces one by one in their order, piece by piece,
/// and gives the kept region of each, channels last. A part is dropped once the rows and frames that
/// it reaches are done, so about two rows of tiles are held at a time. Blending follows the plan's
/// terms in their order: the bytes depend on the pieces alone, not on who decoded them, in which
/// parts, or when they came.
///
/// # Errors
/// [`StitchError`].
pub fn stitch_image<E>(
    plan: &Plan,
    channels: usize,
    image: usize,
    parts: impl IntoIterator<Item = PiecePart>,
    sink: &mut dyn Sink,
    mut fetch: impl FnMut(&PiecePart) -> Result<Vec<f32>, E>,
    mut rows_done: impl FnMut(u64),
) -> Result<StitchTimes, StitchError<E>> {
    let mut times = StitchTimes::default();
    let mut held = Held::default();
    let mut rows = Vec::new();
    // Taken while there is room to tell that there is none.
    let row_len = plan.output().width as usize * channels;
    rows.try_reserve_exact(row_len * ROWS_AT_ONCE as usize)
        .map_err(|_| StitchError::Sink(no_room_for_rows()))?;
    let mut parts = parts.into_iter();
    let mut bands = plan.bands().peekable();
    while let Some(first) = bands.peek().map(|band| band.first) {
        // Bands of the same frames, from top to bottom.
        let mut of_frames = Vec::new();
        while let Some(band) = bands.next_if(|band| band.first == first) {
            of_frames.push((Span::of_band(&band), band));
        }
        let frames = of_frames[0].1.frames;
        for (t, (spans, band)) in
            (0..frames).flat_map(|t| of_frames.iter().map(move |band| (t, band)))
        {
            while !held.covers(spans, t) {
                let part = parts.next().expect("the parts cover every piece");
                let data = fetch(&part).map_err(StitchError::Piece)?;
                let piece = plan.piece(part.piece).expect("parts are of pieces of this plan");
                held.insert(&piece, part.frames, data);
            }
            let mut done = 0;
            while done < band.height {
                let height = ROWS_AT_ONCE.min(band.height - done);
                let start = Instant::now();
                rows.clear();
                rows.resize(row_len * height as usize, 0.0);
                blend_rows(&mut rows, plan, channels, spans, &held, t, done);
                times.stitch += start.elapsed();
                let start = Instant::now();
                let frame = (first + t) as usize;
                let at = RowsAt { image, frame, top: (band.top + done) as usize };
                sink.write_rows(at, &rows).map_err(StitchError::Sink)?;
                times.write += start.elapsed();
                rows_done(u64::from(height));
                done += height;
            }
            let bottom = u64::from(band.top) + u64::from(band.height);
            held.drop_done(u64::from(first) + u64::from(t), bottom);
        }
    }
    // What contributes to no row is received all the same: its rank waits for that.
    for part in parts {
        fetch(&part).map_err(StitchError::Piece)?;
    }
    Ok(times)
}

/// The parts of pieces that are not done, by piece, and in their order.
#[derive(Default)]
struct Held(BTreeMap<u64, Vec<HeldPart>>);

struct HeldPart {
    /// Frames of the piece's kept region.
    frames: Range<u32>,
    /// The output frame and row behind its last.
    end: u64,
    bottom: u64,
    /// Rows and columns of a frame.
    extent: [usize; 2],
    data: Vec<f32>,
}

impl Held {
    fn insert(&mut self, piece: &Piece, frames: Range<u32>, data: Vec<f32>) {
        let part = HeldPart {
            end: u64::from(piece.output.first) + u64::from(frames.end),
            bottom: piece.output.bottom(),
            extent: [piece.keep.height as usize, piece.keep.width as usize],
            frames,
            data,
        };
        self.0.entry(piece.index).or_default().push(part);
    }

    /// The part of a piece that has a frame of it.
    fn get(&self, piece: u64, frame: u32) -> Option<&HeldPart> {
        self.0.get(&piece)?.iter().find(|part| part.frames.contains(&frame))
    }

    /// Whether all that lies over the frame `t` of a band is here.
    fn covers(&self, spans: &[Span], t: u32) -> bool {
        let terms = spans.iter().flat_map(|span| &span.terms).map(|of_span| &of_span.term);
        terms.into_iter().all(|term| self.get(term.piece, term.source.first + t).is_some())
    }

    /// Drops what lies before the output's row `bottom` of `frame`, and in earlier frames.
    fn drop_done(&mut self, frame: u64, bottom: u64) {
        let is_done =
            |part: &HeldPart| part.end <= frame || (part.end == frame + 1 && part.bottom <= bottom);
        for parts in self.0.values_mut() {
            parts.retain(|part| !is_done(part));
        }
        self.0.retain(|_, parts| !parts.is_empty());
    }
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
            let width = block.region.width as usize;
            let weighed = |term: Term| {
                let columns = (!term.is_unit()).then(|| {
                    let mut columns = vec![0.0; width];
                    term.fill_column_weights(&mut columns);
                    columns
                });
                SpanTerm { term, columns }
            };
            let terms = block.terms().map(weighed).collect();
            Self { left: block.region.left as usize, width, terms }
        };
        band.blocks().map(span).collect()
    }
}

/// Blends into `rows`, which are zeros, those of frame `t` of a band from `done` on.
fn blend_rows(
    rows: &mut [f32],
    plan: &Plan,
    channels: usize,
    spans: &[Span],
    held: &Held,
    t: u32,
    done: u32,
) {
    let row_len = plan.output().width as usize * channels;
    for (y, row) in (done..).zip(rows.chunks_exact_mut(row_len)) {
        for span in spans {
            let out = &mut row[span.left * channels..][..span.width * channels];
            for SpanTerm { term, columns } in &span.terms {
                let frame = term.source.first + t;
                let part = held.get(term.piece, frame).expect("fetched before it is blended");
                let [part_rows, part_columns] = part.extent;
                let of_frame = (frame - part.frames.start) as usize * part_rows;
                let source_row = of_frame + term.source.top as usize + y as usize;
                let start = (source_row * part_columns + term.source.left as usize) * channels;
                let source = &part.data[start..][..out.len()];
                match columns {
                    None => out.copy_from_slice(source),
                    Some(columns) => {
                        let weight = term.frame_weight(t) * term.row_weight(y);
                        add_weighted(out, source, channels, columns, weight as f32);
                    }
                }
            }
        }
    }
}

fn add_weighted(out: &mut [f32], source: &[f32], channels: usize, columns: &[f32], row: f32) {
    let pixels = out.chunks_exact_mut(channels).zip(source.chunks_exact(channels));
    for ((out, source), column) in pixels.zip(columns) {
        let weight = row * column;
        out.iter_mut().zip(source).for_each(|(o, s)| *o += weight * s);
    }
}
