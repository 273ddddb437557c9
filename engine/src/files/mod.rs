//! What readers of checkpoints and of latents have in common: files as people have them, and how
//! messages speak of them.

pub(crate) mod header;
pub(crate) mod hub;
pub(crate) mod sniff;
pub(crate) mod storage;
pub(crate) mod text;
