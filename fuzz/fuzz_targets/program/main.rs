//! From any config of any family to a decoder, its fusion and its analysis at any size; and any program
//! over time, whose frames come in any chunks.

#![no_main]

mod config;
mod decoded;
mod form;
mod input;
mod model;
mod sizes;
mod stream;

use halovae_engine::checkpoint::parse_config;
use halovae_engine::program::{ReceptiveField, fuse};
use libfuzzer_sys::fuzz_target;

use config::Config;
use decoded::same_picture;
use form::well_formed;
use input::Input;
use sizes::at_a_size;
use stream::{over_time, streamed};

fuzz_target!(|input: Input| {
    over_time(&input);
    if let Some(config) = Config::of(&input) {
        decoder(&input, &config);
    }
});

fn decoder(input: &Input, config: &Config) {
    let Config { config, latent_channels, out_channels, levels, is_small, .. } = config;
    let written = config.to_json().to_string();
    let read = parse_config(written.as_bytes()).expect("a valid config, as it is written");
    assert!(*read == **config, "{read:?} was written as {written}");
    let plain = match config.decoder() {
        Ok(program) => program,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            return;
        }
    };
    well_formed(&plain);
    form::reads_every_weight_once(&plain);
    assert_eq!(plain.latent_channels(), *latent_channels);
    assert_eq!(plain.out_channels(), *out_channels);
    assert_eq!(plain.out_scale(), config.tiling().scale);
    assert_eq!(read.decoder().ok().as_ref(), Some(&plain));

    let fused = fuse(&plain, |_, op| input.accepts(op));
    well_formed(&fused);
    assert!(fused.ops().len() <= plain.ops().len());
    assert_eq!(fused.output(), plain.output());
    if *levels <= 6 {
        assert_eq!(ReceptiveField::new(&fused), ReceptiveField::new(&plain));
    }
    at_a_size(input, &plain, &fused);
    if config.is_video() {
        streamed(input, &plain, &fused);
    } else if *is_small {
        same_picture(input, &plain, &fused);
    }
}
