//! What decodes in the memory that there is, as options.

use std::fmt;

use halovae_engine::room::Room;

use crate::options::names;

/// Whether anything does.
pub(crate) fn has_any(room: &Room) -> bool {
    room.tile.is_some() || room.sharded.is_some()
}

/// The same where a sink holds so many bytes: a limit of memory has to allow them as well. In whole MiB, as
/// the limit is told.
pub(crate) fn beside(room: Room, sink: u64) -> Room {
    let sink = sink.div_ceil(1 << 20) << 20;
    Room { sharded: room.sharded.map(|bytes| bytes.saturating_add(sink)), ..room }
}

/// Writes options that do, each of them with whatever else was given.
pub(crate) fn write_room(f: &mut fmt::Formatter<'_>, room: &Room) -> fmt::Result {
    let option = names(f);
    if let Some(side) = room.tile {
        let [strategy, size, factor] =
            ["strategy", "tile_sample_min_size", "tile_overlap_factor"].map(&option);
        write!(f, "`{strategy} tiled {size} {side} {factor} 0.25`")?;
    }
    if let Some(bytes) = room.sharded {
        let or = if room.tile.is_some() { ", or " } else { "" };
        let [strategy, memory] = ["strategy", "max_memory"].map(&option);
        write!(f, "{or}`{strategy} sharded {memory} {}MiB`, which is exact", bytes >> 20)?;
    }
    Ok(())
}
