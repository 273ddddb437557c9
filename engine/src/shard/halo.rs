//! Borders on their way from one shard to the next, and the halos that are made of them.

use std::collections::HashMap;
use std::ops::Range;

use halovae_core::{Margins, Region, Transfer};

use super::around::Around;
use super::carrier::{Carrier, For};
use super::cut::Cut;
use super::pass::HaloExchange;
use super::side::Side;
use super::stop::ShardStop;
use crate::backend::{Backend, Halo};
use crate::group::{Cause, Group, Kind, Tag};
use crate::program::Program;
use crate::tensor::Shape;

/// Borders of other ranks for a conv.
struct UnderWay<T> {
    transit: T,
    /// What they are, in the order in which they arrive.
    borders: Vec<For<Transfer>>,
}

/// Borders that were cut out or are on their way, and are not part of a halo yet.
pub(super) struct Borders<B: Backend, C: Carrier<B>> {
    carrier: C,
    /// By the conv's place, the shard that owns the border, and the one that wants it.
    waiting: HashMap<(usize, u32, u32), C::Parcel>,
    /// Borders of other ranks, by the conv's place.
    under_way: HashMap<usize, UnderWay<C::Transit>>,
}

impl<B: Backend, C: Carrier<B>> Borders<B, C> {
    pub(super) fn new(carrier: C) -> Self {
        Self { carrier, waiting: HashMap::new(), under_way: HashMap::new() }
    }

    /// Sends every rank what its shards read of these `frames` of this rank's, keeps what this rank's
    /// own shards read of each other, and begins to receive what they read of others'. `cut_out`
    /// copies a region, in the coordinates of the whole map, out of a shard's part.
    pub(super) fn send<G: Group>(
        &mut self,
        group: &G,
        cut: &Cut,
        program: &Program,
        halo: &HaloExchange,
        frames: &Range<u64>,
        mut cut_out: impl FnMut(u32, Region) -> Result<C::Parcel, Cause>,
    ) -> Result<(), ShardStop> {
        let HaloExchange { op, value, reach } = *halo;
        let (channels, scale) = program.features(value);
        let me = group.rank();
        let of_frames = |transfers: Vec<Transfer>| -> Vec<Transfer> {
            transfers.into_iter().filter_map(|transfer| within(transfer, frames)).collect()
        };
        let mut outgoing = Vec::new();
        for (rank, transfers) in cut.sent(me, scale, reach) {
            let mut parcels = Vec::new();
            for transfer in of_frames(transfers) {
                let border = cut_out(transfer.from, transfer.region)?;
                if rank == me {
                    self.waiting.insert((op, transfer.from, transfer.to), border);
                } else {
                    parcels.push(border);
                }
            }
            if !parcels.is_empty() {
                outgoing.push((rank, parcels));
            }
        }
        let received = cut.received(me, scale, reach).into_iter();
        let received = received.map(|(rank, transfers)| (rank, of_frames(transfers)));
        let received: Vec<For<Transfer>> =
            received.filter(|(rank, transfers)| *rank != me && !transfers.is_empty()).collect();
        if !outgoing.is_empty() || !received.is_empty() {
            let tag = Tag::of_op(Kind::Borders, op);
            let shape = |transfer: &Transfer| shape_of(transfer.region, channels);
            let shapes = |(rank, transfers): &For<Transfer>| -> For<Shape> {
                (*rank, transfers.iter().map(shape).collect())
            };
            let incoming = received.iter().map(shapes).collect();
            let transit = self.carrier.begin(group, tag, outgoing, incoming)?;
            self.under_way.insert(op, UnderWay { transit, borders: received });
        }
        Ok(())
    }

    /// These `frames` of the halo of a shard for a conv; waits for it if it has not come. Those before
    /// and behind the shard's own have its rows and columns.
    pub(super) fn halo<G: Group>(
        &mut self,
        group: &G,
        cut: &Cut,
        program: &Program,
        halo: &HaloExchange,
        frames: &Range<u64>,
        shard: u32,
    ) -> Result<Halo<B::Tensor>, ShardStop> {
        let HaloExchange { op, value, reach } = *halo;
        self.receive(group, op)?;
        let (channels, scale) = program.features(value);
        let around = Around::new(cut, program, halo, frames, shard);
        let mut parts: Margins<Vec<(Region, C::Parcel)>> = Margins::default();
        let transfers = cut.grid().received(shard, scale, reach);
        for transfer in transfers.filter_map(|transfer| within(transfer, frames)) {
            let border = self.waiting.remove(&(op, transfer.from, shard));
            let (side, place) = around.place(transfer.region);
            side.of(&mut parts).push((place, border.expect("every neighbour's border has come")));
        }
        let mut sides = Halo::default();
        for side in Side::ALL {
            let shape = around.shape(side, channels);
            let parts = std::mem::take(side.of(&mut parts));
            if shape.frames > 0 && shape.height > 0 && shape.width > 0 {
                let strip = self.carrier.join(shape, parts).map_err(Cause::Backend)?;
                *side.of(&mut sides) = Some(strip);
            }
        }
        Ok(sides)
    }

    /// Receives the borders of all ranks for a conv, unless they are there.
    fn receive<G: Group>(&mut self, group: &G, op: usize) -> Result<(), ShardStop> {
        let Some(UnderWay { transit, borders }) = self.under_way.remove(&op) else { return Ok(()) };
        let arrived = self.carrier.arrive(group, transit)?;
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

/// A transfer's frames among these; `None` if there are none.
fn within(transfer: Transfer, frames: &Range<u64>) -> Option<Transfer> {
    let region = transfer.region;
    let first = region.first.max(u32::try_from(frames.start).unwrap_or(u32::MAX));
    let end = region.end().min(frames.end);
    let len = u32::try_from(end.saturating_sub(first.into())).ok().filter(|&len| len > 0)?;
    Some(Transfer { region: region.over(first, len), ..transfer })
}
