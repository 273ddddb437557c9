//! Files of videos, written as a decode writes them and read back by others.

mod animated;
mod by_ffmpeg;
mod clip;
mod ffmpeg;
#[cfg(feature = "mp4")]
mod mp4;
