//! Borders on their way from one shard to the next, and the halos that are made of them.

use std::collections::HashMap;

use halovae_core::{Margins, Region, Size, Transfer};

use super::cut::Cut;
use super::exchange::{Exchange, For, Parcel, Transit};
use super::pass::HaloExchange;
use super::run::ShardStop;
use crate::backend::{Backend, Halo};
use crate::group::{Cause, Group, Tag};
use crate::program::Program;
use crate::tensor::Shape;

/// What the messages of a sharded decode are about. Finished pieces have the low tags, and what links
/// devices has [`LINKS`](crate::group::LINKS).
#[derive(Clone, Copy, Debug)]
pub(super) enum Tags {
    /// Borders for a conv.
    Borders,
    /// Statistics of parts.
    Statistics,
    /// Keys and values of an attention.
    Attention,
}

impl Tags {
    /// The tag of such messages for one op.
    pub(super) fn tag(self, op: usize) -> Tag {
        let kind = match self {
            Self::Borders => 1,
            Self::Statistics => 2,
            Self::Attention => 3,
        };
        Tag(1 << 63 | kind << 60 | op as u64)
    }
}

/// Borders of other ranks for a conv.
struct UnderWay<'a, T> {
    transit: Transit<'a, T>,
    /// What they are, in the order in which they arrive.
    borders: Vec<For<Transfer>>,
}

/// Borders that were cut out or are on their way, and are not part of a halo yet.
pub(super) struct Borders<'a, B: Backend> {
    exchange: Exchange<'a, B>,
    /// By the conv's place, the shard that owns the border, and the one that wants it.
    waiting: HashMap<(usize, u32, u32), Parcel<B::Tensor>>,
    /// Borders of other ranks, by the conv's place.
    under_way: HashMap<usize, UnderWay<'a, B::Tensor>>,
}

impl<'a, B: Backend> Borders<'a, B> {
    pub(super) fn new(exchange: Exchange<'a, B>) -> Self {
        Self { exchange, waiting: HashMap::new(), under_way: HashMap::new() }
    }

    /// Sends every rank what its shards read of this rank's, keeps what this rank's own shards read
    /// of each other, and begins to receive what they read of others'. `cut_out` copies a rectangle,
    /// in the coordinates of the whole map, out of a shard's part.
    pub(super) fn send<G: Group>(
        &mut self,
        group: &G,
        cut: &Cut,
        program: &Program,
        halo: &HaloExchange,
        mut cut_out: impl FnMut(u32, Region) -> Result<Parcel<B::Tensor>, Cause>,
    ) -> Result<(), ShardStop> {
        let HaloExchange { op, value, reach } = *halo;
        let (channels, scale) = program.features(value);
        let me = group.rank();
        let mut outgoing = Vec::new();
        for (rank, transfers) in cut.sent(me, scale, reach) {
            let mut parcels = Vec::new();
            for transfer in transfers {
                let border = cut_out(transfer.from, transfer.region)?;
                if rank == me {
                    self.waiting.insert((op, transfer.from, transfer.to), border);
                } else {
                    parcels.push(border);
                }
            }
            if rank != me {
                outgoing.push((rank, parcels));
            }
        }
        let mut received = cut.received(me, scale, reach);
        received.retain(|&(rank, _)| rank != me);
        if !outgoing.is_empty() || !received.is_empty() {
            let tag = Tags::Borders.tag(op);
            let shape = |transfer: &Transfer| shape_of(transfer.region, channels);
            let shapes = |(rank, transfers): &For<Transfer>| -> For<Shape> {
                (*rank, transfers.iter().map(shape).collect())
            };
            let incoming = received.iter().map(shapes).collect();
            let transit = self.exchange.begin(group, tag, outgoing, incoming)?;
            self.under_way.insert(op, UnderWay { transit, borders: received });
        }
        Ok(())
    }

    /// The halo of a shard for a conv; waits for it if it has not come.
    pub(super) fn halo<G: Group>(
        &mut self,
        group: &G,
        cut: &Cut,
        program: &Program,
        halo: &HaloExchange,
        shard: u32,
    ) -> Result<Halo<B::Tensor>, ShardStop> {
        let HaloExchange { op, value, reach } = *halo;
        self.receive(group, op)?;
        let (channels, scale) = program.features(value);
        let around = Around {
            part: cut.part(program, value, shard),
            margins: cut.grid().margins(shard, scale, reach),
        };
        let mut parts: Margins<Vec<(Region, Parcel<B::Tensor>)>> = Margins::default();
        for transfer in cut.grid().received(shard, scale, reach) {
            let border = self.waiting.remove(&(op, transfer.from, shard));
            let (side, place) = around.place(transfer.region);
            side.of(&mut parts).push((place, border.expect("every neighbour's border has come")));
        }
        let mut strip = |side: Side| {
            let shape = around.strip(side, channels);
            let parts = std::mem::take(side.of(&mut parts));
            let strip = (shape.height > 0 && shape.width > 0)
                .then(|| self.exchange.join(shape, parts).map_err(Cause::Backend));
            strip.transpose()
        };
        let sides =
            [strip(Side::Top)?, strip(Side::Bottom)?, strip(Side::Left)?, strip(Side::Right)?];
        Ok(Halo::of_frame(sides))
    }

    /// Receives the borders of all ranks for a conv, unless they are there.
    fn receive<G: Group>(&mut self, group: &G, op: usize) -> Result<(), ShardStop> {
        let Some(UnderWay { transit, borders }) = self.under_way.remove(&op) else { return Ok(()) };
        let arrived = self.exchange.arrive(group, transit)?;
        for ((_, transfers), (_, parcels)) in borders.into_iter().zip(arrived) {
            for (transfer, border) in transfers.into_iter().zip(parcels) {
                self.waiting.insert((op, transfer.from, transfer.to), border);
            }
        }
        Ok(())
    }
}

fn shape_of(rect: Region, channels: u32) -> Shape {
    Shape::sample(rect.size(), channels as usize)
}

/// A side of a part, as [`Halo`] has them.
#[derive(Clone, Copy)]
enum Side {
    Top,
    Bottom,
    Left,
    Right,
}

impl Side {
    /// What `margins` have on this side.
    fn of<T>(self, margins: &mut Margins<T>) -> &mut T {
        match self {
            Self::Top => &mut margins.top,
            Self::Bottom => &mut margins.bottom,
            Self::Left => &mut margins.left,
            Self::Right => &mut margins.right,
        }
    }
}

/// What lies around a part.
struct Around {
    /// The part, in the coordinates of the whole map.
    part: Region,
    margins: Margins,
}

impl Around {
    /// The extents of a strip.
    fn strip(&self, side: Side, channels: u32) -> Shape {
        let Self { part, margins } = self;
        let wide = margins.left + part.width + margins.right;
        let (height, width) = match side {
            Side::Top => (margins.top, wide),
            Side::Bottom => (margins.bottom, wide),
            Side::Left => (part.height, margins.left),
            Side::Right => (part.height, margins.right),
        };
        Shape::sample(Size::video(part.frames, height, width), channels as usize)
    }

    /// The strip that a border, in the coordinates of the whole map, belongs to, and where it lies
    /// there.
    fn place(&self, rect: Region) -> (Side, Region) {
        let Self { part, margins } = self;
        let left = part.left - margins.left;
        let (side, top, left) = if rect.top < part.top {
            (Side::Top, part.top - margins.top, left)
        } else if u64::from(rect.top) >= part.bottom() {
            (Side::Bottom, part.bottom() as u32, left)
        } else if rect.left < part.left {
            (Side::Left, part.top, left)
        } else {
            (Side::Right, part.top, part.right() as u32)
        };
        let first = rect.first - part.first;
        (side, Region { first, top: rect.top - top, left: rect.left - left, ..rect })
    }
}
