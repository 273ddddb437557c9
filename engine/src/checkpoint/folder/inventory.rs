//! What lies where weights were looked for, and what to do with it.

use std::path::{Path, PathBuf};

use super::listing::Listing;
use super::torch_index::TorchIndex;
use crate::checkpoint::file_names::{STEM, torch_index};
use crate::checkpoint::{convert, registry};
use crate::files::hub;
use crate::files::sniff::{FileKind, sniff};
use crate::files::storage::{broken_link, read_head};
use crate::files::text::{escaped, listed};

/// More folders than hold models side by side.
const MAX_FOLDERS: usize = 256;
/// What `torch.save` writes is called so.
const TORCH: [&str; 5] = ["bin", "ckpt", "pt", "pth", "pkl"];
/// Weights that are not read and that no command converts.
const OTHERS: [&str; 8] = ["onnx", "gguf", "h5", "pb", "tflite", "mlmodel", "npz", "nemo"];

/// What follows "has no weights": the best that can be said of these folders, the most likely one
/// first. Other models' folders beside them are in `around`.
pub(super) fn explain(places: &[Listing], around: Option<&Listing>) -> String {
    let found = places
        .iter()
        .find_map(broken)
        .or_else(|| places.iter().find_map(unfinished))
        .or_else(|| candidates(places, around))
        .or_else(|| places.iter().find_map(torch))
        .or_else(|| places.iter().find_map(others));
    found.unwrap_or_else(|| {
        let entries = places.first().map(|place| place.files.iter().chain(&place.folders));
        let there = listed(entries.into_iter().flatten().map(|name| escaped(name)));
        let there = if there.is_empty() { "it is empty".into() } else { format!("it has {there}") };
        format!(
            "; expected a folder with {STEM}.safetensors, a pipeline with such a folder `vae`, or a \
             .safetensors file, but {there}"
        )
    })
}

fn broken(place: &Listing) -> Option<String> {
    let weights = place.files.iter().filter(|name| name.contains(".safetensors"));
    weights.into_iter().find_map(|name| {
        let problem = broken_link(&place.path(name))?;
        Some(format!(" that can be read: `{}`: {problem}", escaped(name)))
    })
}

fn unfinished(place: &Listing) -> Option<String> {
    let part = hub::unfinished(&place.folder)?;
    let again = match hub::download(&place.folder) {
        Some(command) => format!("do it again: {command}"),
        None => "do it again".into(),
    };
    Some(format!("; its download was not finished (`{}`), {again}", part.display()))
}

/// Files and folders that the path may have meant.
fn candidates(places: &[Listing], around: Option<&Listing>) -> Option<String> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for place in places.iter().chain(around) {
        let folders = place.folders.iter().take(MAX_FOLDERS);
        paths.extend(folders.map(|name| place.path(name)).filter(|folder| holds_vae(folder)));
        let files = place.files.iter().filter(|name| name.ends_with(".safetensors"));
        paths.extend(files.map(|name| place.path(name)));
    }
    let one = match paths.len() {
        0 => return None,
        1 => "this",
        _ => "one of these",
    };
    let paths = listed(paths.iter().map(|path| format!("`{}`", path.display())));
    Some(format!(" under the names that diffusers gives; give {one} if it is meant: {paths}"))
}

/// Whether a folder has a VAE's weights, or is a pipeline's with one.
fn holds_vae(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let snapshot = hub::snapshot(folder).ok().flatten();
    let folder = snapshot.as_ref().map_or(folder, |snapshot| &snapshot.folder);
    let has_weights =
        |folder: &Path| Listing::read(folder).is_ok_and(|listing| listing.has_weights());
    let is_vae = name.contains("vae")
        || read_head(&folder.join("config.json"))
            .is_ok_and(|head| registry::is_named_in(&String::from_utf8_lossy(&head)));
    (is_vae && has_weights(folder)) || has_weights(&folder.join("vae"))
}

fn with_ending<'a>(place: &'a Listing, endings: &'a [&str]) -> impl Iterator<Item = &'a String> {
    let ends = |name: &str, ending: &str| {
        name.rsplit_once('.').is_some_and(|(_, own)| own.eq_ignore_ascii_case(ending))
    };
    place.files.iter().filter(move |name| endings.iter().any(|ending| ends(name, ending)))
}

/// Weights in torch's own format: those under diffusers' names first, the plain ones of them.
fn torch(place: &Listing) -> Option<String> {
    let rank = |name: &&String| (!name.starts_with(STEM), name.matches('.').count());
    let first = with_ending(place, &TORCH).min_by_key(rank);
    let indices = place.files.iter().filter(|name| torch_index(name).is_some());
    let index = indices.min_by_key(rank).and_then(|name| {
        let index = TorchIndex::read(&place.path(name)).ok()?;
        first.is_none_or(|first| index.names(&place.path(first))).then_some((name, index))
    });
    if let Some((name, index)) = index {
        let remedy = index.remedy();
        return Some(format!(" in safetensors; `{}` is an index, {remedy}", escaped(name)));
    }
    let first = first?;
    let path = place.path(first);
    let head = read_head(&path).unwrap_or_default();
    match sniff(&head) {
        Some(FileKind::Safetensors) => {
            Some(format!(" of that name; `{}` is a safetensors file, give that", path.display()))
        }
        Some(kind) if !kind.is_torch() => {
            Some(format!("; `{}` is {kind}{}", escaped(first), kind.remedy()))
        }
        _ => Some(format!(
            " in safetensors; `{}` is in torch's own format, {}",
            escaped(first),
            convert::from_torch(&path)
        )),
    }
}

fn others(place: &Listing) -> Option<String> {
    if let Some(flax) = with_ending(place, &["msgpack"]).next() {
        let mut output = place.folder.clone().into_os_string();
        output.push("-safetensors");
        return Some(format!(
            " in safetensors; `{}` is Flax', take the model's .safetensors or have diffusers \
             convert it (flax must be installed): {}",
            escaped(flax),
            convert::from_flax(&place.folder, Path::new(&output))
        ));
    }
    let found: Vec<_> = with_ending(place, &OTHERS).map(|name| escaped(name)).collect();
    let remedy = FileKind::Onnx.remedy();
    (!found.is_empty())
        .then(|| format!(" in safetensors; {} cannot be read{remedy}", listed(found)))
}
