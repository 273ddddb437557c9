//! What neighbours send each other of a layer.

use core::iter::FusedIterator;

use super::{Margins, Shard, ShardGrid};
use crate::Region;

/// A rectangle of a layer that travels from the shard that owns it to one that reads it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Transfer {
    /// The owner.
    pub from: u32,
    /// The reader.
    pub to: u32,
    /// The cells, in the layer's own coordinates.
    pub rect: Region,
}

impl ShardGrid {
    /// What shard `to` receives of a layer from its neighbours, up to eight, in row-major order.
    /// A corner comes where both its sides have a margin. Of a halo that does not
    /// [fit](Self::fits) it is what the neighbours own.
    pub fn received(&self, to: u32, scale: u32, reach: Margins) -> Transfers {
        Transfers { grid: *self, shard: to, receives: true, scale, reach, next: 0 }
    }

    /// What shard `from` sends of a layer: the same transfers from the other side, in the order of
    /// the receivers.
    pub fn sent(&self, from: u32, scale: u32, reach: Margins) -> Transfers {
        Transfers { grid: *self, shard: from, receives: false, scale, reach, next: 0 }
    }
}

/// The transfers of a shard.
#[derive(Clone, Debug)]
pub struct Transfers {
    grid: ShardGrid,
    shard: u32,
    receives: bool,
    scale: u32,
    reach: Margins,
    /// The place of the next neighbour among the 3 x 3 around the shard.
    next: u32,
}

impl Transfers {
    /// The transfer between the shard and its neighbour at a place, if there is one.
    fn at(&self, place: u32) -> Option<Transfer> {
        let Shard { row, col, .. } = self.grid.shard(self.shard)?;
        if place == 4 {
            return None;
        }
        // Below the last row is no shard, and what it owns is empty.
        let row = (row + place / 3).checked_sub(1)?;
        let col = (col + place % 3).checked_sub(1).filter(|&col| col < self.grid.cols())?;
        let other = row * self.grid.cols() + col;
        let (from, to) = match self.receives {
            true => (other, self.shard),
            false => (self.shard, other),
        };
        let window = grown(self.grid.part(to, self.scale), self.grid.margins(to, self.reach));
        let rect = window.intersect(self.grid.part(from, self.scale))?;
        Some(Transfer { from, to, rect })
    }
}

/// A rectangle with its margins; what lies before the origin or beyond `u32` is cut off.
fn grown(part: Region, margins: Margins) -> Region {
    let Margins { top, bottom, left, right, .. } = margins;
    let axis = |start: u32, len: u32, before: u32, behind: u32| {
        let first = start.saturating_sub(before);
        (first, (start - first).saturating_add(len).saturating_add(behind))
    };
    let (top, height) = axis(part.top, part.height, top, bottom);
    let (left, width) = axis(part.left, part.width, left, right);
    Region::new(top, left, height, width)
}

impl Iterator for Transfers {
    type Item = Transfer;

    fn next(&mut self) -> Option<Transfer> {
        while self.next < 9 {
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
