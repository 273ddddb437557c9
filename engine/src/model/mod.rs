//! Decoders of the model families, as programs.

pub mod autoencoder_kl;
