//! What a rank's memory is asked for in one decode, so that the next one can be given the same places.

use std::sync::Arc;

use crate::arena::{Moment, Place};

/// Whether memory is taken down, or given out by what was.
#[derive(Debug, Default)]
pub(crate) enum Tape<A> {
    /// Neither.
    #[default]
    Off,
    /// Every request and what is freed.
    Writing {
        /// Tells blocks of this tape from those of earlier ones.
        number: u64,
        moments: Vec<Moment>,
        requests: usize,
    },
    /// One place after the other.
    Reading { arena: Arc<A>, places: Vec<Place>, next: usize },
}

/// Which request of which tape a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taped {
    number: u64,
    request: usize,
}

impl<A> Tape<A> {
    /// Notes a request.
    pub(crate) fn take(&mut self, bytes: u64) -> Option<Taped> {
        let Self::Writing { number, moments, requests } = self else { return None };
        moments.push(Moment::Taken(bytes));
        *requests += 1;
        Some(Taped { number: *number, request: *requests - 1 })
    }

    /// Notes what is freed.
    pub(crate) fn free(&mut self, taped: Taped) {
        if let Self::Writing { number, moments, .. } = self
            && *number == taped.number
        {
            moments.push(Moment::Freed(taped.request));
        }
    }

    /// The next place, if memory is given out. It has to be one for as many bytes.
    pub(crate) fn next_place(&mut self, bytes: u64) -> Option<Result<(Arc<A>, Place), ()>> {
        let Self::Reading { arena, places, next } = self else { return None };
        let place = places.get(*next).filter(|place| place.bytes >= bytes);
        *next += 1;
        Some(place.map(|&place| (arena.clone(), place)).ok_or(()))
    }
}
