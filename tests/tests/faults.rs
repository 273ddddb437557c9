//! A failure in one rank ends every rank promptly, says where it was, and leaves a decoder that
//! decodes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use halovae_core::Plan;
use halovae_cpu::CpuBackend;
use halovae_engine::backend::BackendError;
use halovae_engine::conformance::Random;
use halovae_engine::decode::{Control, DecodeError, Decoder};
use halovae_engine::event::{Event, Observer};
use halovae_engine::group::{Cancel, Cause, Failure, ThreadGroup};
use halovae_engine::sink::{MemorySink, RowsAt, Sink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::{Fault, FaultKind, Faulty, Gate};
use halovae_tests::compare::{assert_f32_close, assert_same_bytes};
use halovae_tests::decode::{Cut, SmallModel, cpu, cpu_ranks, decode, plan, size_of};
use halovae_tests::watchdog::within;

/// Longer than any of these decodes takes on a slow machine, and far shorter than a hang.
const LIMIT: Duration = Duration::from_secs(120);

struct Setup {
    model: SmallModel,
    latents: HostTensor,
    plan: Plan,
    expected: HostTensor,
}

impl Setup {
    fn new() -> Self {
        Self::cut(Cut::Tiled(0.25))
    }

    fn cut(cut: Cut) -> Self {
        let model = SmallModel::new();
        let latents = model.latents(2, 19, 22, 3);
        let plan = plan(&model.config, size_of(&latents), cut);
        let expected = decode(&model.decoder(cpu_ranks(1, 1)), &latents, &plan);
        Self { model, latents, plan, expected }
    }

    /// A decoder whose rank `at` has the fault.
    fn decoder(&self, ranks: u32, at: u32, fault: Fault) -> Decoder<Faulty<CpuBackend>> {
        let backend = |rank| Faulty::new(cpu(1), (rank == at).then_some(fault));
        self.model.decoder((0..ranks).map(backend).collect())
    }

    fn decode(&self, decoder: &Decoder<Faulty<CpuBackend>>) -> Result<HostTensor, DecodeError> {
        let mut sink = MemorySink::default();
        decoder.decode(&self.latents, &self.plan, &mut sink, &Control::default())?;
        Ok(sink.into_picture().expect("a decode that succeeds begins"))
    }

    /// Ops that rank `rank` of `ranks` runs.
    fn ops_of(&self, ranks: u32, rank: u32) -> u64 {
        struct Count {
            rank: u32,
            pieces: AtomicU64,
        }
        impl Observer for Count {
            fn event(&self, event: Event) {
                if let Event::PieceDone { rank, .. } = event
                    && rank == self.rank
                {
                    self.pieces.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        let count = Count { rank, pieces: AtomicU64::new(0) };
        let control = Control { observer: &count, ..Control::default() };
        let decoder = self.model.decoder(cpu_ranks(ranks, 1));
        let mut sink = MemorySink::default();
        decoder.decode(&self.latents, &self.plan, &mut sink, &control).expect("a decode");
        // Every piece runs the same ops. Fused for this backend they may be fewer than planned, but
        // never fewer than a conv each.
        let program = self.model.program();
        let convs = program.ops().iter().filter(|op| op.kind().contains("conv"));
        count.pieces.load(Ordering::SeqCst) * convs.count() as u64
    }
}

fn every_rank_at_random_ops(kind: FaultKind, check: fn(&Failure)) {
    within(LIMIT, "decodes with a failing rank", move || {
        let mut random = Random::new(11);
        let ranks = (1..=4).flat_map(|ranks| (0..ranks).map(move |at| (ranks, at)));
        for cut in [Cut::Tiled(0.25), Cut::Sharded(2, 2)] {
            let setup = Setup::cut(cut);
            for (ranks, at) in ranks.clone() {
                let ops = setup.ops_of(ranks, at);
                assert!(ops > 0, "rank {at} of {ranks} has nothing to do");
                for after_ops in [0, u64::from(random.integer(1, ops as u32 - 1))] {
                    let what =
                        format!("{cut:?}, {kind:?} in rank {at} of {ranks} after {after_ops} ops");
                    let decoder = setup.decoder(ranks, at, Fault { after_ops, kind });
                    let failure = match setup.decode(&decoder) {
                        Err(DecodeError::Failed(failure)) => failure,
                        other => panic!("{what}: {other:?}"),
                    };
                    assert_eq!(failure.rank, at, "{what}");
                    let piece = failure.piece.unwrap_or_else(|| panic!("{what}: no piece"));
                    assert!(piece < 2 * setup.plan.piece_count(), "{what}: piece {piece}");
                    let message = failure.to_string();
                    assert!(message.contains(&format!("rank {at}")), "{message}");
                    assert!(message.contains(&format!("piece {piece}")), "{message}");
                    check(&failure);
                    // The fault happens once: now the same decoder does what it was asked.
                    let picture = setup.decode(&decoder).expect(&what);
                    assert_f32_close(&what, &picture, &setup.expected);
                }
            }
        }
    });
}

#[test]
fn device_error() {
    every_rank_at_random_ops(FaultKind::Error, |failure| {
        assert!(
            matches!(&failure.cause, Cause::Backend(BackendError::Device { message, .. })
                if message == "injected error"),
            "{failure:?}"
        );
        assert!(failure.op.is_some(), "{failure:?}");
    });
}

#[test]
fn out_of_memory() {
    every_rank_at_random_ops(FaultKind::OutOfMemory, |failure| {
        let Cause::NoRoom { error: BackendError::OutOfMemory { what, .. }, .. } = &failure.cause
        else {
            panic!("{failure:?}");
        };
        let op = failure.op.as_ref().expect("the op that had no room");
        assert!(what.contains(op.as_str()), "{failure:?}");
        // What to do about it.
        assert!(failure.to_string().contains("tiles"), "{failure}");
    });
}

#[test]
fn panic() {
    every_rank_at_random_ops(FaultKind::Panic, |failure| {
        assert_eq!(failure.cause, Cause::Panic("injected panic".into()), "{failure:?}");
    });
}

/// Ranks that do not wait for another end within the op that they run; one that stalls is waited for, since
/// its thread uses the caller's data, but no longer than its op takes.
#[test]
fn others_end_within_one_op() {
    static SLOW: Gate = Gate::new();
    static FAILING: Gate = Gate::new();
    within(LIMIT, "a decode with a stalled and a failing rank", || {
        let Setup { model, latents, plan, .. } = Setup::new();
        let faulty = |after_ops, kind| Some(Fault { after_ops, kind });
        let slow = Faulty::new(cpu(1), faulty(3, FaultKind::Stall(&SLOW)));
        let failing = Faulty::new(cpu(1), faulty(0, FaultKind::Stall(&FAILING)));
        let failing = Faulty::new(failing, faulty(1, FaultKind::Error));
        let (slow, failing) = (model.decoder(vec![slow]), model.decoder(vec![failing]));
        let ends = ThreadGroup::split(2, &Cancel::new());
        let control = Control::default();
        std::thread::scope(|scope| {
            let slow_rank = scope.spawn(|| {
                let mut sink = MemorySink::default();
                slow.decode_as(&ends[0], &latents, &plan, Some(&mut sink), &control)
            });
            let failing_rank =
                scope.spawn(|| failing.decode_as(&ends[1], &latents, &plan, None, &control));
            SLOW.wait_for_op();
            FAILING.open();
            let ended = |rank: ScopedJoinHandle<'_, Result<_, DecodeError>>| {
                let error = rank.join().expect("no panic").map(drop).expect_err("rank 1 fails");
                assert!(
                    matches!(&error, DecodeError::Failed(Failure { rank: 1, .. })),
                    "{error:?}"
                );
            };
            // It does not wait for the one that stalls, which ends with its op.
            ended(failing_rank);
            SLOW.open();
            ended(slow_rank);
        });
        assert_eq!(slow.backends().map(Faulty::ran).sum::<u64>(), 4);
    });
}

/// Lets the op of a slow rank go on when another rank has finished a piece.
struct OpenAfterAnother {
    slow: u32,
    gate: &'static Gate,
}

impl Observer for OpenAfterAnother {
    fn event(&self, event: Event) {
        if let Event::PieceDone { rank, .. } = event
            && rank != self.slow
        {
            self.gate.wait_for_op();
            self.gate.open();
        }
    }
}

/// A rank that is slow but does not fail only makes the decode slow.
#[test]
fn stall_alone_changes_nothing() {
    static GATE: Gate = Gate::new();
    within(LIMIT, "a decode with a stalled rank", || {
        let setup = Setup::new();
        let decoder = setup.decoder(3, 1, Fault { after_ops: 5, kind: FaultKind::Stall(&GATE) });
        let observer = OpenAfterAnother { slow: 1, gate: &GATE };
        let control = Control { observer: &observer, ..Control::default() };
        let mut sink = MemorySink::default();
        decoder.decode(&setup.latents, &setup.plan, &mut sink, &control).expect("nothing fails");
        let picture = sink.into_picture().expect("a picture");
        assert_same_bytes("with a stall", &picture, &setup.expected);
    });
}

/// Cancels once so many pieces are done.
struct CancelAfter {
    pieces: AtomicU64,
    cancel: Cancel,
}

impl Observer for CancelAfter {
    fn event(&self, event: Event) {
        if let Event::PieceDone { .. } = event
            && self.pieces.fetch_sub(1, Ordering::SeqCst) == 1
        {
            self.cancel.cancel();
        }
    }
}

#[test]
fn cancelled_at_every_point() {
    within(LIMIT, "cancelled decodes", || {
        let setup = Setup::new();
        let decoder = setup.model.decoder(cpu_ranks(3, 1));
        let pieces = 2 * setup.plan.piece_count();
        for after in [1, 2, pieces / 2] {
            let cancel = Cancel::new();
            let observer = CancelAfter { pieces: after.into(), cancel: cancel.clone() };
            let control = Control { observer: &observer, cancel, ..Control::default() };
            let error = decoder
                .decode(&setup.latents, &setup.plan, &mut MemorySink::default(), &control)
                .expect_err("cancelled");
            assert!(matches!(error, DecodeError::Cancelled), "after {after}: {error:?}");
        }
        let picture = decode(&decoder, &setup.latents, &setup.plan);
        assert_same_bytes("after cancellations", &picture, &setup.expected);
    });
}

/// From another thread, while a rank is busy: it ends with the op that it runs.
#[test]
fn cancelled_from_another_thread() {
    static GATE: Gate = Gate::new();
    within(LIMIT, "a cancelled decode", || {
        let setup = Setup::new();
        let decoder = setup.decoder(2, 0, Fault { after_ops: 2, kind: FaultKind::Stall(&GATE) });
        let cancel = Cancel::new();
        let control = Control { cancel: cancel.clone(), ..Control::default() };
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                GATE.wait_for_op();
                cancel.cancel();
                GATE.open();
            });
            decoder.decode(&setup.latents, &setup.plan, &mut MemorySink::default(), &control)
        });
        assert!(matches!(result, Err(DecodeError::Cancelled)), "{result:?}");
        assert_eq!(decoder.backends().next().map(Faulty::ran), Some(3));
        let picture = setup.decode(&decoder).expect("a new decode is not cancelled");
        assert_same_bytes("after a cancellation", &picture, &setup.expected);
    });
}

#[test]
fn cancelled_before_it_begins() {
    within(LIMIT, "a cancelled decode", || {
        let setup = Setup::new();
        let decoder = setup.model.decoder(cpu_ranks(2, 1));
        let control = Control::default();
        control.cancel.cancel();
        let result =
            decoder.decode(&setup.latents, &setup.plan, &mut MemorySink::default(), &control);
        assert!(matches!(result, Err(DecodeError::Cancelled)), "{result:?}");
    });
}

/// Takes so many rows and then has no room.
struct FullSink {
    room: usize,
    refuses_begin: bool,
    row_len: usize,
}

impl Sink for FullSink {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        self.row_len = shape.width * shape.channels;
        if self.refuses_begin { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn write_rows(&mut self, _: RowsAt, rows: &[f32]) -> io::Result<()> {
        let count = rows.len() / self.row_len;
        self.room = self.room.checked_sub(count).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

#[test]
fn sink_without_room() {
    within(LIMIT, "decodes into a full sink", || {
        let setup = Setup::new();
        let rows = 2 * setup.plan.output().height as usize;
        for ranks in [1, 4] {
            let decoder = setup.model.decoder(cpu_ranks(ranks, 1));
            for (room, refuses_begin) in
                [(0, true), (0, false), (rows / 2, false), (rows - 1, false)]
            {
                let mut sink = FullSink { room, refuses_begin, row_len: 0 };
                let result =
                    decoder.decode(&setup.latents, &setup.plan, &mut sink, &Control::default());
                match result {
                    Err(DecodeError::Sink(error)) => {
                        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                    }
                    other => panic!("room for {room} rows, {ranks} ranks: {other:?}"),
                }
            }
            let picture = decode(&decoder, &setup.latents, &setup.plan);
            assert_same_bytes("after full sinks", &picture, &setup.expected);
        }
    });
}

/// A decoder that gives no numbers: an error that names rank and piece, not a black picture.
#[test]
fn values_that_are_not_finite() {
    within(LIMIT, "a decode of NaN", || {
        let setup = Setup::new();
        let mut latents = setup.latents.clone();
        latents.data_mut()[0] = f32::NAN;
        let decoder = setup.model.decoder(cpu_ranks(2, 1));
        let result =
            decoder.decode(&latents, &setup.plan, &mut MemorySink::default(), &Control::default());
        match result {
            Err(DecodeError::Failed(failure)) => {
                assert_eq!(failure.cause, Cause::NotFinite, "{failure:?}");
                assert_eq!(failure.piece, Some(0), "{failure:?}");
            }
            other => panic!("{other:?}"),
        }
        let picture = decode(&decoder, &setup.latents, &setup.plan);
        assert_same_bytes("after a decode of NaN", &picture, &setup.expected);
    });
}
