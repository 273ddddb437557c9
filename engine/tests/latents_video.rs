//! Latents of videos: where every frame goes, and which axes are taken for frames.

use halovae_engine::latents::{
    LatentSpace, Latents, LatentsError, LatentsFile, LatentsFormat, Packing, TokenContent,
    TokenOrder, Wanted,
};
use proptest::prelude::*;

const PACKING: Packing = Packing {
    patch_height: 2,
    patch_width: 2,
    order: TokenOrder::ChannelsFirst,
    content: TokenContent::Picture,
    in_place: false,
};

/// An array of that shape in the C order, or the other one, of the values of `value`.
fn npy(shape: &[usize], fortran: bool, value: impl Fn(&[usize]) -> f32) -> Vec<u8> {
    let listed: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': ({listed}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for mut index in 0..shape.iter().product() {
        let mut place = vec![0; shape.len()];
        let mut step = |axis: usize| {
            place[axis] = index % shape[axis];
            index /= shape[axis];
        };
        match fortran {
            true => (0..shape.len()).for_each(&mut step),
            false => (0..shape.len()).rev().for_each(&mut step),
        }
        bytes.extend(value(&place).to_le_bytes());
    }
    bytes
}

fn wanted(channels: usize) -> Wanted<'static> {
    Wanted { channels, scale: 8, video: true, packing: None, sides: None, comfy: None }
}

fn read(
    bytes: Vec<u8>,
    wanted: &Wanted,
    space: Option<&LatentSpace>,
) -> Result<Latents, LatentsError> {
    let file = LatentsFile::from_bytes(bytes, LatentsFormat::Npy, None).unwrap();
    file.for_decoder(wanted, space).map(|read| read.latents)
}

fn extents(latents: &Latents) -> [usize; 5] {
    let Latents { batch, channels, frames, height, width, .. } = *latents;
    [batch, channels, frames, height, width]
}

#[test]
fn axes_are_told_by_the_channels() {
    for (shape, expected) in [
        (&[2, 4, 3, 5, 6][..], [2, 4, 3, 5, 6]),
        (&[4, 3, 5, 6], [1, 4, 3, 5, 6]),
        (&[3, 4, 5, 6], [3, 4, 1, 5, 6]),
        // A pipeline's latents have a batch.
        (&[4, 4, 5, 6], [4, 4, 1, 5, 6]),
        (&[4, 5, 6], [1, 4, 1, 5, 6]),
    ] {
        let latents = read(npy(shape, false, |_| 0.5), &wanted(4), None).unwrap();
        assert_eq!(extents(&latents), expected, "{shape:?}");
    }
    let message = |shape: &[usize], wanted: &Wanted| {
        read(npy(shape, false, |_| 0.5), wanted, None).unwrap_err().to_string()
    };
    assert!(message(&[2, 3, 4, 5, 6], &wanted(4)).contains("have 3 channels, the VAE takes 4"));
    assert!(message(&[2, 3, 5, 6], &wanted(4)).contains("have 3 channels, the VAE takes 4"));
    let axes = message(&[1, 1, 4, 3, 5, 6], &wanted(4));
    assert!(axes.contains("have 6 axes") && axes.contains("channels, frames, height"), "{axes}");
    let sides = Wanted { sides: Some([80, 48]), ..wanted(4) };
    assert!(message(&[2, 4, 3, 5, 6], &sides).contains("are of 40 x 48 pixels by their shape"));
    // A decoder of images takes a single frame, as ComfyUI stores those of Qwen-Image.
    let images = Wanted { video: false, ..wanted(4) };
    let several = message(&[2, 4, 3, 5, 6], &images);
    assert!(
        several.contains("have 3 frames") && several.ends_with("latents[:, :, 0]"),
        "{several}"
    );
    let one = read(npy(&[2, 4, 1, 5, 6], false, |_| 0.5), &images, None).unwrap();
    assert_eq!(extents(&one), [2, 4, 1, 5, 6]);
    let sides = Wanted { sides: Some([80, 48]), ..images };
    assert!(message(&[2, 4, 1, 5, 6], &sides).contains("are of 40 x 48 pixels by their shape"));
    assert!(message(&[4, 3, 5, 6], &images).contains("have 3 channels, the VAE takes 4"));
}

/// What may have been meant as a video without a batch is told.
#[test]
fn batches_of_images_are_told_where_videos_are_decoded() {
    let told = |shape: &[usize], wanted: &Wanted| {
        let file = npy(shape, false, |_| 0.5);
        let file = LatentsFile::from_bytes(file, LatentsFormat::Npy, None).unwrap();
        file.for_decoder(wanted, None).unwrap().taken_for_images
    };
    assert!(told(&[3, 4, 5, 6], &wanted(4)) && told(&[4, 4, 5, 6], &wanted(4)));
    for shape in [&[4, 3, 5, 6][..], &[1, 4, 5, 6], &[4, 5, 6], &[2, 4, 1, 5, 6]] {
        assert!(!told(shape, &wanted(4)), "{shape:?}");
    }
    assert!(!told(&[3, 4, 5, 6], &Wanted { video: false, ..wanted(4) }));
}

#[test]
fn a_value_that_is_no_number_is_placed() {
    let nan = |place: &[usize]| if place == [1, 2, 2, 0, 4] { f32::NAN } else { 0.0 };
    let error = read(npy(&[2, 4, 3, 5, 6], false, nan), &wanted(4), None).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("NaN at batch 1, channel 2, frame 2, row 0, column 4"), "{error}");
    let nan = |place: &[usize]| if place == [0, 2, 0, 0, 4] { f32::NAN } else { 0.0 };
    let error = read(npy(&[2, 4, 3, 5, 6], false, nan), &wanted(4), None).unwrap_err();
    assert!(error.to_string().contains("channel 2, frame 0, row 0"), "{error}");
}

/// Packed latents of Qwen-Image are one frame.
#[test]
fn tokens_are_one_frame() {
    let space = LatentSpace {
        mean_and_std: Some(((0..16).map(|c| c as f32).collect(), vec![2.0; 16])),
        ..LatentSpace::VAE
    };
    let wanted = Wanted { packing: Some(PACKING), sides: Some([32, 48]), ..wanted(16) };
    let token = |place: &[usize]| (place[1] * 64 + place[2]) as f32;
    let latents = read(npy(&[1, 6, 64], false, token), &wanted, Some(&space)).unwrap();
    assert_eq!(extents(&latents), [1, 16, 1, 4, 6]);
    for row in 0..4 {
        for column in 0..6 {
            for channel in 0..16 {
                let token = row / 2 * 3 + column / 2;
                let value = token * 64 + channel * 4 + row % 2 * 2 + column % 2;
                let got = latents.data[(row * 6 + column) * 16 + channel];
                assert_eq!(got, (value * 2 + channel) as f32);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_frame_finds_its_place(
        shape in prop::array::uniform5(1usize..5), with_batch: bool, fortran: bool,
    ) {
        let [batch, channels, frames, height, width] = shape;
        // Else the second axis might be the channels.
        prop_assume!(with_batch || channels != frames);
        let batch = if with_batch { batch } else { 1 };
        let file_shape = if with_batch { &shape[..] } else { &shape[1..] };
        let of_place = |place: &[usize]| place.iter().fold(0, |sum, at| sum * 10 + at) as f32;
        let latents = read(npy(file_shape, fortran, of_place), &wanted(channels), None).unwrap();
        prop_assert_eq!(extents(&latents), [batch, channels, frames, height, width]);
        let mut data = latents.data.iter();
        for n in 0..batch { for t in 0..frames { for y in 0..height { for x in 0..width {
            for c in 0..channels {
                prop_assert_eq!(*data.next().unwrap(), of_place(&[n, c, t, y, x]));
            }
        }}}}
        prop_assert!(data.next().is_none());
    }
}
