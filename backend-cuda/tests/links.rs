//! Links by NCCL, between GPUs or what stands in for them.

mod common;

use halovae_cuda::{CudaBackend, Demand, DeviceChoice, Options, Precision};
use halovae_engine::group::conformance::links::{self, End};
use halovae_engine::group::{Cancel, Links, ThreadGroup, Way};

/// Ranks on a GPU each.
fn ranks(precision: Precision, size: u32) -> Vec<End<CudaBackend>> {
    let end = |rank| -> End<CudaBackend> {
        let options = Options { precision, ..Options::default() };
        let device = common::device_at(&DeviceChoice::Index(rank), options);
        let backend = device.backend().expect("a stream");
        let links = backend.links(Demand::Always).expect("a stream");
        (backend, Box::new(links))
    };
    (0..size).map(end).collect()
}

#[test]
fn conform() {
    // The stand-in has four.
    if halovae_cuda_stand_in::is_real() && halovae_cuda::devices().is_ok_and(|d| d.len() < 4) {
        return;
    }
    for precision in [Precision::F32, Precision::F16, Precision::Bf16] {
        links::run(|size| ranks(precision, size));
    }
}

/// The same answer to all ranks, from each of them.
fn ways(backends: &[CudaBackend], demand: Demand) -> Vec<Result<Way, String>> {
    let groups = ThreadGroup::split(backends.len() as u32, &Cancel::new());
    std::thread::scope(|scope| {
        let ask = |(backend, group): (&CudaBackend, _)| {
            let links = backend.links(demand).expect("a stream");
            scope.spawn(move || links.connect(&group).map_err(|error| error.to_string()))
        };
        let asked: Vec<_> = backends.iter().zip(groups).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().expect("no panic")).collect()
    })
}

#[test]
fn ranks_that_share_a_gpu_go_over_the_host() {
    let device = common::device(Options::default());
    let backends: Vec<CudaBackend> = (0..2).map(|_| device.backend().expect("a stream")).collect();
    for way in ways(&backends, Demand::IfPossible) {
        assert_eq!(way, Ok(Way::Host("ranks 0 and 1 share a GPU".into())));
    }
    for way in ways(&backends, Demand::Always) {
        let error = way.expect_err("no way");
        assert!(error.contains("NCCL cannot connect") && error.contains("share a GPU"), "{error}");
    }
}
