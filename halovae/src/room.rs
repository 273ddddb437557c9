//! What decodes in the memory that there is, as options.

use std::fmt;

use halovae_engine::room::Room;

use crate::options::names;

/// Whether anything does.
pub(crate) fn has_any(room: &Room) -> bool {
    room.tile.is_some() || room.sharded.is_some()
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
