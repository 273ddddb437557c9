//! What the program tells of models, checkpoints and devices, without decoding.

mod checkpoints;
mod devices;
mod models;
