//! Ranks that NCCL links, and those that it does not.

use halovae_tests::binary::{self, Run};
use halovae_tests::compare::assert_f32_close;
use halovae_tests::golden::Golden;
use halovae_tests::gpu;

use crate::{CACHE, assert_fails, decode, picture, report, run};

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
