//! Sizes of latents, from what counts pixels and frames.

use halovae_core::{PlanError, TimeScale};

use crate::error::Error;
use crate::options::OptionError;
use crate::words::frames_per_latent;

/// The latent cells along an axis, from pixels; `option` is what counts them.
///
/// # Errors
/// [`OptionError`] names the nearest sizes that work; [`PlanError::Zero`] for a scale of 0.
pub fn cells_of_pixels(option: &'static str, pixels: u32, scale: u32) -> Result<u32, Error> {
    if scale == 0 {
        return Err(PlanError::Zero { name: "scale" }.into());
    }
    if pixels == 0 {
        let expected = format!("a multiple of {scale}");
        return Err(OptionError::Zero { option, expected }.into());
    }
    if pixels.is_multiple_of(scale) {
        return Ok(pixels / scale);
    }
    let below = u64::from(pixels / scale) * u64::from(scale);
    let above = below + u64::from(scale);
    let reason = format!(" is not a multiple of {scale}, the pixels of a latent cell");
    let can_be = |&pixels: &u64| pixels > 0 && u32::try_from(pixels).is_ok();
    let nearest = [below, above].into_iter().filter(can_be).collect();
    Err(OptionError::NotDecoded { option, value: pixels, reason, nearest }.into())
}

/// The frames of latents that decode to so many; `option` is what counts them.
///
/// # Errors
/// [`OptionError`] names the nearest numbers that work.
pub fn latent_frames(option: &'static str, frames: u32, scale: TimeScale) -> Result<u32, Error> {
    let Some(last) = frames.checked_sub(1) else {
        return Err(OptionError::Zero { option, expected: "at least 1".into() }.into());
    };
    let latents = u64::from(scale.latent(last).unwrap_or(last)) + 1;
    let of = |latents: u64| scale.at(u32::try_from(latents).ok()?).filter(|&frames| frames > 0);
    if of(latents) == Some(frames) {
        // As the frames are, and there are no more latents.
        return Ok(latents as u32);
    }
    let reason =
        format!(": latents decode to other numbers of frames ({})", frames_per_latent(scale));
    let nearest = [of(latents - 1), of(latents)].into_iter().flatten().map(u64::from).collect();
    Err(OptionError::NotDecoded { option, value: frames, reason, nearest }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_cells_or_the_nearest_is_named() {
        assert_eq!(cells_of_pixels("height", 1024, 8).unwrap(), 128);
        let told = |pixels| cells_of_pixels("height", pixels, 8).unwrap_err().to_string();
        assert!(told(1020).contains("1016 or 1024"));
        assert!(told(3).ends_with("is 8"));
        assert!(told(u32::MAX).ends_with("is 4294967288"));
        assert!(cells_of_pixels("height", 0, 8).is_err());
        assert!(cells_of_pixels("height", 8, 0).is_err());
    }

    #[test]
    fn frames_become_those_of_latents_or_the_nearest_are_named() {
        let wan = TimeScale::first_alone(4);
        for (frames, latents) in [(1, 1), (5, 2), (81, 21)] {
            assert_eq!(latent_frames("frames", frames, wan).unwrap(), latents);
            assert_eq!(latent_frames("frames", latents, TimeScale::SAME).unwrap(), latents);
        }
        let told = |frames, scale| latent_frames("frames", frames, scale).unwrap_err().to_string();
        assert!(told(80, wan).ends_with("77 or 81"), "{}", told(80, wan));
        assert!(told(2, wan).ends_with("1 or 5"), "{}", told(2, wan));
        assert!(told(3, TimeScale::even(4)).ends_with("is 4"), "{}", told(3, TimeScale::even(4)));
        assert!(told(0, wan).contains("at least 1"));
        // Beyond what can be counted there is none above.
        assert!(told(u32::MAX, wan).ends_with("is 4294967293"), "{}", told(u32::MAX, wan));
    }
}
