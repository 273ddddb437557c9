//! Sizes and pieces in words.

pub(crate) use halovae::extents;
use halovae_core::{Size, Strategy};

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

/// `1 tile`, `2 tiles`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    match (count, noun) {
        (1, noun) => format!("1 {noun}"),
        (count, "patch") => format!("{count} patches"),
        (count, noun) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_videos_tell_frames() {
        assert_eq!(extents(Size::new(4, 5)), "4 x 5");
        assert_eq!(extents(Size::video(3, 4, 5)), "3 x 4 x 5");
    }

    #[test]
    fn nouns_agree() {
        assert_eq!(plural(1, "patch"), "1 patch");
        assert_eq!(plural(2, "patch"), "2 patches");
        assert_eq!(plural(2, "tile"), "2 tiles");
    }
}
