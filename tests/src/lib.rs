//! What halovae's tests share: golden values, random models, checkpoints on disk, the binary.
//!
//! The tests themselves lie in `tests/`, one file for each promise that the project makes.

pub mod adapter;
pub mod binary;
pub mod compare;
pub mod decode;
pub mod disk;
pub mod drawing;
pub mod ffmpeg;
pub mod golden;
pub mod gpu;
pub mod mpirun;
pub mod naming;
pub mod npy;
pub mod parity;
pub mod tensors;
pub mod torchrun;
pub mod watchdog;
pub mod y4m;
