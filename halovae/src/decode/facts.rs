//! What processes that decode together must have the same of.

use std::fmt::{self, Write};

use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::group::Fact;
use halovae_engine::program::Program;
use halovae_engine::tensor::HostTensor;
use twox_hash::XxHash3_128;

use crate::options::DecodeOptions;
use crate::plan::Planned;

/// A digest of data. It tells files apart that differ by mistake, not by malice.
struct Digest(XxHash3_128);

impl Digest {
    fn new() -> Self {
        Self(XxHash3_128::new())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        self.0.write(bytes);
    }

    fn fact(self, name: &str) -> Fact {
        (name.to_owned(), format!("{:032x}", self.0.finish_128()))
    }
}

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// The facts of a decode. Paths are not among them: files may lie elsewhere on every machine.
pub(crate) fn facts(
    options: &DecodeOptions,
    checkpoint: &Checkpoint,
    program: &Program,
    latents: &HostTensor,
    planned: &Planned,
) -> Vec<Fact> {
    let text = |value: &dyn fmt::Debug| {
        let mut digest = Digest::new();
        // Writing into a digest cannot fail.
        let _ = write!(digest, "{value:?}");
        digest
    };
    let mut weights = Digest::new();
    for spec in program.weights() {
        if let Some(view) = checkpoint.tensor(&spec.name) {
            weights.bytes(view.name.as_bytes());
            let _ = write!(weights, "{:?}{:?}", view.dtype, view.shape);
            weights.bytes(view.bytes);
        }
    }
    let mut values = text(&latents.shape());
    for row in latents.data().chunks(1 << 16) {
        row.iter().for_each(|value| values.0.write(&value.to_le_bytes()));
    }
    let device = &options.devices;
    let device = (device.backend, device.dtype, device.exchange, device.cudnn);
    let flags = (&planned.plan, planned.ranks, options.max_memory, device);
    vec![
        ("program versions".into(), env!("CARGO_PKG_VERSION").into()),
        text(checkpoint.config()).fact("config values"),
        weights.fact("weights"),
        values.fact("latents"),
        text(&flags).fact("flags"),
    ]
}
