//! GPUs that fail or lack something are passed over, unless they were named.

use halovae_tests::binary;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::golden::Golden;
use halovae_tests::{gpu, npy};

use crate::{CACHE, assert_fails, backend, decode, picture, run};

/// An automatically chosen GPU that fails on a trial does not spoil the decode.
#[test]
fn a_gpu_that_fails_is_passed_over() {
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = decode(&golden, folder.path(), &["--strategy", "whole"]);
    command.env("HALOVAE_NVIDIA_LIBRARIES", gpu::stand_in()).env("HALOVAE_STAND_IN_FAILS", "20");
    command.env("XDG_CACHE_HOME", CACHE);
    let passed = binary::run_command(command).expect_success();
    for words in ["a trial on", "CUDA_ERROR_LAUNCH_FAILED", "CUDA is left out"] {
        assert!(passed.stderr.contains(words), "{}", passed.stderr);
    }
    assert!(!backend(folder.path()).contains("CUDA"), "{}", backend(folder.path()));
    assert_f32_close("whole", &picture(folder.path()), golden.expected("whole"));
}

/// A decoder of images may have an op that a GPU lacks.
#[test]
fn an_op_of_images_that_a_gpu_lacks_is_named() {
    let golden = Golden::load("hunyuan-image");
    let folder = tempfile::tempdir().expect("a folder");
    let named = run(decode(&golden, folder.path(), &["--backend", "cuda"]));
    assert_fails("a GPU that was named", &named, 2, &["has no shuffle"]);
    assert!(!folder.path().join("picture.npy").exists());
}

/// A GPU that lacks an op of the decoder is passed over too, unless the user named it.
#[test]
fn a_gpu_that_lacks_an_op_is_passed_over() {
    let golden = Golden::load("wan");
    let folder = tempfile::tempdir().expect("a folder");
    let with = |flags: &[&str]| run(decode(&golden, folder.path(), flags));
    let named = with(&["--backend", "cuda"]);
    assert_fails("a GPU that was named", &named, 2, &["has no conv over time"]);
    assert!(!folder.path().join("picture.npy").exists());
    let passed = with(&[]).expect_success();
    for words in ["note: ", "has no conv over time", "CUDA is left out"] {
        assert!(passed.stderr.contains(words), "{words:?} is not in {}", passed.stderr);
    }
    let passed = backend(folder.path());
    assert!(!passed.contains("CUDA"), "{passed}");
    let bytes = std::fs::read(folder.path().join("picture.npy")).expect("a video");
    assert_eq!(npy::read(&bytes).1, [1, 3, 17, 72, 104]);
}
