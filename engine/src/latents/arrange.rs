//! Whether an array is cells or packed tokens, and of what sides.

use super::error::LatentsError;
use super::packing::{Packing, TokenContent};
use super::space::LatentSpace;
use crate::files::text::shape as shown;

/// What a decoder wants of the latents in a file.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Channels of its latents.
    pub channels: usize,
    /// Pixels per latent cell, along each axis.
    pub scale: u32,
    /// Whether it takes videos, whose frames are behind the channels.
    pub video: bool,
    /// How pipelines of its model pack latents, if they do.
    pub packing: Option<Packing>,
    /// Height and width of the picture in pixels, where the user gives them: packed latents do not
    /// tell them.
    pub sides: Option<[u32; 2]>,
    /// In which space ComfyUI saves latents of its model; `None` if it is the VAE's own.
    pub comfy: Option<&'a LatentSpace>,
}

/// How an array is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// Channels of rows of cells.
    Cells,
    /// Values of tokens, where these lie in the picture.
    InPlace { packing: Packing },
    /// Tokens of cells.
    Tokens {
        packing: Packing,
        /// Rows and columns of tokens.
        grid: [usize; 2],
        /// Whether they were only taken for a square.
        square: bool,
    },
}

/// Reads a shape. A pipeline's latents have a batch, so where three axes could be one image without
/// a batch or a batch of packed ones, a pipeline's are packed.
pub(super) fn arrange(
    shape: &[usize],
    wanted: &Wanted<'_>,
    is_pipelines: bool,
) -> Result<Arrangement, LatentsError> {
    if let Some(packing) = wanted.packing.filter(|&packing| is_in_place(shape, packing, wanted)) {
        return match (is_pipelines, wanted.sides, shape) {
            (false, ..) => Err(LatentsError::Packed { shape: shown(shape) }),
            (true, Some(given), &[.., rows, columns]) => {
                let token = [packing.patch_height, packing.patch_width];
                let own = [rows * token[0], columns * token[1]];
                let own = own.map(|cells| pixels(cells, wanted.scale));
                Err(LatentsError::SidesKnown { shape: shown(shape), own, given })
            }
            (true, ..) => Ok(Arrangement::InPlace { packing }),
        };
    }
    let packing = wanted.packing.filter(|packing| {
        let len = packing.token_len(wanted.channels);
        matches!(*shape, [_, values] | [_, _, values] if values == len)
    });
    let Some(packing) = packing else { return cells(shape, wanted) };
    let &[.., tokens, _] = shape else { return cells(shape, wanted) };

    let one_image = match *shape {
        [channels, rows, columns] if channels == wanted.channels => Some([rows, columns]),
        _ => None,
    };
    let of_one = one_image.map(|cells| cells.map(|cells| pixels(cells, wanted.scale)));
    let given = wanted.sides.map(|sides| sides.map(u64::from));
    let is_one = given.is_some() && given == of_one;
    if !is_pipelines {
        return match of_one {
            _ if is_one => Ok(Arrangement::Cells),
            Some(sides) => {
                let images = wanted.channels;
                Err(LatentsError::Ambiguous { shape: shown(shape), images, sides })
            }
            None => Err(LatentsError::Packed { shape: shown(shape) }),
        };
    }
    let token = [packing.patch_height, packing.patch_width].map(|side| pixels(side, wanted.scale));
    let Some(sides) = given else {
        match packing.content {
            TokenContent::Picture => {}
            TokenContent::Layers => {
                return Err(LatentsError::SidesOfLayersNeeded { shape: shown(shape), tokens });
            }
            TokenContent::Video => {
                return Err(LatentsError::SidesOfFramesNeeded { shape: shown(shape), tokens });
            }
        }
        let needed = || LatentsError::SidesNeeded { shape: shown(shape), tokens, token };
        let grid = square(tokens, packing).ok_or_else(needed)?;
        return Ok(Arrangement::Tokens { packing, grid, square: true });
    };
    match grid(sides, token, tokens, packing.content) {
        Ok(grid) => Ok(Arrangement::Tokens { packing, grid, square: false }),
        Err(_) if is_one => Ok(Arrangement::Cells),
        Err(error) => Err(error),
    }
}

/// Whether a shape is that of tokens where they lie in the picture. Three axes may as well be a batch of
/// tokens one behind the other, as pipelines have them.
fn is_in_place(shape: &[usize], packing: Packing, wanted: &Wanted<'_>) -> bool {
    let len = packing.token_len(wanted.channels);
    packing.in_place
        && match *shape {
            [_, values, _, _] => values == len && len != wanted.channels,
            [values, _, columns] => values == len && columns != len && len != wanted.channels,
            _ => false,
        }
}

/// Cells, whose sides the shape tells. What cannot be cells of this decoder is refused for its channels.
fn cells(shape: &[usize], wanted: &Wanted<'_>) -> Result<Arrangement, LatentsError> {
    match (wanted.sides, shape) {
        (Some(given), &[.., height, width]) if has_channels(shape, wanted) => {
            let own = [height, width].map(|cells| pixels(cells, wanted.scale));
            Err(LatentsError::SidesKnown { shape: shown(shape), own, given })
        }
        _ => Ok(Arrangement::Cells),
    }
}

/// Whether there are as many channels as the decoder takes where cells have them.
fn has_channels(shape: &[usize], wanted: &Wanted<'_>) -> bool {
    match *shape {
        [channels, _, _] | [_, channels, _, _] | [_, channels, _, _, _]
            if channels == wanted.channels =>
        {
            true
        }
        [channels, _, _, _] => wanted.video && channels == wanted.channels,
        _ => false,
    }
}

/// Rows and columns of tokens that make a square picture.
fn square(tokens: usize, packing: Packing) -> Option<[usize; 2]> {
    let Packing { patch_height, patch_width, .. } = packing;
    let cells = tokens.checked_mul(patch_height)?.checked_mul(patch_width)?;
    let side = cells.isqrt();
    let fits = side * side == cells
        && side.is_multiple_of(patch_height)
        && side.is_multiple_of(patch_width);
    fits.then(|| [side / patch_height, side / patch_width])
}

/// Rows and columns of tokens of a picture with these sides, of each layer of one, or of each frame.
fn grid(
    sides: [u64; 2],
    token: [u64; 2],
    tokens: usize,
    content: TokenContent,
) -> Result<[usize; 2], LatentsError> {
    let wrong = |problem| LatentsError::Sides { sides, problem };
    for (name, side, token) in [("height", sides[0], token[0]), ("width", sides[1], token[1])] {
        if side == 0 || !side.is_multiple_of(token) {
            let below = side / token * token;
            let nearest = match below {
                0 => token.to_string(),
                below => format!("{below} or {}", below + token),
            };
            return Err(wrong(format!(
                "a {name} of {side} is not a multiple of {token}, the pixels of a token; the \
                 nearest is {nearest}"
            )));
        }
    }
    let [rows, columns] = [sides[0] / token[0], sides[1] / token[1]];
    let expected = rows.saturating_mul(columns);
    let tokens = tokens as u64;
    let fits = match content {
        TokenContent::Picture => tokens == expected,
        TokenContent::Layers => tokens.is_multiple_of(expected) && tokens > expected,
        TokenContent::Video => tokens.is_multiple_of(expected),
    };
    if let [Ok(rows), Ok(columns)] = [rows, columns].map(usize::try_from)
        && fits
    {
        return Ok([rows, columns]);
    }
    let [height, width] = token;
    let each = match content {
        TokenContent::Picture => {
            return Err(wrong(format!(
                "they would be {expected} tokens of {height} x {width} pixels, and there are {tokens}"
            )));
        }
        TokenContent::Layers => "picture and layers",
        TokenContent::Video => "frames",
    };
    Err(wrong(format!(
        "{each} would be {expected} tokens of {height} x {width} pixels each, and there are {tokens} in \
         all"
    )))
}

fn pixels(cells: usize, scale: u32) -> u64 {
    (cells as u64).saturating_mul(u64::from(scale))
}
