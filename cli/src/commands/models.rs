//! `halovae models`: whose VAEs are decoded.

use halovae_engine::checkpoint::{Released, refused, released};
use halovae_engine::latents::TokenContent;
use halovae_engine::program::Op;
use halovae_engine::shard::exchanged_layers;
use serde_json::{Value, json};

use crate::args::ModelsArgs;
use crate::console::emit;
use crate::error::Error;

/// What the columns say.
const HEADER: [&str; 7] =
    ["class", "models", "latents", "pixels", "packed", "decoded on", "strategies"];

/// Prints the models.
///
/// # Errors
/// That stdout takes nothing.
pub(crate) fn run(args: &ModelsArgs) -> Result<(), Error> {
    let models: Vec<Model> = released().iter().map(Model::of).collect();
    let text = match (args.json, args.markdown) {
        (true, _) => as_json(&models),
        (false, true) => as_markdown(&models),
        (false, false) => as_table(&models),
    };
    emit(text.as_bytes(), None)
}

/// What matters of models with VAEs of one shape.
struct Model {
    class: &'static str,
    models: &'static str,
    channels: u32,
    out_channels: u32,
    /// Pixels per latent cell, along each axis.
    pixels: u32,
    /// Frames for each frame of latents but the first, of a decoder of videos.
    frames: Option<u32>,
    /// Sides of a token in cells, and its values, where pipelines pack latents.
    packing: Option<[usize; 3]>,
    /// Whether what is packed is a picture and its layers.
    has_layers: bool,
    /// Whether every backend has its ops, or those alone that have ops over time and norms over channels.
    on_gpus: bool,
    strategies: Vec<&'static str>,
}

impl Model {
    fn of(released: &Released) -> Self {
        let config = &released.config;
        let program = config.decoder().expect("a released model has a decoder");
        let channels = program.latent_channels();
        let scale = config.tiling().scale;
        let packing = config.packing();
        let mut strategies = vec!["whole", "tiled", "patch"];
        if exchanged_layers(&program).is_ok() {
            strategies.push("sharded");
        }
        Self {
            class: config.class(),
            models: released.models,
            channels,
            out_channels: program.out_channels(),
            pixels: scale.space,
            frames: config.is_video().then_some(scale.time.factor),
            packing: packing.map(|packing| {
                let values = packing.token_len(channels as usize);
                [packing.patch_height, packing.patch_width, values]
            }),
            has_layers: packing.is_some_and(|packing| packing.content == TokenContent::Layers),
            on_gpus: program.ops().iter().all(Op::is_of_images),
            strategies,
        }
    }

    /// One line of a table, column by column.
    fn row(&self) -> [String; 7] {
        let mut latents = format!("{} channels", self.channels);
        let mut pixels = format!("{0} x {0} per cell", self.pixels);
        if let Some(frames) = self.frames {
            latents += ", frames";
            pixels += &format!(", {frames} frames per latent frame behind the first, streamed");
        }
        if self.out_channels != 3 {
            pixels += &format!(", {} channels", self.out_channels);
        }
        let packed = match self.packing {
            None => "no".into(),
            Some([rows, columns, values]) => {
                let layers = if self.has_layers { ", layers" } else { "" };
                format!("{rows} x {columns} cells, {values} values{layers}")
            }
        };
        let devices = if self.on_gpus { "CPU, CUDA, wgpu" } else { "CPU" };
        [
            self.class.into(),
            self.models.into(),
            latents,
            pixels,
            packed,
            devices.into(),
            self.strategies.join(", "),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "class": self.class,
            "models": self.models,
            "latents": {
                "channels": self.channels,
                "pixels_per_cell": self.pixels,
                "frames_per_latent_frame": self.frames,
                "packing": self.packing.map(|[rows, columns, values]| json!({
                    "rows": rows, "columns": columns, "values": values, "layers": self.has_layers,
                })),
            },
            "out_channels": self.out_channels,
            "streams": self.frames.is_some(),
            "backends": if self.on_gpus { vec!["cpu", "cuda", "wgpu"] } else { vec!["cpu"] },
            "strategies": self.strategies,
        })
    }
}

fn as_table(models: &[Model]) -> String {
    let rows: Vec<[String; 7]> = models.iter().map(Model::row).collect();
    let mut text = String::new();
    for [class, names, rest @ ..] in &rows {
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
        let mut row = model.row();
        row[0] = format!("`{}`", row[0]);
        text += &line(&row);
    }
    text
}

fn as_json(models: &[Model]) -> String {
    let refused: Vec<Value> =
        refused().map(|of| json!({ "class": of.class, "models": of.models })).collect();
    let models: Vec<Value> = models.iter().map(Model::json).collect();
    let all = json!({ "models": models, "refused": refused });
    serde_json::to_string_pretty(&all).expect("plain values can be written") + "\n"
}
