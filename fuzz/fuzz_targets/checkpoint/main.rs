//! Checkpoints of small networks of every family under the names of either code base: as they are they
//! are opened, and with any names, shapes and types changed they are refused or hold what they list.

#![no_main]

mod change;
mod file;
mod network;
#[path = "../opened.rs"]
mod opened;

use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, VaeConfig, parse_config};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

use change::Change;
use network::{Named, Network};

/// Most changes of a file: more of them are refused for the first.
const MAX_CHANGES: usize = 6;

/// What precedes the names of the VAE.
const PREFIXES: [&str; 5] = ["", "vae.", "first_stage_model.", "model.", "model.vae."];

#[derive(Arbitrary, Debug)]
struct Input {
    network: Network,
    names: Named,
    prefix: u8,
    dtype: u8,
    /// Channels that the first conv of an encoder makes and reads, if the file has one.
    encoder: Option<[u8; 2]>,
    given: Given,
    changes: Vec<Change>,
}

/// The config that is given with the file.
#[derive(Arbitrary, Debug)]
enum Given {
    None,
    Own,
    AutoencoderKl,
    Wan,
    QwenImage,
}

impl Given {
    fn config(&self, network: &Network) -> Option<Box<dyn VaeConfig>> {
        let class = match self {
            Self::None => return None,
            Self::Own => return Some(network.config()),
            Self::AutoencoderKl => return Some(AutoencoderKlConfig::default().into()),
            Self::Wan => "AutoencoderKLWan",
            Self::QwenImage => "AutoencoderKLQwenImage",
        };
        let config = format!("{{\"_class_name\": \"{class}\"}}");
        Some(parse_config(config.as_bytes()).expect("the defaults of a class"))
    }
}

fuzz_target!(|input: Input| {
    let config = input.network.config();
    if config.validate().is_err() {
        return;
    }
    let prefix = PREFIXES[usize::from(input.prefix) % PREFIXES.len()];
    let mut tensors = input.network.tensors(&input.names, prefix, input.dtype);
    if let Some(channels) = input.encoder {
        tensors.push(input.network.encoder(&input.names, prefix, input.dtype, channels));
    }
    let changes = &input.changes[..input.changes.len().min(MAX_CHANGES)];
    changes.iter().for_each(|change| change.make(&mut tensors));
    let opened = opened::open(&file::written(&tensors), input.given.config(&input.network));
    let is_plain = changes.is_empty() && !matches!(input.names, Named::Mixed(_));
    if is_plain && matches!(input.given, Given::None | Given::Own) {
        let opened = opened.expect("a file with all that belongs to a decoder");
        whole(&opened, &*config, prefix);
    }
});

/// A file of a network alone is opened as that network.
fn whole(checkpoint: &Checkpoint, config: &dyn VaeConfig, prefix: &str) {
    assert_eq!(checkpoint.prefix(), prefix);
    assert_eq!(checkpoint.ignored(), [""; 0]);
    let [found, expected] = [checkpoint.config(), config].map(|config| config.decoder());
    // Shapes do not tell the groups of a norm, so that they may be guessed to be none of a config's.
    let [Ok(found), Ok(expected)] = [found, expected] else { return };
    assert_eq!(found.weights(), expected.weights());
    let wanted = expected.weights().iter().map(|spec| (&*spec.name, &*spec.shape));
    checkpoint.verify(wanted).expect("weights of that decoder");
    if config.is_video() {
        assert!(found == expected, "{config:?} was taken for {:?}", checkpoint.config());
    }
}
