use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

/// The latent frame that each frame of a layer belongs to, written out.
fn owners(time: TimeScale, latents: u32) -> Vec<u32> {
    let frames = |latent: u32| match (time.law, latent) {
        (TimeLaw::Even, _) | (_, 1..) => time.factor,
        (TimeLaw::FirstAlone, 0) => 1,
        (TimeLaw::AfterFirst, 0) => 0,
    };
    (0..latents).flat_map(|latent| (0..frames(latent)).map(move |_| latent)).collect()
}

fn law() -> impl Strategy<Value = TimeLaw> {
    prop_oneof![Just(TimeLaw::Even), Just(TimeLaw::FirstAlone), Just(TimeLaw::AfterFirst)]
}

proptest! {
    #[test]
    fn frames_belong_to_latents(law in law(), factor in 1u32..=8, latents in 0u32..=9) {
        let time = TimeScale { factor, law };
        let owners = owners(time, latents);
        prop_assert_eq!(time.at(latents), Some(owners.len() as u32));
        for latent in 0..latents {
            let before = owners.iter().filter(|&&owner| owner < latent).count();
            prop_assert_eq!(time.at(latent), Some(before as u32));
        }
        for (frame, &owner) in (0..).zip(&owners) {
            prop_assert_eq!(time.latent(frame), Some(owner));
        }
    }

    #[test]
    fn any_numbers_have_an_answer(law in law(), factor: u32, at: u32) {
        let time = TimeScale { factor, law };
        let exact = |at: u64, factor: u64| match (law, at) {
            (TimeLaw::Even, _) => at * factor,
            (_, 0) => 0,
            (TimeLaw::FirstAlone, _) => 1 + factor * (at - 1),
            (TimeLaw::AfterFirst, _) => factor * (at - 1),
        };
        let exact = u32::try_from(exact(at.into(), factor.into())).ok();
        prop_assert_eq!(time.at(at), exact);
        // Nothing owns frames of a layer without any, and behind the last frame of u32 is no latent.
        prop_assert!(time.latent(at).is_some() || factor < 2);
    }
}

/// Wan's frames: 1, then 4 for each.
#[test]
fn the_frames_of_a_causal_vae() {
    let time = TimeScale { factor: 4, law: TimeLaw::FirstAlone };
    assert_eq!([0, 1, 2, 21].map(|latents| time.at(latents)), [0, 1, 5, 81].map(Some));
    assert_eq!([0, 1, 4, 5, 80].map(|frame| time.latent(frame)), [0, 1, 1, 2, 20].map(Some));
    assert_eq!(TimeScale::default(), TimeScale { factor: 1, law: TimeLaw::Even });
    assert_eq!(Scale::from(8), Scale { time: TimeScale::SAME, space: 8 });
    assert_eq!(Scale::ONE, Scale::image(1));
}
