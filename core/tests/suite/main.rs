//! The planner against independent, slow and obvious versions of the same arithmetic.

mod assign;
mod blend;
mod cases;
mod choose;
mod chunk;
mod cost;
mod diffusers;
mod errors;
mod geometry;
mod grid;
mod patch;
mod scale;
mod shard;
mod shard_fit;
mod share;
mod time_tiles;
mod totality;
mod window;
