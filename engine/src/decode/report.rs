//! What is known of a decode when it is over.

use std::sync::{Mutex, PoisonError};

use crate::event::{Event, Observer};
use crate::group::Way;
use crate::progress::{PieceReport, Progress};
use crate::stitch::StitchTimes;
use crate::wrap::Sent;

/// What a decode did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecodeReport {
    /// Every piece that this process's ranks decoded, in the order of image and index.
    pub pieces: Vec<PieceReport>,
    /// Seconds from start to the last row.
    pub seconds: f64,
    /// Seconds spent blending and in the sink; other ranks may have decoded meanwhile.
    pub stitch: StitchTimes,
    /// Device bytes of this process's ranks, by estimate: the weights once a device, and for each
    /// rank the values and workspace of its largest piece.
    pub estimated_peak_bytes: u64,
    /// Device bytes as the backends counted them, added over this process's ranks.
    pub measured_peak_bytes: u64,
    /// The transport of what ranks exchanged, where there were links between their devices.
    pub way: Option<Way>,
    /// What this process's ranks sent through these links.
    pub sent: Sent,
}

/// Collects reports and passes events on.
pub(super) struct Reports<'a> {
    observer: &'a dyn Observer,
    pieces: Mutex<Vec<PieceReport>>,
    way: Mutex<Option<Way>>,
}

impl<'a> Reports<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, pieces: Mutex::default(), way: Mutex::default() }
    }

    /// What was told: the pieces in the order of image and index, and the transport.
    pub(super) fn into_parts(self) -> (Vec<PieceReport>, Option<Way>) {
        let mut pieces = self.pieces.into_inner().unwrap_or_else(PoisonError::into_inner);
        pieces.sort_by_key(|report| (report.image, report.piece));
        (pieces, self.way.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress for Reports<'_> {
    fn piece(&self, report: PieceReport, item: u64, bytes: u64) {
        let PieceReport { rank, seconds, .. } = report;
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        self.observer.event(Event::PieceDone { rank, piece: item, seconds, bytes });
    }

    fn way(&self, way: Way) {
        // The same from every rank.
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
    }

    fn turns(&self, rank: u32, done: u64, of: u64) {
        self.observer.event(Event::Turns { rank, done, of });
    }
}
