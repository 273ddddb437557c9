//! A config from the shapes of the weights, for files that come without one.

use super::config::AutoencoderKlFlux2Config;
use super::statistics::STATISTICS;
use crate::checkpoint::autoencoder_kl::infer::{GROUPS, network};
use crate::checkpoint::family::{Found, Inferred};
use crate::checkpoint::tensors;

/// The config that the weights belong to. Not yet validated.
///
/// # Errors
/// What is missing or odd, as the end of a sentence.
pub(super) fn config(found: &Found<'_>) -> Result<Inferred, String> {
    let mut network = network(found)?;
    let default = AutoencoderKlFlux2Config::default();
    // That of every released model; a tile has at least one latent cell.
    network.sample_size = default.network.sample_size.map(|pixels| pixels.max(network.scale()));
    let statistics =
        tensors::of_vae(found.tensors, found.prefix).find(|(name, _)| *name == STATISTICS[0]);
    let values = statistics.and_then(|(_, shape)| (shape.len() == 1).then(|| shape[0]));
    let patch_size = match values {
        None => default.patch_size,
        Some(values) => side_of_square(values, network.latent_channels).ok_or_else(|| {
            format!(
                "`{}` has {values} values, expected those of a square of cells of {} channels",
                STATISTICS[0], network.latent_channels
            )
        })?,
    };
    let mut guessed = Vec::new();
    if network.norm_num_groups != GROUPS {
        guessed.push("norm_num_groups");
    }
    let config = AutoencoderKlFlux2Config { patch_size, ..default }.with_network(network);
    Ok(Inferred { config: config.into(), model: None, guessed, untold: None })
}

/// Rows and columns of as many cells as have so many values.
fn side_of_square(values: usize, channels: u32) -> Option<[u32; 2]> {
    let cells = values.checked_div(channels as usize)?;
    let side = cells.isqrt();
    let is_square = side * side == cells && cells * channels as usize == values;
    is_square.then(|| u32::try_from(side).ok().map(|side| [side; 2])).flatten()
}
