//! Images and videos into files and pipes: a format by file extension, and a
//! [`Sink`](halovae_engine::sink::Sink) that writes it.
//!
//! Whatever can be known to fail is refused before anything is decoded: the extension and the
//! folder in [`OutputFile::check`], sizes, channels and all names in [`OutputFile::files`] and
//! [`check_all`], and what only an installed ffmpeg knows in [`OutputFile::probe`]. Files get their names only when all of them are complete: a [`FileSink`] gives
//! [`Temporary`] files, and [`Temporary::commit`] names them, all or none.

mod buffer;
mod children;
mod disk_room;
mod encoded;
mod error;
mod file_sink;
mod format;
mod frame_rate;
mod given;
mod identity;
mod latch;
mod names;
mod npy;
mod options;
mod output;
mod picture;
mod pictures;
mod pixel;
mod place;
mod planar;
mod png;
mod preview;
mod safetensors;
mod stage;
mod take_over;
mod temporary;
mod tiff;
mod unfit;
#[cfg(target_os = "linux")]
mod unnamed;
mod video;
mod written;

pub use error::OutputError;
pub use file_sink::FileSink;
pub use frame_rate::{FrameRate, FrameRateError};
pub use options::Options;
pub use output::OutputFile;
pub use pixel::Depth;
pub use place::{check_place, check_scratch};
pub use planar::channels_first;
pub use temporary::Temporary;
pub use unfit::Unfit;
pub use written::{Written, check_all};
