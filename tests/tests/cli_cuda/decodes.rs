//! Decodes of every strategy and type, with graphs and without.

use std::path::Path;

use halovae_tests::binary::{self, listing};
use halovae_tests::compare::{assert_f32_close, relative_rms};
use halovae_tests::golden::Golden;
use halovae_tests::gpu;

use crate::{CACHE, backend, decode, picture, run};

#[test]
fn decodes_as_diffusers_does() {
    let golden = Golden::load("f8-flux");
    for (flags, key) in [
        (&["--backend", "cuda", "--device", "0", "--strategy", "whole"][..], "whole"),
        (
            &["--backend", "cuda", "--strategy", "sharded", "--vae-patch-parallel-size", "2"],
            "whole",
        ),
        // CUDA is what is used where it works.
        (&["--strategy", "tiled", "--vae-patch-parallel-size", "3"], "tiled"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        run(decode(&golden, folder.path(), flags)).expect_success();
        assert_f32_close(key, &picture(folder.path()), golden.expected(key));
        let told = backend(folder.path());
        assert!(told.contains("CUDA sm_") && told.contains("f32"), "{told}");
    }
    let kept = listing(&Path::new(CACHE).join("halovae"));
    assert!(kept.iter().any(|name| name.ends_with(".cubin")), "{kept:?}");
}

#[test]
fn decodes_in_half_precision() {
    let golden = Golden::load("f8-sd");
    for (dtype, least) in [("f16", 1e-5), ("bf16", 1e-4)] {
        let folder = tempfile::tempdir().expect("a folder");
        run(decode(&golden, folder.path(), &["--dtype", dtype])).expect_success();
        let error = relative_rms(&picture(folder.path()), golden.expected("whole"));
        assert!((least..=2e-2).contains(&error), "{dtype}: relative rms {error}");
        assert!(backend(folder.path()).contains(dtype), "{}", backend(folder.path()));
    }
}

/// Tiles of a size that has been decoded are launched as a graph, where there are graphs.
#[test]
fn with_graphs_and_without() {
    if gpu::is_real() {
        return;
    }
    let golden = Golden::load("f8-flux");
    let pictures = [None, Some(("HALOVAE_STAND_IN_NO_GRAPHS", "1"))].map(|variable| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = binary::command(["decode", "--backend", "cuda", "--strategy", "tiled"]);
        command.arg("--vae").arg(&golden.folder).arg("--latents").arg(golden.latents_file());
        command.arg("--output").arg(folder.path().join("picture.npy")).envs(variable);
        assert_eq!(run(command).expect_success().stderr, "");
        picture(folder.path())
    });
    assert_f32_close("tiled", &pictures[0], golden.expected("tiled"));
    assert_eq!(pictures[0], pictures[1]);
}
