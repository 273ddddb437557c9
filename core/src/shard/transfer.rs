//! Halo exchange: the parts of a layer that neighbours send.

use core::iter::FusedIterator;

use super::ShardGrid;
use crate::{Axes, Axis, Margins, Region, Scale};

/// A box of a layer's cells that travels from the shard that owns it to one that reads it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transfer {
    /// The owner.
    pub from: u32,
    /// The reader.
    pub to: u32,
    /// The cells, in the layer's own coordinates.
    pub region: Region,
}

impl ShardGrid {
    /// What shard `to` receives of a layer from its neighbours, up to 26, in the order of their
    /// indices. A corner comes where all its sides have a margin. Of a halo that does not
    /// [fit](Self::fits) it is what the neighbours own.
    pub fn received(&self, to: u32, scale: impl Into<Scale>, reach: Margins) -> Transfers {
        Transfers { grid: *self, shard: to, receives: true, scale: scale.into(), reach, next: 0 }
    }

    /// What shard `from` sends of a layer: the same transfers from the other side, in the order of
    /// the receivers.
    pub fn sent(&self, from: u32, scale: impl Into<Scale>, reach: Margins) -> Transfers {
        Transfers { receives: false, ..self.received(from, scale, reach) }
    }
}

/// The transfers of a shard.
#[derive(Clone, Debug)]
pub struct Transfers {
    grid: ShardGrid,
    shard: u32,
    receives: bool,
    scale: Scale,
    reach: Margins,
    /// The place of the next neighbour among the 3 x 3 x 3 around the shard.
    next: u32,
}

impl Transfers {
    /// The transfer between the shard and its neighbour at a place, if there is one.
    fn at(&self, place: u32) -> Option<Transfer> {
        let own = self.grid.place(self.shard)?;
        if place == 13 {
            return None;
        }
        let steps = Axes::new(place / 9, place / 3 % 3, place % 3);
        let beside = |axis: Axis| {
            let beside = (own[axis] + steps[axis]).checked_sub(1)?;
            (beside < self.grid.shards()[axis]).then_some(beside)
        };
        let other = Axes::new(beside(Axis::Time)?, beside(Axis::Height)?, beside(Axis::Width)?);
        let other = self.grid.index(other);
        let (from, to) = match self.receives {
            true => (other, self.shard),
            false => (self.shard, other),
        };
        let margins = self.grid.margins(to, self.scale, self.reach);
        let window = grown(self.grid.part(to, self.scale), margins);
        let region = window.intersect(self.grid.part(from, self.scale))?;
        Some(Transfer { from, to, region })
    }
}

/// A region with its margins; what lies before the origin or beyond `u32` is cut off.
fn grown(part: Region, margins: Margins) -> Region {
    Region::from_spans(Axes::from_fn(|axis| {
        let ((start, len), [before, behind]) = (part.span(axis), margins.along(axis));
        let first = start.saturating_sub(before);
        (first, (start - first).saturating_add(len).saturating_add(behind))
    }))
}

impl Iterator for Transfers {
    type Item = Transfer;

    fn next(&mut self) -> Option<Transfer> {
        while self.next < 27 {
            let place = self.next;
            self.next += 1;
            if let Some(transfer) = self.at(place) {
                return Some(transfer);
            }
        }
        None
    }
}

impl FusedIterator for Transfers {}
