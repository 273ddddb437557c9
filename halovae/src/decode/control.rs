//! What goes beside a decode.

use halovae_engine::event::{Observer, Silent};
use halovae_engine::group::{Cancel, Group};

/// What a decode tells its events, and what can end it.
#[derive(Clone)]
pub struct Control<'a> {
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: Cancel,
}

impl<'a> Control<'a> {
    /// Events are told to nothing, and only a clone of `cancel` ends the decode.
    pub fn new(cancel: Cancel) -> Self {
        Self { observer: &Silent, cancel }
    }

    /// Tells events to `observer`, from any thread.
    #[must_use]
    pub fn observed(self, observer: &'a dyn Observer) -> Self {
        Self { observer, ..self }
    }
}

impl Default for Control<'_> {
    fn default() -> Self {
        Self::new(Cancel::new())
    }
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// The processes that decode together, of which this is one rank.
#[derive(Clone, Copy)]
pub struct Together<'a> {
    /// All of them.
    pub(super) group: &'a dyn Group,
    /// How many are on this machine.
    pub(super) neighbours: u32,
}

impl<'a> Together<'a> {
    /// The processes of a group, so many of them on this machine, whose memory they share.
    pub fn new(group: &'a dyn Group, neighbours: u32) -> Self {
        Self { group, neighbours }
    }
}

impl std::fmt::Debug for Together<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ranks = (self.group.rank(), self.group.size());
        f.debug_struct("Together").field("rank, of", &ranks).finish_non_exhaustive()
    }
}
