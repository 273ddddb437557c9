//! What cannot be, and what would.

use halovae_tests::binary::{self, listing};
use halovae_tests::golden::Golden;
use halovae_tests::gpu;

use crate::{CACHE, assert_fails, decode, report, run};

#[test]
fn says_what_cannot_be() {
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    let with = |flags: &[&str]| run(decode(&golden, folder.path(), flags));
    let none = with(&["--backend", "cuda", "--device", "no such GPU"]);
    assert_fails("a name", &none, 1, &["no such GPU", "0: "]);
    let none = with(&["--backend", "cuda", "--device", "0,99"]);
    assert_fails("an index", &none, 1, &["99", "0: "]);
    let cpu = with(&["--backend", "cpu", "--dtype", "bf16"]);
    assert_fails("bf16 on the CPU", &cpu, 2, &["--dtype bf16", "needs a GPU"]);
    let wgpu = with(&["--backend", "wgpu", "--dtype", "bf16"]);
    assert_fails("bf16 in a shader", &wgpu, 2, &["--dtype bf16", "--backend cuda"]);
    let tiled = with(&["--backend", "cuda", "--strategy", "tiled", "--exchange", "nccl"]);
    assert_fails("tiles", &tiled, 2, &["--exchange nccl", "--strategy sharded"]);
    let cpu = with(&["--backend", "cpu", "--strategy", "sharded", "--exchange", "nccl"]);
    assert_fails("NCCL on the CPU", &cpu, 2, &["--exchange nccl", "--backend cuda"]);
    let left = listing(folder.path());
    assert!(!left.iter().any(|name| name.contains("picture")), "{left:?}");
}

/// What a real GPU cannot be told to do: GPUs that are too old, have no memory, or fail.
#[test]
fn says_what_is_wrong_with_a_gpu() {
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    for (variable, value, words) in [
        ("HALOVAE_STAND_IN_DEVICES", "0", &["no GPU", "nvidia-smi"][..]),
        ("HALOVAE_STAND_IN_CAPABILITY", "75", &["7.5", "8.0", "--backend wgpu"]),
        ("HALOVAE_STAND_IN_CAPABILITY", "120", &["sm_120", "pip install nvidia-cuda-nvrtc"]),
        ("HALOVAE_STAND_IN_MEMORY", "300000", &["no room", "free", "weights alone"]),
        ("HALOVAE_STAND_IN_MEMORY", "1000000", &["no room", "free", "smaller tiles"]),
        ("HALOVAE_STAND_IN_FAILS", "100", &["stand-in A", "CUDA_ERROR_LAUNCH_FAILED"]),
    ] {
        let mut command = decode(&golden, folder.path(), &["--backend", "cuda"]);
        command.env("HALOVAE_NVIDIA_LIBRARIES", gpu::stand_in()).env(variable, value);
        command.env("XDG_CACHE_HOME", CACHE);
        assert_fails(variable, &binary::run_command(command), 1, words);
        let left = listing(folder.path());
        assert!(!left.iter().any(|name| name.contains("picture")), "{left:?}");
    }
}

/// A decode that does not fit names flags that do.
#[test]
fn what_fits_is_said() {
    if gpu::is_real() {
        return;
    }
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    let with = |flags: &[&str]| {
        let mut command = decode(&golden, folder.path(), &[&["--backend", "cuda"], flags].concat());
        command.env("HALOVAE_STAND_IN_MEMORY", "2000000");
        run(command)
    };
    let failed = with(&["--strategy", "whole"]);
    assert_fails("too little memory", &failed, 1, &["no room", "--strategy tiled"]);
    let flags = failed.stderr.split('`').find(|text| text.contains("--strategy tiled"));
    let flags: Vec<&str> = flags.expect("flags").split(' ').collect();
    with(&flags).expect_success();
    assert_eq!(report(folder.path())["strategy"], "tiled");
}

#[test]
fn a_machine_without_a_driver() {
    if gpu::is_real() {
        return;
    }
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    for flags in [&["--backend", "cuda"][..], &["--dtype", "bf16"]] {
        let mut command = decode(&golden, folder.path(), flags);
        command.env_remove("HALOVAE_NVIDIA_LIBRARIES");
        assert_fails("no driver", &binary::run_command(command), 1, &["driver", "libcuda.so.1"]);
    }
    let mut command = binary::command(["devices"]);
    command.env_remove("HALOVAE_NVIDIA_LIBRARIES");
    let listed = binary::run_command(command).expect_success().stdout;
    assert!(listed.contains("cuda  no NVIDIA driver"), "{listed}");
}
