//! A checkpoint in one file: header, names, inferred config, every weight.

#![no_main]

use halovae_engine::checkpoint::{AutoencoderKlConfig, Checkpoint, VaeConfig};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8], config: Option<Box<dyn VaeConfig>>) {
    let checkpoint = match Checkpoint::from_bytes(bytes.to_vec(), config) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(!error.to_string().contains('\n'), "{error}"),
    };
    checkpoint.config().validate().expect("what is opened has a valid config");
    let mut shapes = Vec::new();
    for name in checkpoint.names() {
        let view = checkpoint.tensor(name).expect("a listed weight is there");
        assert_eq!(view.shape.iter().product::<usize>(), view.elements());
        let mut out = vec![0.0; view.elements()];
        view.to_f32_into(&mut out);
        shapes.push((name, view.shape));
    }
    let unread = checkpoint.verify([]).expect_err("a checkpoint has weights");
    assert!(!unread.to_string().contains('\n'), "{unread}");
    if let Err(error) = checkpoint.verify(shapes) {
        assert!(error.missing.is_empty() && error.misshapen.is_empty(), "{error}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes, None);
    read(bytes, Some(AutoencoderKlConfig::default().into()));
});
