//! Processes that should not have been started together, or not like this.

use std::path::Path;

use halovae_tests::disk::{RawFile, WEIGHTS, copy_checkpoint};
use halovae_tests::golden::Golden;

use crate::{Folder, assert_one_line, decode, run, run_each};

struct Setup {
    golden: Golden,
    folder: Folder,
}

impl Setup {
    fn new() -> Self {
        Self { golden: Golden::load("f8-flux"), folder: Folder::new() }
    }

    fn decode(&self, flags: &[&str]) -> Vec<String> {
        self.decode_from(&self.golden.folder, &self.golden.latents_file(), flags)
    }

    fn decode_from(&self, vae: &Path, latents: &Path, flags: &[&str]) -> Vec<String> {
        decode(vae, latents, &self.folder.path("picture.png"), flags)
    }

    fn assert_no_picture(&self) {
        let left = self.folder.listing();
        assert!(!left.iter().any(|name| name.contains("picture")), "left behind: {left:?}");
        assert!(!left.iter().any(|name| name.ends_with(".partial")), "left behind: {left:?}");
    }
}

/// One process of three, each in turn, was started with other files or flags.
#[test]
fn others_than_rank_0() {
    let setup = Setup::new();
    let mut latents = setup.golden.latents.clone();
    latents.data_mut()[0] += 1e-3;
    let other_latents = setup.folder.path("latents.safetensors");
    RawFile::latents(&latents).write(&other_latents);
    let other_vae = setup.folder.path("vae");
    copy_checkpoint(&setup.golden.folder, &other_vae);
    let mut weights = RawFile::read(&other_vae.join(WEIGHTS));
    let conv = weights.tensors.get_mut("decoder.conv_in.weight").expect("a weight");
    conv.bytes[0] ^= 1;
    weights.write(&other_vae.join(WEIGHTS));

    let same = setup.decode(&[]);
    let others = [
        ("latents", setup.decode_from(&setup.golden.folder, &other_latents, &[])),
        ("weights", setup.decode_from(&other_vae, &setup.golden.latents_file(), &[])),
        ("flags", setup.decode(&["--strategy", "sharded"])),
    ];
    for (what, other) in others {
        for rank in 1..3 {
            let mut arguments = vec![same.clone(); 3];
            arguments[rank] = other.clone();
            let words = [&format!("rank {rank} failed"), &format!("its {what} differ")];
            assert_one_line(what, &run_each(&arguments), &words.map(String::as_str));
            setup.assert_no_picture();
        }
    }
    // If rank 0 is the odd one, all others differ from it.
    let arguments = [setup.decode(&["--strategy", "sharded"]), same.clone(), same];
    assert_one_line("rank 0", &run_each(&arguments), &["its flags differ", "failed"]);
    setup.assert_no_picture();
}

/// A process that cannot read its files says why, through rank 0.
#[test]
fn a_file_that_one_lacks() {
    let setup = Setup::new();
    let none = setup.folder.path("nowhere.npy");
    let lacking = setup.decode_from(&setup.golden.folder, &none, &[]);
    for rank in 0..3 {
        let mut arguments = vec![setup.decode(&[]); 3];
        arguments[rank] = lacking.clone();
        let run = run_each(&arguments);
        assert_one_line("no latents", &run, &["nowhere.npy"]);
        if rank > 0 {
            assert_one_line("no latents", &run, &[&format!("rank {rank} failed")]);
        }
        setup.assert_no_picture();
    }
}

/// What is wrong for all is told once.
#[test]
fn flags_that_are_wrong_for_all() {
    let setup = Setup::new();
    let run_with = |flags: &[&str]| run(3, &setup.decode(flags));
    assert_one_line("no such flag", &run_with(&["--no-such-flag"]), &["--no-such-flag"]);
    let wrong = run_with(&["--shard-grid", "2x2"]);
    assert_one_line("a grid for tiles", &wrong, &["--shard-grid needs --strategy sharded"]);
    let none = run_with(&["--vae-patch-parallel-size", "0"]);
    assert_one_line("no ranks", &none, &["--vae-patch-parallel-size is 0"]);
    setup.assert_no_picture();
}
