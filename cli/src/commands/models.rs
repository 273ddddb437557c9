//! `halovae models`: whose VAEs are decoded.

use halovae::describe::{LatentPacking, Model, RefusedModel, models, refused_models};
use serde::Serialize;

use crate::args::ModelsArgs;
use crate::console::{emit, emit_json};
use crate::error::Error;

/// What the columns say.
const HEADER: [&str; 7] =
    ["class", "models", "latents", "pixels", "packed", "decoded on", "strategies"];

/// Prints the models.
///
/// # Errors
/// That stdout takes nothing.
pub(crate) fn run(args: &ModelsArgs) -> Result<(), Error> {
    let models = models();
    match (args.json, args.markdown) {
        (true, _) => {
            let version = env!("CARGO_PKG_VERSION");
            emit_json(&Models { version, models, refused: refused_models() }, None)
        }
        (false, true) => emit(as_markdown(&models).as_bytes(), None),
        (false, false) => emit(as_table(&models).as_bytes(), None),
    }
}

/// All that are known, as JSON.
#[derive(Serialize)]
struct Models {
    version: &'static str,
    models: Vec<Model>,
    refused: Vec<RefusedModel>,
}

/// One line of a table, column by column.
fn row(model: &Model) -> [String; 7] {
    let mut latents = format!("{} channels", model.latents.channels);
    let mut pixels = format!("{0} x {0} per cell", model.latents.pixels_per_cell);
    if let Some(frames) = model.latents.frames_per_latent_frame {
        latents += ", frames";
        pixels += &format!(", {frames} frames per latent frame behind the first");
    }
    if model.streams {
        pixels += ", streamed";
    }
    if model.out_channels != 3 {
        pixels += &format!(", {} channels", model.out_channels);
    }
    let packed = match model.latents.packing {
        None => "no".into(),
        Some(LatentPacking { rows, columns, values, layers, frames, .. }) => {
            let layers = if layers { ", layers" } else { "" };
            let frames = if frames { ", frames" } else { "" };
            format!("{rows} x {columns} cells, {values} values{layers}{frames}")
        }
    };
    let backends: Vec<_> = model.backends.iter().copied().map(in_words).collect();
    [
        model.class.into(),
        model.models.into(),
        latents,
        pixels,
        packed,
        backends.join(", "),
        model.strategies.join(", "),
    ]
}

/// A backend's name as its makers write it.
fn in_words(backend: &str) -> &str {
    match backend {
        "cpu" => "CPU",
        "cuda" => "CUDA",
        other => other,
    }
}

fn as_table(models: &[Model]) -> String {
    let mut text = String::new();
    for [class, names, rest @ ..] in models.iter().map(row) {
        text += &format!("{names}\n");
        text += &format!("     {:<12}{class}\n", HEADER[0]);
        for (name, value) in HEADER[2..].iter().zip(rest) {
            text += &format!("     {name:<12}{value}\n");
        }
    }
    text
}

fn as_markdown(models: &[Model]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header = HEADER.map(String::from);
    let mut text = line(&header) + &line(&HEADER.map(|_| "---".into()));
    for model in models {
        let mut row = row(model);
        row[0] = format!("`{}`", row[0]);
        text += &line(&row);
    }
    text
}
