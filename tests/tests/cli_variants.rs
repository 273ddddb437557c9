//! Which weights of a folder a user gets, chosen or not, on every command that takes a VAE.

use std::path::{Path, PathBuf};

use halovae_tests::binary::{self, Run};
use halovae_tests::disk::{CONFIG, RawFile, WEIGHTS};
use halovae_tests::golden::Golden;
use tempfile::TempDir;

/// A folder with two variants of a golden model's weights, of which one decodes to the golden
/// picture, and its latents.
struct Setup {
    golden: Golden,
    folder: TempDir,
}

/// The variant of the golden weights; the other's last bias is another.
const RIGHT: &str = "non_ema";
const OTHER: &str = "ema";

impl Setup {
    fn new() -> Self {
        let golden = Golden::load("f1-one-level");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let setup = Self { golden, folder };
        std::fs::create_dir(setup.vae()).expect("a folder");
        std::fs::copy(setup.golden.folder.join(CONFIG), setup.vae().join(CONFIG))
            .expect("a config");
        let mut weights = RawFile::read(&setup.golden.folder.join(WEIGHTS));
        weights.write(&setup.file(RIGHT));
        let bias = weights.tensors.get_mut("decoder.conv_out.bias").expect("a bias");
        bias.bytes.fill(0);
        weights.write(&setup.file(OTHER));
        setup
    }

    fn vae(&self) -> PathBuf {
        self.folder.path().join("vae")
    }

    fn file(&self, variant: &str) -> PathBuf {
        self.vae().join(format!("diffusion_pytorch_model.{variant}.safetensors"))
    }

    fn run(&self, command: &str, vae: &Path, flags: &[&str]) -> Run {
        let mut command = binary::command([command]);
        command.args(flags).arg("--vae").arg(vae);
        binary::run_command(command)
    }

    /// The bytes of the picture, and what was said.
    fn decode(&self, vae: &Path, flags: &[&str]) -> (Vec<u8>, String) {
        let (latents, output) = (self.golden.latents_file(), self.folder.path().join("a.npy"));
        let paths = [latents, output.clone()].map(|path| path.display().to_string());
        let given = ["--latents", &paths[0], "--output", &paths[1]];
        let run = self.run("decode", vae, &[flags, &given].concat()).expect_success();
        (std::fs::read(output).expect("an output"), run.stderr)
    }
}

#[test]
fn the_variant_that_is_chosen_is_decoded_with() {
    let setup = Setup::new();
    let (expected, _) = setup.decode(&setup.golden.folder, &[]);
    let (right, said) = setup.decode(&setup.vae(), &["--variant", RIGHT]);
    assert_eq!((right == expected, said.as_str()), (true, ""));
    let (other, _) = setup.decode(&setup.vae(), &["--variant", OTHER]);
    assert!(other != expected, "both variants give the same picture");
    // The only one is taken unasked, but not silently.
    std::fs::remove_file(setup.file(OTHER)).expect("a file");
    let (right, said) = setup.decode(&setup.vae(), &[]);
    assert_eq!(right, expected);
    assert!(said.contains("variant \"non_ema\", the only ones there"), "{said}");
}

#[test]
fn every_command_takes_a_variant_and_refuses_to_guess_one() {
    let setup = Setup::new();
    let size = ["--height", "64", "--width", "64"];
    for command in ["inspect", "plan"] {
        let run = |flags: &[&str]| setup.run(command, &setup.vae(), &[&size, flags].concat());
        run(&["--variant", RIGHT]).expect_success();
        for (flags, word) in
            [(&[][..], "ema, non_ema; choose one"), (&["--variant", "x"], "no variant x")]
        {
            let refused = run(flags);
            assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
            assert!(refused.stderr.contains("--variant NAME"), "{}", refused.stderr);
        }
    }
    let run = setup.run("inspect", &setup.vae(), &["--variant", RIGHT]).expect_success();
    assert!(run.stdout.contains("diffusion_pytorch_model.non_ema.safetensors"), "{}", run.stdout);
    let run = setup.run("plan", &setup.file(RIGHT), &[&size[..], &["--variant", OTHER]].concat());
    assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
}

/// A plan needs no weights, so that none are missed where only a config was downloaded.
#[test]
fn a_plan_needs_the_config_alone() {
    let setup = Setup::new();
    for variant in [RIGHT, OTHER] {
        std::fs::remove_file(setup.file(variant)).expect("a file");
    }
    std::fs::write(setup.vae().join("diffusion_pytorch_model.bin"), "PK\x03\x04").expect("a file");
    let size = ["--height", "64", "--width", "64"];
    setup.run("plan", &setup.vae(), &size).expect_success();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("lost", setup.vae().join(WEIGHTS)).expect("a link");
        setup.run("plan", &setup.vae(), &size).expect_success();
        let run = setup.run("inspect", &setup.vae(), &size);
        assert!(run.stderr.contains("it is a link to `lost`"), "{}", run.stderr);
    }
}

/// The folder that `hf download` makes is one that can be given.
#[test]
fn a_model_in_the_hubs_cache_is_decoded_with() {
    let setup = Setup::new();
    let root = setup.folder.path().join("models--org--model");
    let snapshot = root.join("snapshots/0123");
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::fs::create_dir(root.join("refs")).expect("a folder");
    std::fs::write(root.join("refs/main"), "0123").expect("a file");
    std::fs::rename(setup.vae(), snapshot.join("vae")).expect("a folder");
    let (expected, _) = setup.decode(&setup.golden.folder, &[]);
    let (picture, _) = setup.decode(&root, &["--variant", RIGHT]);
    assert_eq!(picture, expected);
}
