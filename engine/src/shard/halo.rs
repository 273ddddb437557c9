//! Borders on their way from one shard to the next, and the halos that are made of them.

use std::collections::HashMap;

use halovae_core::{Margins, Rect};

use super::cut::Cut;
use super::pass::HaloExchange;
use super::run::ShardStop;
use crate::backend::{Backend, BackendError, Halo};
use crate::group::{Cause, Group, Tag};
use crate::program::Program;
use crate::tensor::{HostTensor, Shape};

/// What the messages of a sharded decode are about. Finished pieces have the low tags.
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

/// Borders that were cut out or received, and are not part of a halo yet.
#[derive(Debug, Default)]
pub(super) struct Borders {
    /// By the conv's place, the shard that owns the border, and the one that wants it.
    waiting: HashMap<(usize, u32, u32), Vec<f32>>,
    /// Ranks whose borders for a conv have not been received.
    expected: HashMap<usize, Vec<u32>>,
}

impl Borders {
    /// Sends every rank what its shards read of this rank's, in one message, and keeps what this
    /// rank's own shards read of each other. `cut_out` copies a rectangle, in the coordinates of
    /// the whole map, out of a shard's part.
    pub(super) fn send<G: Group>(
        &mut self,
        group: &G,
        cut: &Cut,
        program: &Program,
        exchange: &HaloExchange,
        mut cut_out: impl FnMut(u32, Rect) -> Result<Vec<f32>, Cause>,
    ) -> Result<(), ShardStop> {
        let HaloExchange { op, value, reach } = *exchange;
        let (_, scale) = program.features(value);
        let me = group.rank();
        let mut expected = Vec::new();
        for rank in 0..cut.ranks() {
            let mut message = Vec::new();
            for transfer in cut.transfers(me, rank, scale, reach) {
                let mut border = cut_out(transfer.from, transfer.rect)?;
                if rank == me {
                    self.waiting.insert((op, transfer.from, transfer.to), border);
                } else {
                    message.append(&mut border);
                }
            }
            if !message.is_empty() {
                group.send(rank, Tags::Borders.tag(op), message)?;
            }
            if rank != me && cut.transfers(rank, me, scale, reach).next().is_some() {
                expected.push(rank);
            }
        }
        self.expected.insert(op, expected);
        Ok(())
    }

    /// The halo of a shard for a conv; waits for it if it has not come.
    pub(super) fn halo<B: Backend, G: Group>(
        &mut self,
        group: &G,
        cut: &Cut,
        program: &Program,
        backend: &B,
        exchange: &HaloExchange,
        shard: u32,
    ) -> Result<Halo<B::Tensor>, ShardStop> {
        self.receive(group, cut, program, exchange)?;
        let HaloExchange { op, value, reach } = *exchange;
        let (channels, scale) = program.features(value);
        let margins = cut.grid().margins(shard, reach);
        let mut strips = Strips::new(cut.part(program, value, shard), margins, channels as usize)
            .map_err(Cause::Backend)?;
        for transfer in cut.grid().received(shard, scale, reach) {
            let border = self.waiting.remove(&(op, transfer.from, shard));
            strips.paste(transfer.rect, &border.expect("every neighbour's border has come"));
        }
        Ok(strips.upload(backend).map_err(Cause::Backend)?)
    }

    /// Receives the borders of all ranks for a conv, unless they are there.
    fn receive<G: Group>(
        &mut self,
        group: &G,
        cut: &Cut,
        program: &Program,
        exchange: &HaloExchange,
    ) -> Result<(), ShardStop> {
        let HaloExchange { op, value, reach } = *exchange;
        let (channels, scale) = program.features(value);
        for rank in self.expected.remove(&op).unwrap_or_default() {
            let transfers = || cut.transfers(rank, group.rank(), scale, reach);
            let len_of = |rect: Rect| rect.area() as usize * channels as usize;
            let len = transfers().map(|transfer| len_of(transfer.rect)).sum();
            let message = group.receive(rank, Tags::Borders.tag(op), len)?;
            let mut rest = message.as_slice();
            for transfer in transfers() {
                let (border, behind) = rest.split_at(len_of(transfer.rect));
                rest = behind;
                self.waiting.insert((op, transfer.from, transfer.to), border.to_vec());
            }
        }
        Ok(())
    }
}

/// A halo on the host.
struct Strips {
    /// The part that it surrounds, in the coordinates of the whole map.
    part: Rect,
    margins: Margins,
    halo: Halo<HostTensor>,
}

impl Strips {
    fn new(part: Rect, margins: Margins, channels: usize) -> Result<Self, BackendError> {
        let wide = margins.left + part.width + margins.right;
        let strip = |height: u32, width: u32| {
            let shape = Shape::new(1, height as usize, width as usize, channels);
            (height > 0 && width > 0).then(|| HostTensor::zeros(shape)).transpose()
        };
        let halo = Halo {
            above: strip(margins.top, wide)?,
            below: strip(margins.bottom, wide)?,
            before: strip(part.height, margins.left)?,
            behind: strip(part.height, margins.right)?,
        };
        Ok(Self { part, margins, halo })
    }

    /// Puts a border, in the coordinates of the whole map, into the strip that it belongs to.
    fn paste(&mut self, rect: Rect, border: &[f32]) {
        let (part, margins) = (self.part, self.margins);
        let left = part.left - margins.left;
        let (strip, top, left) = if rect.top < part.top {
            (&mut self.halo.above, part.top - margins.top, left)
        } else if u64::from(rect.top) >= part.bottom() {
            (&mut self.halo.below, part.bottom() as u32, left)
        } else if rect.left < part.left {
            (&mut self.halo.before, part.top, left)
        } else {
            (&mut self.halo.behind, part.top, part.right() as u32)
        };
        let strip = strip.as_mut().expect("borders come from sides that have a margin");
        let Shape { width, channels, .. } = strip.shape();
        let row_len = rect.width as usize * channels;
        let first = (rect.top - top) as usize;
        for (row, values) in border.chunks_exact(row_len).enumerate() {
            let at = ((first + row) * width + (rect.left - left) as usize) * channels;
            strip.data_mut()[at..][..row_len].copy_from_slice(values);
        }
    }

    fn upload<B: Backend>(self, backend: &B) -> Result<Halo<B::Tensor>, BackendError> {
        let upload =
            |strip: Option<HostTensor>| strip.map(|strip| backend.upload(&strip)).transpose();
        Ok(Halo {
            above: upload(self.halo.above)?,
            below: upload(self.halo.below)?,
            before: upload(self.halo.before)?,
            behind: upload(self.halo.behind)?,
        })
    }
}
