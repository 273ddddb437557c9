//! What a checkpoint that was opened keeps, and one that was not says.

use halovae_engine::checkpoint::{Checkpoint, CheckpointError, VaeConfig, parse_config};

/// Opens a file and reads all of it.
pub(crate) fn open(
    bytes: &[u8],
    config: Option<Box<dyn VaeConfig>>,
) -> Result<Checkpoint, CheckpointError> {
    let checkpoint =
        Checkpoint::from_bytes(bytes.to_vec(), config).inspect_err(|error| one_line(error))?;
    weights(&checkpoint);
    network(&checkpoint);
    if let Err(error) = checkpoint.latent_space() {
        one_line(&error);
    }
    Ok(checkpoint)
}

fn one_line(error: &dyn std::error::Error) {
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// Every weight is read as it is listed.
fn weights(checkpoint: &Checkpoint) {
    let mut shapes = Vec::new();
    for name in checkpoint.names() {
        let view = checkpoint.tensor(name).expect("a listed weight is there");
        assert_eq!(view.shape.iter().product::<usize>(), view.elements());
        let mut out = vec![0.0; view.elements()];
        view.to_f32_into(&mut out);
        shapes.push((name, view.shape));
    }
    one_line(&checkpoint.verify([]).expect_err("a checkpoint has weights"));
    if let Err(error) = checkpoint.verify(shapes) {
        assert!(error.missing.is_empty() && error.misshapen.is_empty(), "{error}");
    }
}

/// The config is one that can be written, and either the weights are those of its decoder or it is said
/// why not.
fn network(checkpoint: &Checkpoint) {
    let config = checkpoint.config();
    config.validate().expect("what is opened has a valid config");
    assert!(!config.details().is_empty());
    let written = config.to_json().to_string();
    let read = parse_config(written.as_bytes()).expect("a valid config, as it is written");
    assert!(*read == *config, "{config:?} was written as {written}");
    let [program, of_written] = match [config.decoder(), read.decoder()] {
        [Ok(program), Ok(of_written)] => [program, of_written],
        [Err(error), _] => return one_line(&error),
        [_, Err(error)] => panic!("no decoder of what was written: {error}"),
    };
    assert!(program == of_written, "{config:?} was written as {written}");
    let wanted = program.weights().iter().map(|spec| (&*spec.name, &*spec.shape));
    if let Err(error) = checkpoint.verify(wanted) {
        one_line(&error);
    }
}
