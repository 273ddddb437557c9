//! Latents as pipelines pack them for a transformer: where every value goes, and which shapes are
//! taken for what.

use halovae_engine::checkpoint::{AutoencoderKlConfig, VaeConfig};
use halovae_engine::latents::{
    ForDecoder, LatentSpace, Latents, LatentsError, LatentsFile, LatentsFormat, Packing,
    TokenContent, TokenOrder, Wanted,
};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// That of FLUX.1's pipelines.
const P2: Packing = Packing {
    patch_height: 2,
    patch_width: 2,
    order: TokenOrder::ChannelsFirst,
    content: TokenContent::Picture,
    in_place: false,
};

/// Latents are taken as they are.
const UNSCALED: LatentSpace = LatentSpace::VAE;

/// What a decoder of 16 channels with 8 pixels per cell wants.
fn wanted(sides: Option<[u32; 2]>) -> Wanted<'static> {
    Wanted { channels: 16, scale: 8, video: false, packing: Some(P2), sides, comfy: None }
}

fn file(tensors: &[(&str, &[usize], &[f32])]) -> LatentsFile {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((key, shape, _), bytes)| {
        (*key, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    LatentsFile::from_bytes(bytes, LatentsFormat::Safetensors, None).unwrap()
}

fn shaped(shape: &[usize]) -> LatentsFile {
    let values: Vec<f32> = (0..shape.iter().product()).map(|index: usize| index as f32).collect();
    file(&[("latents", shape, &values)])
}

/// What a file of that shape is read as: batch, rows and columns, and the side of a square if that
/// was assumed.
fn read(
    shape: &[usize],
    sides: Option<[u32; 2]>,
    space: Option<&LatentSpace>,
) -> Result<([usize; 3], Option<u64>), LatentsError> {
    match shaped(shape).for_decoder(&wanted(sides), space) {
        Ok(ForDecoder { latents, square, .. }) => {
            assert_eq!(latents.channels, 16, "{shape:?}");
            Ok(([latents.batch, latents.height, latents.width], square))
        }
        Err(LatentsError::InFile { source, .. }) => Err(*source),
        Err(other) => panic!("{shape:?}: {other} does not name the file"),
    }
}

#[track_caller]
fn message(shape: &[usize], sides: Option<[u32; 2]>, space: Option<&LatentSpace>) -> String {
    read(shape, sides, space).unwrap_err().to_string()
}

#[test]
fn a_pipelines_latents_are_unpacked() {
    let pipelines = |shape: &[usize], sides| read(shape, sides, Some(&UNSCALED)).unwrap();
    // One and several images, and one without a batch.
    assert_eq!(pipelines(&[1, 6, 64], Some([32, 48])), ([1, 4, 6], None));
    assert_eq!(pipelines(&[1, 6, 64], Some([48, 32])), ([1, 6, 4], None));
    assert_eq!(pipelines(&[4, 6, 64], Some([16, 96])), ([4, 2, 12], None));
    assert_eq!(pipelines(&[6, 64], Some([32, 48])), ([1, 4, 6], None));
    // A square needs no sides.
    assert_eq!(pipelines(&[1, 4, 64], None), ([1, 4, 4], Some(32)));
    assert_eq!(pipelines(&[2, 1, 64], None), ([2, 2, 2], Some(16)));
    assert_eq!(pipelines(&[9, 64], None), ([1, 6, 6], Some(48)));
    // As many images as channels are images, unless the sides are those of one image.
    assert_eq!(pipelines(&[16, 4, 64], None), ([16, 4, 4], Some(32)));
    assert_eq!(pipelines(&[16, 4, 64], Some([16, 64])), ([16, 2, 8], None));
    assert_eq!(pipelines(&[16, 4, 64], Some([32, 512])), ([1, 4, 64], None));
    // What is not packed stays what it is.
    assert_eq!(pipelines(&[1, 16, 3, 5], None), ([1, 3, 5], None));
    assert_eq!(pipelines(&[16, 3, 5], None), ([1, 3, 5], None));
    assert_eq!(pipelines(&[3, 16, 4, 64], None), ([3, 4, 64], None));
}

#[test]
fn packed_latents_are_not_the_vaes() {
    for shape in [&[1, 4, 64][..], &[4, 6, 64], &[6, 64], &[64, 64]] {
        let error = read(shape, None, None).unwrap_err();
        assert!(matches!(error, LatentsError::Packed { .. }), "{shape:?}: {error}");
    }
    // One image of 16 channels, or 16 images: neither is assumed.
    for sides in [None, Some([32, 32]), Some([8, 8])] {
        let error = message(&[16, 4, 64], sides, None);
        let expected = "have the shape [16, 4, 64], which is one image of 32 x 512 pixels without \
                        a batch, or 16 images that are packed for a transformer";
        assert_eq!(error, expected);
    }
    assert_eq!(read(&[16, 4, 64], Some([32, 512]), None).unwrap(), ([1, 4, 64], None));
    // Any other width is no token.
    assert_eq!(read(&[16, 4, 63], None, None).unwrap(), ([1, 4, 63], None));
}

#[test]
fn sides_that_cannot_be_are_explained() {
    let pipelines = |shape: &[usize], sides| message(shape, sides, Some(&UNSCALED));
    assert_eq!(
        pipelines(&[1, 6, 64], None),
        "have the shape [1, 6, 64], which is 6 tokens an image, each of 16 x 16 pixels: they make \
         no square, so the height and width of the picture are needed"
    );
    assert_eq!(
        pipelines(&[1, 6, 64], Some([32, 32])),
        "are packed and cannot be of 32 x 32 pixels: they would be 4 tokens of 16 x 16 pixels, and \
         there are 6"
    );
    let odd = pipelines(&[1, 6, 64], Some([40, 48]));
    assert!(odd.contains("a height of 40 is not a multiple of 16"), "{odd}");
    assert!(odd.ends_with("the nearest is 32 or 48"), "{odd}");
    let thin = pipelines(&[1, 6, 64], Some([96, 8]));
    assert!(thin.contains("a width of 8") && thin.ends_with("the nearest is 16"), "{thin}");
    assert!(pipelines(&[16, 4, 64], Some([64, 64])).contains("16 tokens of 16 x 16"));
    for sides in [[0, 0], [0, 96], [u32::MAX, u32::MAX], [u32::MAX - 15, u32::MAX - 15]] {
        assert!(pipelines(&[1, 6, 64], Some(sides)).starts_with("are packed and cannot be of"));
    }
    // Sides where the shape tells them, right or wrong.
    for (shape, own) in [(&[1, 16, 3, 5][..], "24 x 40"), (&[16, 3, 5], "24 x 40")] {
        for given in [[24, 40], [40, 24]] {
            for space in [None, Some(&UNSCALED)] {
                let error = message(shape, Some(given), space);
                let expected = format!("are of {own} pixels by their shape");
                assert!(error.starts_with(&expected), "{error}");
            }
        }
    }
    // Sides do not make channels fit, and leaving them out does not either.
    for shape in [&[1, 6, 32][..], &[4, 16, 16, 16], &[1, 5, 4, 16]] {
        let error = message(shape, Some([32, 48]), Some(&UNSCALED));
        assert_eq!(error.contains("the VAE takes 16"), shape[1] != 16, "{error}");
    }
    // Nothing of this makes other latents fit.
    assert!(pipelines(&[1, 4, 32], None).starts_with("have 1 channels, the VAE takes 16"));
    assert!(pipelines(&[1, 0, 64], None).contains("every extent must be from 1 to"));
    assert!(pipelines(&[0, 64], None).contains("every extent must be from 1 to"));
    assert!(pipelines(&[1, 1, 4, 64, 1], None).starts_with("have 4 frames"));
}

/// A VAE whose pipelines do not pack takes any width.
#[test]
fn only_a_vae_whose_pipelines_pack_has_packed_latents() {
    let config =
        |latent_channels| AutoencoderKlConfig { latent_channels, ..AutoencoderKlConfig::default() };
    assert_eq!(config(16).packing(), Some(P2));
    assert_eq!(config(4).packing(), None);
    // SD 3's shapes are FLUX.1's, but its pipelines do not pack.
    let sd3 = AutoencoderKlConfig { shift_factor: 0.0609, ..config(16) };
    assert_eq!(sd3.packing(), None);
    let wanted = Wanted { channels: 4, packing: config(4).packing(), ..wanted(None) };
    for space in [None, Some(&UNSCALED)] {
        let read = shaped(&[4, 9, 16]).for_decoder(&wanted, space).unwrap();
        assert_eq!((read.latents.height, read.latents.width, read.square), (9, 16, None));
    }
}

#[test]
fn layers_need_the_sides_of_their_picture() {
    let packing = Some(Packing { content: TokenContent::Layers, ..P2 });
    let read = |shape: &[usize], sides| {
        let wanted = Wanted { packing, video: true, ..wanted(sides) };
        match shaped(shape).for_decoder(&wanted, Some(&UNSCALED)) {
            Ok(read) => Ok((read.latents.batch, read.latents.frames, read.square)),
            Err(LatentsError::InFile { source, .. }) => Err(source.to_string()),
            Err(other) => panic!("{shape:?}: {other} does not name the file"),
        }
    };
    // A picture of six tokens and three layers, one and two of them.
    assert_eq!(read(&[1, 24, 64], Some([32, 48])), Ok((3, 1, None)));
    assert_eq!(read(&[2, 24, 64], Some([32, 48])), Ok((6, 1, None)));
    assert_eq!(read(&[24, 64], Some([48, 32])), Ok((3, 1, None)));
    // Sixteen tokens could be a square, or four of them.
    let untold = read(&[1, 16, 64], None).unwrap_err();
    assert!(untold.contains("does not tell how many layers there are"), "{untold}");
    // No layer, and half of one.
    for sides in [[64, 96], [48, 80]] {
        let wrong = read(&[1, 24, 64], Some(sides)).unwrap_err();
        assert!(wrong.ends_with("pixels each, and there are 24 in all"), "{wrong}");
    }
    assert!(read(&[1, 24, 64], Some([0, 48])).unwrap_err().contains("a height of 0"));
}

#[test]
fn frames_need_their_sides() {
    let content = TokenContent::Video;
    let packing = Some(Packing { content, patch_height: 1, patch_width: 1, ..P2 });
    let read = |shape: &[usize], sides| {
        let wanted = Wanted { packing, video: true, ..wanted(sides) };
        match shaped(shape).for_decoder(&wanted, Some(&UNSCALED)) {
            Ok(read) => Ok(read.latents),
            Err(LatentsError::InFile { source, .. }) => Err(source.to_string()),
            Err(other) => panic!("{shape:?}: {other} does not name the file"),
        }
    };
    // Of two rows and three columns, of one sample and of two, with a batch and without.
    for (shape, batch, frames) in [(&[1, 24, 16][..], 1, 4), (&[2, 6, 16], 2, 1), (&[12, 16], 1, 2)]
    {
        let latents = read(shape, Some([16, 24])).unwrap();
        assert_eq!((latents.batch, latents.frames), (batch, frames), "{shape:?}");
        assert_eq!((latents.height, latents.width, latents.channels), (2, 3, 16));
        // Tokens follow each other as cells do.
        assert!(latents.data.iter().enumerate().all(|(at, &value)| value == at as f32));
    }
    let untold = read(&[1, 16, 16], None).unwrap_err();
    assert!(untold.contains("does not tell how many frames there are"), "{untold}");
    let wrong = read(&[1, 16, 16], Some([16, 24])).unwrap_err();
    assert!(wrong.contains("frames would be 6 tokens of 8 x 8 pixels each"), "{wrong}");
}

#[test]
fn a_pipelines_latents_are_scaled() {
    let space = LatentSpace { scaling_factor: 0.5, shift_factor: 1.0, ..UNSCALED };
    let packed = shaped(&[1, 1, 64]).for_decoder(&wanted(None), Some(&space)).unwrap().latents;
    assert_eq!(packed.data[..3], [1.0, 9.0, 17.0]);
    assert_eq!(packed.data[16], 3.0);
}

#[test]
fn comfyuis_are_the_vaes_whatever_their_shape() {
    let version = ("latent_format_version_0", &[0][..], &[][..]);
    let values: Vec<f32> = (0..16 * 4 * 64).map(|index| index as f32).collect();
    let tensor = ("latent_tensor", &[16, 4, 64][..], &values[..]);
    for (tensors, factor) in [(&[tensor, version][..], 1.0), (&[tensor], (1.0 / 0.18215) as f32)] {
        let file = file(tensors);
        let error = file.for_decoder(&wanted(None), Some(&UNSCALED)).unwrap_err();
        let is_refused = matches!(
            &error,
            LatentsError::InFile { source, .. } if matches!(**source, LatentsError::InVaeSpace)
        );
        assert!(is_refused, "{error}");
        let latents = file.for_decoder(&wanted(None), None).unwrap().latents;
        assert_eq!((latents.batch, latents.height, latents.width), (1, 4, 64));
        assert_eq!(latents.data[16], factor);
    }
}

proptest! {
    /// Every cell of a picture comes out of the token that a pipeline put it into; of layers those of all
    /// but the first, which is the picture that was taken apart.
    #[test]
    fn every_cell_finds_its_place(
        [batch, channels, rows, columns] in prop::array::uniform4(1usize..4),
        [patch_height, patch_width] in prop::array::uniform2(1usize..4),
        channels_first: bool,
        fortran: bool,
        with_batch: bool,
        layers in prop::option::of(1usize..3),
    ) {
        let batch = if with_batch { batch } else { 1 };
        let pictures = layers.map_or(1, |layers| 1 + layers);
        let [height, width] = [rows * patch_height, columns * patch_width];
        let value = |n: usize, c: usize, y: usize, x: usize| {
            (((n * channels + c) * height + y) * width + x) as f32
        };
        // The values of a token in their order, by the loops of a pipeline's reshapes.
        let token = |n: usize, row: usize, column: usize| {
            let mut token = Vec::new();
            let [top, left] = [row * patch_height, column * patch_width];
            if channels_first {
                for c in 0..channels { for dy in 0..patch_height { for dx in 0..patch_width {
                    token.push(value(n, c, top + dy, left + dx));
                }}}
            } else {
                for dy in 0..patch_height { for dx in 0..patch_width { for c in 0..channels {
                    token.push(value(n, c, top + dy, left + dx));
                }}}
            }
            token
        };
        let tokens: Vec<Vec<Vec<f32>>> = (0..batch).map(|n| {
            let token = &token;
            let of = move |n: usize| {
                (0..rows).flat_map(move |row| (0..columns).map(move |column| token(n, row, column)))
            };
            (n * pictures..(n + 1) * pictures).flat_map(of).collect()
        }).collect();
        let (count, len) = (pictures * rows * columns, channels * patch_height * patch_width);
        let mut stored = Vec::new();
        if fortran {
            for v in 0..len { for t in 0..count { for image in &tokens {
                stored.push(image[t][v]);
            }}}
        } else {
            tokens.iter().flatten().for_each(|token| stored.extend(token));
        }
        let batch_extent = if with_batch { format!("{batch}, ") } else { String::new() };
        let header = format!(
            "{{'descr': '<f4', 'fortran_order': {}, 'shape': ({batch_extent}{count}, {len}), }}\n",
            if fortran { "True" } else { "False" }
        );
        let mut bytes = b"\x93NUMPY\x01\0".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(stored.iter().flat_map(|value| value.to_le_bytes()));

        let order = match channels_first {
            true => TokenOrder::ChannelsFirst,
            false => TokenOrder::ChannelsLast,
        };
        let content = layers.map_or(TokenContent::Picture, |_| TokenContent::Layers);
        let wanted = Wanted {
            channels,
            scale: 8,
            video: layers.is_some(),
            packing: Some(Packing { patch_height, patch_width, order, content, in_place: false }),
            sides: Some([height as u32 * 8, width as u32 * 8]),
            comfy: None,
        };
        let file = LatentsFile::from_bytes(bytes, LatentsFormat::Npy, None).unwrap();
        let ForDecoder { latents, square, .. } = file.for_decoder(&wanted, Some(&UNSCALED)).unwrap();
        prop_assert_eq!(square, None);
        let Latents { data, .. } = &latents;
        prop_assert_eq!(
            [latents.batch, latents.channels, latents.frames, latents.height, latents.width],
            [batch * layers.unwrap_or(1), channels, 1, height, width]
        );
        let mut data = data.iter();
        let is_decoded = |n: &usize| layers.is_none() || !n.is_multiple_of(pictures);
        for n in (0..batch * pictures).filter(is_decoded) { for y in 0..height { for x in 0..width { for c in 0..channels {
            prop_assert_eq!(*data.next().unwrap(), value(n, c, y, x));
        }}}}
    }

    /// The same, where the values of tokens are in the place of the channels; and each value meets the
    /// mean and the deviation of its place in the token.
    #[test]
    fn tokens_in_place_are_cells(
        [batch, channels, rows, columns] in prop::array::uniform4(1usize..4),
        [patch_height, patch_width] in prop::array::uniform2(1usize..4),
        channels_first: bool,
        with_batch: bool,
        comfy: bool,
    ) {
        let order = if channels_first { TokenOrder::ChannelsFirst } else { TokenOrder::ChannelsLast };
        let content = TokenContent::Picture;
        let packing = Packing { patch_height, patch_width, order, content, in_place: true };
        let len = packing.token_len(channels);
        // Else they are cells, or tokens one behind the other.
        prop_assume!(len != channels && (with_batch || columns != len));
        let batch = if with_batch { batch } else { 1 };
        let shape = [batch, len, rows, columns];
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|index| index as f32).collect();
        let of_file = if with_batch { &shape[..] } else { &shape[1..] };
        let file = match comfy {
            true => {
                let version = ("latent_format_version_0", &[0][..], &[][..]);
                file(&[("latent_tensor", of_file, &values), version])
            }
            false => file(&[("latents", of_file, &values)]),
        };
        let mean: Vec<f32> = (0..len).map(|value| 1000.0 * value as f32).collect();
        let std: Vec<f32> = (0..len).map(|value| 1.0 + value as f32).collect();
        let mean_and_std = Some((mean.clone(), std.clone()));
        let space = LatentSpace { mean_and_std, of_tokens: Some(packing), ..LatentSpace::VAE };
        let wanted = Wanted {
            channels, scale: 8, video: false, packing: Some(packing), sides: None,
            comfy: comfy.then_some(&space),
        };
        if !comfy {
            let error = file.for_decoder(&wanted, None).unwrap_err().to_string();
            prop_assert!(error.contains("packed for a transformer"), "{}", error);
        }
        let sides = Some([8, 8]);
        let error = file.for_decoder(&Wanted { sides, ..wanted }, Some(&space)).unwrap_err();
        prop_assert!(error.to_string().contains("by their shape"), "{}", error);
        // ComfyUI's tell by themselves what they are.
        let given = (!comfy).then_some(&space);
        let ForDecoder { latents, .. } = file.for_decoder(&wanted, given).unwrap();
        let [height, width] = [rows * patch_height, columns * patch_width];
        prop_assert_eq!(
            [latents.batch, latents.channels, latents.frames, latents.height, latents.width],
            [batch, channels, 1, height, width]
        );
        let mut data = latents.data.iter();
        for n in 0..batch { for y in 0..height { for x in 0..width { for c in 0..channels {
            let (dy, dx) = (y % patch_height, x % patch_width);
            let value = match channels_first {
                true => (c * patch_height + dy) * patch_width + dx,
                false => (dy * patch_width + dx) * channels + c,
            };
            let stored = ((n * len + value) * rows + y / patch_height) * columns + x / patch_width;
            let expected = values[stored] * std[value] + mean[value];
            prop_assert_eq!(*data.next().unwrap(), expected);
        }}}}
    }
}
