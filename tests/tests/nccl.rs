//! Sharded decodes whose ranks are linked by NCCL, on a GPU each or on what stands in for them: the
//! same bytes as through host memory, and an end where a rank fails.

use halovae_core::Plan;
use halovae_cuda::{CudaBackend, Demand, Limits, Options, Precision};
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::AutoencoderKlConfig;
use halovae_engine::conformance::RandomWeights;
use halovae_engine::decode::{Control, DecodeError, DecodeReport, Decoder};
use halovae_engine::group::{Cause, Links, Way};
use halovae_engine::shard::ParkLimit;
use halovae_engine::sink::MemorySink;
use halovae_engine::tensor::HostTensor;
use halovae_engine::wrap::{Fault, FaultKind, Faulty};
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, SmallModel, decode, plan, program, size_of};
use halovae_tests::golden::{Error, Golden};
use halovae_tests::gpu::{are_there, open_at};
use proptest::prelude::*;

/// A GPU for each rank.
fn ranks(precision: Precision, count: u32) -> Vec<CudaBackend> {
    let open = |rank| open_at(rank, Options { precision, ..Options::default() });
    (0..count).map(|rank| open(rank).backend().expect("a stream")).collect()
}

type AnyLinks = Vec<Box<dyn Links<<CudaBackend as Backend>::Tensor>>>;

fn links(backends: &[CudaBackend]) -> AnyLinks {
    let link = |backend: &CudaBackend| -> Box<dyn Links<_>> {
        Box::new(backend.links(Demand::Always).expect("a stream"))
    };
    backends.iter().map(link).collect()
}

fn decode_linked<B: Backend>(
    decoder: &Decoder<B>,
    latents: &HostTensor,
    plan: &Plan,
    park: Option<ParkLimit>,
) -> Result<(HostTensor, DecodeReport), DecodeError> {
    let mut sink = MemorySink::default();
    let control = Control { park, ..Control::default() };
    let report = decoder.decode(latents, plan, &mut sink, &control)?;
    Ok((sink.into_picture().expect("a picture"), report))
}

#[track_caller]
fn assert_estimated(what: &str, report: &DecodeReport) {
    let [estimated, measured] = [report.estimated_peak_bytes, report.measured_peak_bytes];
    let ratio = estimated as f64 / measured as f64;
    eprintln!("{what}: {measured} bytes measured, {estimated} estimated, {:?}", report.sent);
    assert!((0.85..=1.15).contains(&ratio), "{what}: {measured} measured, {estimated} estimated");
}

#[test]
fn the_same_bytes_as_over_the_host() {
    if !are_there(4) {
        return;
    }
    for (name, precision, rows, cols, count) in [
        ("f8-flux", Precision::F32, 2, 2, 4),
        ("f8-flux", Precision::F16, 3, 1, 3),
        ("f8-sd", Precision::F32, 1, 4, 2),
        ("f8-sd", Precision::Bf16, 1, 2, 2),
        ("f1-one-level", Precision::F32, 2, 1, 2),
        ("f1-one-level", Precision::F32, 3, 1, 3),
        ("f4-batch", Precision::F32, 3, 1, 3),
        ("f2-complete", Precision::F32, 2, 2, 4),
        ("f4-no-attention", Precision::F32, 2, 3, 2),
    ] {
        let what = format!("{name}, {rows} x {cols} shards on {count} ranks in {precision}");
        let golden = Golden::load(name);
        let plan = plan(golden.config(), size_of(&golden.latents), Cut::Sharded(rows, cols));
        let decoder = |backends| {
            Decoder::new(&program(&golden.checkpoint), &golden.checkpoint, backends)
                .expect("a decoder")
        };
        let over_the_host = decode(&decoder(ranks(precision, count)), &golden.latents, &plan);
        let backends = ranks(precision, count);
        let links = links(&backends);
        let linked = decoder(backends).linked(links);
        // The second time with what the first one connected.
        for _ in 0..2 {
            let done = decode_linked(&linked, &golden.latents, &plan, None);
            let (picture, report) = done.expect("a decode");
            assert_same_bytes(&what, &picture, &over_the_host);
            assert!(matches!(&report.way, Some(Way::Devices(_))), "{what}: {:?}", report.way);
            assert!(report.sent.bytes > 0 && report.sent.piece_bytes == 0, "{:?}", report.sent);
            assert_estimated(&what, &report);
        }
        if precision == Precision::F32 {
            assert_f32_close(&what, &over_the_host, golden.expected("whole"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Uneven bands, more shards than ranks and fewer, batches, values that wait in a file.
    #[test]
    fn any_grid_any_ranks(
        batch in 1usize..=2,
        (height, rows) in (3u32..=12).prop_flat_map(|height| (Just(height), 1..=height.min(3))),
        (width, cols) in (3u32..=12).prop_flat_map(|width| (Just(width), 1..=width.min(3))),
        count in 2u32..=4,
        limit in prop_oneof![Just(None), Just(Some(0)), Just(Some(30_000u64))],
        seed: u64,
    ) {
        if !are_there(count) {
            return Ok(());
        }
        let model = SmallModel::new();
        let latents = model.latents(batch, height, width, seed);
        let plan = plan(&model.config, size_of(&latents), Cut::Sharded(rows, cols));
        let whole = decode(&model.decoder(ranks(Precision::F32, count)), &latents, &plan);
        let backends = ranks(Precision::F32, count);
        let links = links(&backends);
        let linked = model.decoder(backends).linked(links);
        let park = limit.map(|bytes| ParkLimit { bytes, scratch: std::env::temp_dir() });
        let (picture, report) = decode_linked(&linked, &latents, &plan, park).expect("a decode");
        assert_same_bytes("linked", &picture, &whole);
        prop_assert_eq!(report.way.is_some(), rows * cols > 1);
    }
}

/// Whatever fails in a rank ends all of them with that failure, and the next decode works.
#[test]
fn a_failing_rank_ends_all() {
    if !are_there(3) {
        return;
    }
    let model = SmallModel::new();
    let latents = model.latents(1, 12, 9, 3);
    let plan = plan(&model.config, size_of(&latents), Cut::Sharded(3, 1));
    let expected = decode(&model.decoder(ranks(Precision::F32, 3)), &latents, &plan);
    for kind in [FaultKind::Error, FaultKind::Panic] {
        for (rank, at) in [(0, 0), (1, 7), (2, 20)] {
            let backends = ranks(Precision::F32, 3);
            let links = links(&backends);
            let faulty = (0..).zip(backends).map(|(of, backend)| {
                let fault = (of == rank).then_some(Fault { after_ops: at, kind });
                Faulty::new(backend, fault)
            });
            let decoder = model.decoder(faulty.collect()).linked(links);
            let error = decode_linked(&decoder, &latents, &plan, None).expect_err("it fails");
            let DecodeError::Failed(failure) = error else { panic!("{error:?}") };
            assert_eq!(failure.rank, rank, "{failure}");
            assert!(!matches!(failure.cause, Cause::Transport(_)), "{failure}");
            let (picture, _) = decode_linked(&decoder, &latents, &plan, None).expect("a decode");
            assert_same_bytes("after a failure", &picture, &expected);
        }
    }
}

/// Engines of cuDNN's while halos are under way, each rank asking for plans when it comes to them.
#[test]
fn engines_between_exchanges() {
    if !are_there(3) {
        return;
    }
    let golden = Golden::load("f8-flux");
    let latents = &golden.latents;
    let limits = Limits { engines_from: 0, ..Limits::default() };
    let options = Options { precision: Precision::Bf16, limits, ..Options::default() };
    let plan = plan(golden.config(), size_of(latents), Cut::Sharded(3, 1));
    let backends: Vec<_> =
        (0..3).map(|rank| open_at(rank, options.clone()).backend().expect("a stream")).collect();
    let links = links(&backends);
    let decoder = Decoder::new(&program(&golden.checkpoint), &golden.checkpoint, backends);
    let decoder = decoder.expect("a decoder").linked(links);
    let (one, report) = decode_linked(&decoder, latents, &plan, None).expect("a decode");
    assert!(matches!(report.way, Some(Way::Devices(_))), "{:?}", report.way);
    let error = Error::of(&one, golden.expected("whole"));
    error.assert_close_to(&Error::of_diffusers("bfloat16", "f8-flux", "whole"), "three shards");
    let (other, _) = decode_linked(&decoder, latents, &plan, None).expect("a decode");
    assert_same_bytes("again", &other, &one);
}

/// The estimate also holds where attention is what most memory is held for.
#[test]
fn memory_of_attention_is_as_estimated() {
    if !are_there(3) {
        return;
    }
    let config = AutoencoderKlConfig {
        block_out_channels: vec![16],
        norm_num_groups: 4,
        layers_per_block: 1,
        ..AutoencoderKlConfig::default()
    };
    let model = SmallModel { config, weights: RandomWeights { seed: 3 } };
    let latents = model.latents(1, 48, 50, 5);
    let limits = Limits { band_bytes: 64 << 10, attention: [256, 256], ..Limits::default() };
    for count in [2, 3] {
        let plan = plan(&model.config, size_of(&latents), Cut::Sharded(count, 1));
        let open = |rank| open_at(rank, Options { limits, ..Options::default() });
        let backends: Vec<_> =
            (0..count).map(|rank| open(rank).backend().expect("a stream")).collect();
        let links = links(&backends);
        let linked = model.decoder(backends).linked(links);
        let (_, report) = decode_linked(&linked, &latents, &plan, None).expect("a decode");
        assert_estimated(&format!("attention on {count} ranks"), &report);
    }
}
