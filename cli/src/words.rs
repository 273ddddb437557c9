//! Sizes and pieces in words.

pub(crate) use halovae::words::{counted, extents, frames_per_latent};
use halovae::{Size, Strategy};

/// What the extents of a size are: `height x width`, with several frames `frames x height x width`.
pub(crate) fn axes(size: Size) -> &'static str {
    match size.frames {
        1 => "height x width",
        _ => "frames x height x width",
    }
}

/// What the pieces of a strategy are called.
pub(crate) fn piece_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Whole => "piece",
        Strategy::Tiled => "tile",
        Strategy::Patch => "patch",
        Strategy::Sharded => "shard",
    }
}
