//! The bytes of a checkpoint in one file: header, names, inferred config, every weight.

#![no_main]

mod opened;

use halovae_engine::checkpoint::parse_config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Whether it is opened is for the file to say.
    let _ = opened::open(bytes, None);
    for class in [
        "AutoencoderKL",
        "AutoencoderKLWan",
        "AutoencoderKLQwenImage",
        "AutoencoderKLLTX2Video",
        "AutoencoderKLLTXVideo",
    ] {
        let config = format!("{{\"_class_name\": \"{class}\"}}");
        let config = parse_config(config.as_bytes()).expect("the defaults of a class");
        let _ = opened::open(bytes, Some(config));
    }
});
