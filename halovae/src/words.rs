//! Sizes and numbers in words.

use halovae_core::{Size, TimeLaw, TimeScale};
pub use halovae_engine::format_bytes;

/// `512 x 768`, height before width; with several frames `81 x 512 x 768`.
pub fn extents(Size { frames, height, width }: Size) -> String {
    match frames {
        1 => format!("{height} x {width}"),
        _ => format!("{frames} x {height} x {width}"),
    }
}

/// `1 image`, `2 images`: a number and what is counted.
pub fn counted(count: u64, what: &str) -> String {
    match (count, what) {
        (1, what) => format!("1 {what}"),
        (count, "patch") => format!("{count} patches"),
        (count, what) => format!("{count} {what}s"),
    }
}

/// How many frames come of each frame of the latents.
pub fn frames_per_latent(TimeScale { factor, law }: TimeScale) -> String {
    match law {
        TimeLaw::FirstAlone if factor != 1 => {
            format!("1 for the first, {factor} for each later one")
        }
        TimeLaw::AfterFirst => format!("none for the first, {factor} for each later one"),
        TimeLaw::Even | TimeLaw::FirstAlone => format!("{factor} for each"),
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
    fn one_has_no_plural() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "tile")), ["0 tiles", "1 tile", "2 tiles"]);
        assert_eq!([1, 2].map(|count| counted(count, "patch")), ["1 patch", "2 patches"]);
    }

    #[test]
    fn frames_are_told_as_they_come() {
        let wan = frames_per_latent(TimeScale::first_alone(4));
        assert_eq!(wan, "1 for the first, 4 for each later one");
        assert_eq!(frames_per_latent(TimeScale::SAME), "1 for each");
    }
}
