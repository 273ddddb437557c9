//! What the planner decided for the user, as data: the user interface finds the words.

/// One decision that differs from the request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Notice {
    /// `vae_patch_parallel_size` exceeded the group and was lowered to it.
    SizeClamped {
        /// The size asked for.
        requested: u32,
        /// The ranks that exist.
        group: u32,
    },
    /// Tiling was off and was switched on, since there are several ranks.
    TilingSwitchedOn {
        /// The ranks that there are for the decode.
        ranks: u32,
    },
    /// The grid of shards that was asked for has bands thinner than a halo, or more bands than
    /// cells; a coarser one was taken.
    ShardsCoarsened {
        /// The shards asked for.
        requested: u32,
        /// Bands of frames that were taken.
        slices: u32,
        /// Bands of rows that were taken.
        rows: u32,
        /// Bands of columns that were taken.
        cols: u32,
    },
    /// The model has no parallel decode; the size was ignored and one rank decodes.
    ParallelUnsupported {
        /// The size asked for.
        requested: u32,
    },
}

const CAPACITY: usize = 4;

/// Up to four notices (one of each kind), in the order in which they were decided.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Notices {
    slots: [Option<Notice>; CAPACITY],
}

impl Notices {
    /// None yet.
    pub const fn new() -> Self {
        Self { slots: [None; CAPACITY] }
    }

    /// Adds one. A notice of a kind that is already there replaces it, so nothing is ever lost
    /// for want of room.
    pub fn push(&mut self, notice: Notice) {
        let kind = core::mem::discriminant(&notice);
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.is_none_or(|held| core::mem::discriminant(&held) == kind));
        if let Some(slot) = slot {
            *slot = Some(notice);
        }
    }

    /// The notices in order.
    pub fn iter(&self) -> impl Iterator<Item = Notice> + '_ {
        self.slots.iter().copied().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl IntoIterator for Notices {
    type Item = Notice;
    type IntoIter = core::iter::Flatten<core::array::IntoIter<Option<Notice>, CAPACITY>>;

    fn into_iter(self) -> Self::IntoIter {
        self.slots.into_iter().flatten()
    }
}
