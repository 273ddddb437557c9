//! Sizes in words.

use halovae_core::Size;

/// `512 x 768`, height before width; with several frames `81 x 512 x 768`.
pub(crate) fn extents(Size { frames, height, width }: Size) -> String {
    match frames {
        1 => format!("{height} x {width}"),
        _ => format!("{frames} x {height} x {width}"),
    }
}
