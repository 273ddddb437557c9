//! Latents in a NumPy array, as a decoder of images and one of videos take them.

#![no_main]

use halovae_engine::latents::{Latents, LatentsError, LatentsFile, LatentsFormat, Wanted};
use libfuzzer_sys::fuzz_target;

/// What holds for latents from that file.
fn check(file: &LatentsFile, latents: &Latents, video: bool) {
    let Latents { batch, channels, frames, height, width, ref data } = *latents;
    assert_eq!(batch * channels * frames * height * width, data.len());
    assert_eq!(data.len(), file.shape().iter().product::<usize>());
    assert!(data.iter().all(|value| value.is_finite()));
    match *file.shape() {
        [.., rows, columns] => assert_eq!((height, width), (rows, columns)),
        ref shape => unreachable!("latents of {shape:?}"),
    }
    assert!(video || frames == 1, "an image of {frames} frames");
}

fn read(bytes: &[u8]) -> Result<(), LatentsError> {
    let file = LatentsFile::from_bytes(bytes.to_vec(), LatentsFormat::Npy, None)?;
    let cells = file.cells();
    if let Ok(latents) = &cells {
        check(&file, latents, false);
        let read = Latents::from_bytes(bytes, LatentsFormat::Npy, None).expect("the same latents");
        assert_eq!(*latents, read);
    }
    // A decoder of as many channels as any axis may have.
    for &channels in file.shape() {
        for video in [false, true] {
            let wanted =
                Wanted { channels, scale: 8, video, packing: None, sides: None, comfy: None };
            match file.for_decoder(&wanted, None) {
                Ok(taken) => {
                    let latents = &taken.latents;
                    check(&file, latents, video);
                    assert_eq!((latents.channels, taken.square), (channels, None));
                    let images = [latents.batch, latents.channels, latents.height, latents.width];
                    let is_of_images = *file.shape() == images;
                    assert_eq!(taken.taken_for_images, video && is_of_images && latents.batch > 1);
                    if !video {
                        assert_eq!(*latents, *cells.as_ref().expect("an image is read as it is"));
                    }
                }
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
    cells.map(|_| ())
}

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = read(bytes) {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
});
