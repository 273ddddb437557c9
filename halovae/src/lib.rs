//! Decodes the latents of diffusion models into images and videos, on several devices at once.
//!
//! [`Vae::open`] opens a checkpoint, [`Vae::read_latents`] reads latents, and [`Vae::decode`] decodes them
//! into memory:
//!
//! ```
//! use halovae::{DecodeOptions, LatentsOptions, Vae};
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
//!
//! let vae = Vae::open("examples/demo-vae/vae")?;
//! let file = "examples/demo-vae/latents/chelsea.safetensors";
//! let latents = vae.read_latents(file, &LatentsOptions::default())?;
//! let picture = vae.decode(&latents.tensor, &DecodeOptions::cpu().ranks(2).tiled())?;
//! assert!(picture.max_abs() > 0.5);
//! # Ok::<(), halovae::Error>(())
//! ```
//!
//! A [`Decoder`] keeps the weights on its devices and decodes any number of latents:
//! [into memory](Decoder::decode), into any [`Sink`] [row by row](Decoder::decode_into), or as a
//! [stream of frames](Decoder::frames). A [`Planner`] says what a decode would take without doing it.
//!
//! What was decided for the caller is told as [`Notice`]s, what happens as [`Event`]s, what was done as
//! [`Done`]: all of them data. There is one type of [`Error`].
//!
//! Tensors are `f32`, channels last: `[batch, frames, height, width, channels]`. An image is a video of one
//! frame.

mod decode;
pub mod describe;
pub mod devices;
mod error;
mod latents;
pub mod memory;
mod notice;
mod options;
pub mod plan;
mod recipe;
pub mod report;
mod room;
mod vae;
pub mod words;

pub use decode::{Control, Decoder, Done, Frame, Frames, Job, PerFrame, Together};
pub use describe::{DescribeOptions, Description, models};
pub use devices::list as devices;
pub use error::{Chain, Error};
pub use halovae_core as core;
pub use halovae_core::{Axes, Plan, Size, Strategy};
pub use halovae_engine as engine;
pub use halovae_engine::event::{Event, Observer, Silent};
pub use halovae_engine::group::Cancel;
pub use halovae_engine::latents::LatentsFormat;
pub use halovae_engine::sink::{MemorySink, RowsAt, Sink};
pub use halovae_engine::tensor::{HostTensor, Shape};
pub use latents::Latents;
pub use notice::Notice;
pub use options::{
    BackendChoice, Cudnn, CutOptions, DecodeOptions, DeviceOptions, Dtype, Exchange,
    LatentsOptions, OpenOptions, OptionError, Space, TileOptions,
};
pub use plan::{Comparison, Estimates, Planned, Planner};
pub use report::Report;
pub use vae::Vae;
