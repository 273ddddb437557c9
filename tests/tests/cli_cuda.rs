//! The command line on NVIDIA's GPUs, on what stands in for one, and where there is none.

use std::path::Path;
use std::process::Command;

use halovae_engine::tensor::HostTensor;
use halovae_tests::binary::{self, Run, listing};
use halovae_tests::compare::{assert_f32_close, relative_rms};
use halovae_tests::golden::Golden;
use halovae_tests::{gpu, npy, tensors};
use serde_json::Value;

/// `halovae decode` of a golden model into a folder.
fn decode(golden: &Golden, folder: &Path, flags: &[&str]) -> Command {
    let mut command = binary::command(["decode", "--vae"]);
    command.arg(&golden.folder).arg("--latents").arg(golden.latents_file());
    command.arg("--output").arg(folder.join("picture.npy"));
    command.arg("--report").arg(folder.join("report.json")).args(flags);
    command
}

/// Where compiled kernels are kept from one run to the next.
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");

/// Runs it with a GPU, or with what stands in for four.
fn run(mut command: Command) -> Run {
    if !gpu::is_real() {
        command.env("HALOVAE_NVIDIA_LIBRARIES", gpu::stand_in());
    }
    command.env("XDG_CACHE_HOME", CACHE);
    binary::run_command(command)
}

fn picture(folder: &Path) -> HostTensor {
    let bytes = std::fs::read(folder.join("picture.npy")).expect("a picture");
    let (values, shape) = npy::read(&bytes);
    tensors::channels_last(&values, shape.try_into().expect("NCHW"))
}

fn report(folder: &Path) -> Value {
    let text = std::fs::read(folder.join("report.json")).expect("a report");
    serde_json::from_slice(&text).expect("JSON")
}

fn backend(folder: &Path) -> String {
    report(folder)["backend"].as_str().expect("a name").to_owned()
}

fn assert_fails(what: &str, run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.status.code(), Some(code), "{what}: {}", run.stderr);
    let lines: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("halovae:")).collect();
    assert_eq!(lines.len(), 1, "{what}: {}", run.stderr);
    words.iter().for_each(|word| assert!(lines[0].contains(word), "{what}: {}", lines[0]));
}

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

/// Ranks on GPUs of their own are linked by NCCL, unless it is to be otherwise; those that share one
/// are not.
#[test]
fn gpus_are_linked_by_nccl() {
    if !gpu::are_there(2) {
        return;
    }
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    let sharded = |flags: &[&str]| {
        let ranks =
            ["--backend", "cuda", "--strategy", "sharded", "--vae-patch-parallel-size", "2"];
        run(decode(&golden, folder.path(), &[&ranks, flags].concat()))
    };
    let told = |run: Run| run.expect_success().stderr;
    assert_eq!(told(sharded(&["--exchange", "host"])), "");
    let over_the_host = picture(folder.path());
    assert_f32_close("over the host", &over_the_host, golden.expected("whole"));
    assert!(report(folder.path())["exchange"].is_null());
    for flags in [&[][..], &["--exchange", "nccl"]] {
        assert_eq!(told(sharded(flags)), "");
        assert_eq!(picture(folder.path()), over_the_host);
        let report = report(folder.path());
        let exchange = report["exchange"].as_str().expect("a way");
        assert!(exchange.starts_with("NCCL 2."), "{exchange}");
        assert!(report["sent"]["bytes"].as_u64() > Some(0), "{report}");
        // As the device has measured them, one after the other in each rank.
        let ops = report["ops"].as_array().expect("kinds of ops").iter();
        let seconds: Vec<f64> = ops.map(|op| op["seconds"].as_f64().expect("a time")).collect();
        assert!(seconds.iter().all(|&seconds| seconds > 0.0), "{report}");
        let decode = report["seconds"]["decode"].as_f64().expect("a time");
        let all: f64 = seconds.iter().sum();
        let least = gpu::LEAST_SHARE_OF_OPS * decode;
        assert!((least..=2.0 * decode).contains(&all), "{all} s of ops in {decode} s");
    }
    let notice = told(sharded(&["--device", "0"]));
    assert_eq!(notice.lines().count(), 1, "{notice}");
    assert!(notice.contains("not by NCCL") && notice.contains("share a GPU"), "{notice}");
    assert_eq!(picture(folder.path()), over_the_host);
    assert_eq!(report(folder.path())["exchange"], "host");
    let shared = sharded(&["--device", "0", "--exchange", "nccl"]);
    assert_fails("one GPU", &shared, 1, &["NCCL cannot connect", "share a GPU"]);
}

/// Without NCCL the host carries everything, and it is said how that could be otherwise.
#[test]
fn without_nccl() {
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    let libraries = folder.path().join("libraries");
    std::fs::create_dir(&libraries).expect("a folder of the test's own");
    for library in ["libcuda.so.1", "libnvrtc.so.13", "stand_in.h", "kernel.h"] {
        std::fs::copy(gpu::stand_in().join(library), libraries.join(library))
            .expect("a folder of the test's own");
    }
    // Found before any other, and of no use.
    std::fs::write(libraries.join("libnccl.so.2"), "damaged").expect("a folder of the test's own");
    let decode = |flags: &[&str]| {
        let ranks =
            ["--backend", "cuda", "--strategy", "sharded", "--vae-patch-parallel-size", "2"];
        let mut command = decode(&golden, folder.path(), &[&ranks, flags].concat());
        command.env("HALOVAE_NVIDIA_LIBRARIES", &libraries).env("XDG_CACHE_HOME", CACHE);
        binary::run_command(command)
    };
    let passed = decode(&[]).expect_success();
    assert!(passed.stderr.contains("has no NCCL that works"), "{}", passed.stderr);
    assert!(passed.stderr.contains("libnccl.so.2"), "{}", passed.stderr);
    assert_f32_close("no NCCL", &picture(folder.path()), golden.expected("whole"));
    let failed = decode(&["--exchange", "nccl"]);
    assert_fails("no NCCL", &failed, 1, &["NCCL", "libnccl.so.2"]);
}

/// What NCCL refuses only when it connects.
#[test]
fn nccl_that_does_not_connect() {
    if gpu::is_real() {
        return;
    }
    let golden = Golden::load("f8-flux");
    let folder = tempfile::tempdir().expect("a folder");
    // At once, or after a while: we believe that ranks may share a GPU, and NCCL does not.
    for (variable, value, device, words) in [
        ("HALOVAE_STAND_IN_NCCL_REFUSES", "1", "0,1", ["rank 0", "unhandled system error"]),
        ("NCCL_HOSTID", "one", "0", ["rank 0", "using the same GPU"]),
    ] {
        let decode = |exchange: &str| {
            let ranks = ["--strategy", "sharded", "--vae-patch-parallel-size", "2"];
            let flags = ["--backend", "cuda", "--device", device, "--exchange", exchange];
            let mut command = decode(&golden, folder.path(), &[&ranks[..], &flags].concat());
            command.env(variable, value);
            run(command)
        };
        let passed = decode("auto").expect_success();
        words.iter().for_each(|word| assert!(passed.stderr.contains(word), "{}", passed.stderr));
        assert_f32_close(variable, &picture(folder.path()), golden.expected("whole"));
        assert_fails(
            variable,
            &decode("nccl"),
            1,
            &[&words[..], &["NCCL cannot connect"]].concat(),
        );
    }
}

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
    assert_fails("bf16 on the CPU", &cpu, 2, &["--dtype bf16", "need a GPU"]);
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

/// A GPU that lacks an op of the decoder is passed over too, unless the user named it.
#[test]
fn a_gpu_that_lacks_an_op_is_passed_over() {
    let golden = Golden::load("wan");
    let folder = tempfile::tempdir().expect("a folder");
    let with = |flags: &[&str]| run(decode(&golden, folder.path(), flags));
    let named = with(&["--backend", "cuda"]);
    assert_fails("a GPU that was named", &named, 1, &["has no conv over time"]);
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
