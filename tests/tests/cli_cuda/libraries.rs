//! NVIDIA's libraries beside the driver: used, missed or damaged.

use halovae_tests::binary;
use halovae_tests::golden::Golden;
use halovae_tests::gpu;

use crate::{CACHE, assert_fails, backend, decode, run};

/// Engines of cuDNN's do what our kernel would, where they are there and not switched off.
#[test]
fn cudnn_is_used_or_missed_as_it_was_asked() {
    let golden = Golden::load("f8-sd");
    let folder = tempfile::tempdir().expect("a folder");
    let command =
        |flags: &[&str]| decode(&golden, folder.path(), &[&["--backend", "cuda"], flags].concat());
    for (flags, has) in [(&["--cudnn", "on"][..], true), (&[], true), (&["--cudnn", "off"], false)]
    {
        let told = run(command(&[&["--dtype", "bf16"], flags].concat())).expect_success().stderr;
        assert_eq!(told, "", "{flags:?}");
        let backend = backend(folder.path());
        assert_eq!(backend.contains("cuDNN 9."), has, "{flags:?}: {backend}");
    }
    let odd = run(command(&["--cudnn", "on"]));
    assert_fails("f32", &odd, 2, &["--cudnn on", "bf16"]);
    if gpu::is_real() {
        return;
    }
    let broken = |flags: &[&str]| {
        let mut command = command(&[&["--dtype", "bf16"], flags].concat());
        command.env("HALOVAE_STAND_IN_CUDNN", "no_handle");
        run(command)
    };
    let notice = broken(&[]).expect_success().stderr;
    assert_eq!(notice.lines().count(), 1, "{notice}");
    assert!(notice.contains("our own kernels alone") && notice.contains("libcudnn"), "{notice}");
    assert_fails("broken", &broken(&["--cudnn", "on"]), 1, &["libcudnn", "install it again"]);
    assert_eq!(broken(&["--cudnn", "off"]).expect_success().stderr, "");
    // All libraries but that one, or that which it needs; and a Python that has none either.
    let python = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink("/bin/false", python.path().join("python3")).expect("a link");
    let before = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&before);
    let path = std::env::join_paths([python.path().to_owned()].into_iter().chain(folders));
    let path = path.expect("folders without colons");
    for (missing, package) in [("libcudnn", "nvidia-cudnn"), ("libcublasLt", "nvidia-cublas")] {
        let libraries = tempfile::tempdir().expect("a folder");
        for name in ["libcuda.so.1", "libnvrtc.so.13", "libcudnn.so.9", "stand_in.h", "kernel.h"] {
            if !name.starts_with(missing) {
                let file = gpu::stand_in().join(name);
                std::fs::copy(file, libraries.path().join(name))
                    .expect("a folder of the test's own");
            }
        }
        let mut command = command(&["--dtype", "bf16", "--cudnn", "on"]);
        command.env("HALOVAE_NVIDIA_LIBRARIES", libraries.path());
        command.env("XDG_CACHE_HOME", CACHE).env("PATH", &path).env_remove("VIRTUAL_ENV");
        assert_fails(missing, &binary::run_command(command), 1, &["pip install", package]);
    }
}

/// Where the driver works and the compiler does not, another backend decodes, and says why.
#[test]
fn without_a_compiler_something_else_decodes() {
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    let libraries = folder.path().join("libraries");
    std::fs::create_dir(&libraries).expect("a folder of the test's own");
    std::fs::copy(gpu::stand_in().join("libcuda.so.1"), libraries.join("libcuda.so.1"))
        .expect("a folder of the test's own");
    std::fs::write(libraries.join("libnvrtc.so.13"), "damaged")
        .expect("a folder of the test's own");
    let decode_with = |flags: &[&str]| {
        let mut command = decode(&golden, folder.path(), flags);
        command.env("HALOVAE_NVIDIA_LIBRARIES", &libraries).env("XDG_CACHE_HOME", CACHE);
        binary::run_command(command)
    };
    let damaged = decode_with(&["--backend", "cuda"]);
    assert_fails("a damaged NVRTC", &damaged, 1, &["libnvrtc.so.13", "install it again"]);
    let passed = decode_with(&[]).expect_success();
    assert!(passed.stderr.contains("libnvrtc.so.13"), "{}", passed.stderr);
    assert!(passed.stderr.contains("CUDA is left out"), "{}", passed.stderr);
    assert!(!backend(folder.path()).contains("CUDA"), "{}", backend(folder.path()));
}

#[test]
fn devices_are_listed_with_their_libraries() {
    let listed = run(binary::command(["devices"])).expect_success().stdout;
    let cuda = listed.split("cuda ").nth(1).unwrap_or_else(|| panic!("no GPU in:\n{listed}"));
    for word in ["0: ", "memory", "compute"] {
        assert!(cuda.contains(word), "no {word} in:\n{cuda}");
    }
    for library in ["driver", "NVRTC", "cuDNN", "cuBLASLt", "NCCL"] {
        let line = listed.lines().find(|line| line.trim_start().starts_with(library));
        let line = line.unwrap_or_else(|| panic!("no {library} in:\n{listed}"));
        // A version and a file, or how to get it.
        assert!(line.contains('/') || line.contains("pip install"), "{line}");
    }
}
