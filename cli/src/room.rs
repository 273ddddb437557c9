//! What decodes in the memory that there is, as flags.

use halovae_engine::room::Room;

/// Flags that do, each of them with whatever else was given; `None` where nothing does.
pub(crate) fn flags(room: &Room) -> Option<String> {
    let tiled = room.tile.map(|side| {
        format!("`--strategy tiled --tile-sample-min-size {side} --tile-overlap-factor 0.25`")
    });
    let sharded = room.sharded.map(|bytes| {
        format!("`--strategy sharded --max-memory {}MiB`, which is exact", bytes >> 20)
    });
    let flags: Vec<String> = tiled.into_iter().chain(sharded).collect();
    (!flags.is_empty()).then(|| flags.join(", or "))
}
