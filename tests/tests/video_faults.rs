//! A failure in the middle of a video, or a reader that has enough of it, ends every rank promptly; no
//! frame is written that is wrong, and the decoder decodes again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use halovae_core::{Plan, Size};
use halovae_cpu::CpuBackend;
use halovae_engine::conformance::Random;
use halovae_engine::decode::{Control, DecodeError, Decoder};
use halovae_engine::event::{Event, Observer};
use halovae_engine::group::{Cancel, Cause, Failure};
use halovae_engine::sink::{MemorySink, RowsAt, Sink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::{Fault, FaultKind, Faulty};
use halovae_tests::compare::assert_same_bytes;
use halovae_tests::decode::{Cut, cpu, plan, program, size_of};
use halovae_tests::golden::Golden;
use halovae_tests::watchdog::within;

/// Longer than any of these decodes takes on a slow machine, and far shorter than a hang.
const LIMIT: Duration = Duration::from_secs(120);

/// In one piece and in shards, of which frames come one by one, the shards alone or in turns, and in pieces
/// that hold all frames until the last.
const CUTS: [(Cut, u32); 5] = [
    (Cut::Whole, 1),
    (Cut::Strides(48, 32), 2),
    (Cut::Sharded(1, 2), 2),
    (Cut::Sharded(2, 2), 2),
    (Cut::Sliced(2, 1, 1), 2),
];

struct Setup {
    golden: Golden,
    latents: HostTensor,
    plan: Plan,
    ranks: u32,
}

impl Setup {
    /// A part of the golden latents with all of their frames.
    fn new((cut, ranks): (Cut, u32)) -> Self {
        let golden = Golden::load("wan");
        let part = Size { height: 7, width: 8, ..size_of(&golden.latents) };
        let latents = golden.latents.crop(0, part.at_origin()).expect("a crop");
        let plan = plan(golden.config(), part, cut);
        Self { golden, latents, plan, ranks }
    }

    /// A decoder whose rank `at` has the fault.
    fn decoder(&self, fault: Option<(u32, Fault)>) -> Decoder<Faulty<CpuBackend>> {
        let fault_of = |rank| fault.and_then(|(at, fault)| (at == rank).then_some(fault));
        let backends = (0..self.ranks).map(|rank| Faulty::new(cpu(1), fault_of(rank))).collect();
        let checkpoint = &self.golden.checkpoint;
        Decoder::new(&program(checkpoint), checkpoint, backends).expect("a decoder")
    }

    fn decode(
        &self,
        decoder: &Decoder<Faulty<CpuBackend>>,
        latents: &HostTensor,
        sink: &mut dyn Sink,
        control: &Control<'_>,
    ) -> Result<(), DecodeError> {
        // One frame of latents at a time.
        let (observer, cancel) = (control.observer, control.cancel.clone());
        let control = Control { chunk: 1, observer, cancel, ..Control::default() };
        decoder.decode(latents, &self.plan, sink, &control).map(drop)
    }

    fn video(&self, decoder: &Decoder<Faulty<CpuBackend>>) -> HostTensor {
        let mut sink = MemorySink::default();
        let decoded = self.decode(decoder, &self.latents, &mut sink, &Control::default());
        decoded.expect("a decode");
        sink.into_picture().expect("a video")
    }
}

/// Takes rows as long as all of them are those of the video; so many, if that is limited.
struct Checking<'a> {
    expected: &'a HostTensor,
    room: Option<usize>,
    rows: usize,
}

impl<'a> Checking<'a> {
    fn new(expected: &'a HostTensor) -> Self {
        Self { expected, room: None, rows: 0 }
    }

    /// Frames that have been begun.
    fn frames(&self) -> usize {
        self.rows.div_ceil(self.expected.shape().height)
    }
}

impl Sink for Checking<'_> {
    fn begin(&mut self, shape: Shape) -> io::Result<()> {
        assert_eq!(shape, self.expected.shape());
        Ok(())
    }

    fn write_rows(&mut self, at: RowsAt, rows: &[f32]) -> io::Result<()> {
        let Shape { height, width, channels, .. } = self.expected.shape();
        let first = at.frame * height + at.top;
        assert_eq!(first, self.rows, "rows in order");
        let expected = &self.expected.data()[first * width * channels..][..rows.len()];
        assert!(rows == expected, "wrong rows of frame {}", at.frame);
        self.rows += rows.len() / (width * channels);
        match self.room {
            Some(room) if self.rows > room => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

/// Cancels once so many rows are written.
struct CancelAt {
    rows: AtomicU64,
    at: u64,
    cancel: Cancel,
}

impl Observer for CancelAt {
    fn event(&self, event: Event) {
        if let Event::RowsWritten { rows } = event
            && self.rows.fetch_add(rows, Ordering::SeqCst) + rows >= self.at
        {
            self.cancel.cancel();
        }
    }
}

#[test]
fn cancelled_at_every_frame() {
    within(LIMIT, "cancelled decodes", || {
        for cut in CUTS {
            let setup = Setup::new(cut);
            let decoder = setup.decoder(None);
            let expected = setup.video(&decoder);
            let Shape { frames, height, .. } = expected.shape();
            for frame in (1..=frames).step_by(3) {
                let what = format!("{cut:?}, at frame {frame}");
                let cancel = Cancel::new();
                let at = (frame * height) as u64;
                let observer = CancelAt { rows: AtomicU64::new(0), at, cancel: cancel.clone() };
                let control = Control { observer: &observer, cancel, ..Control::default() };
                let mut sink = Checking::new(&expected);
                let result = setup.decode(&decoder, &setup.latents, &mut sink, &control);
                assert!(matches!(result, Err(DecodeError::Cancelled)), "{what}: {result:?}");
                assert!(sink.frames() >= frame, "{what}: {} frames", sink.frames());
            }
            assert_same_bytes("after cancellations", &setup.video(&decoder), &expected);
        }
    });
}

#[test]
fn a_rank_that_fails_at_random_ops() {
    within(LIMIT, "decodes with a failing rank", || {
        let mut random = Random::new(5);
        for cut in CUTS {
            let setup = Setup::new(cut);
            let sound = setup.decoder(None);
            let expected = setup.video(&sound);
            for (rank, ops) in (0..).zip(sound.backends().map(Faulty::ran)) {
                for kind in [FaultKind::Error, FaultKind::OutOfMemory, FaultKind::Panic] {
                    let after_ops = u64::from(random.integer(1, ops as u32 - 1));
                    let what = format!("{cut:?}, {kind:?} in rank {rank} after {after_ops} ops");
                    let decoder = setup.decoder(Some((rank, Fault { after_ops, kind })));
                    let mut sink = Checking::new(&expected);
                    let control = Control::default();
                    let result = setup.decode(&decoder, &setup.latents, &mut sink, &control);
                    let Err(DecodeError::Failed(failure)) = result else {
                        panic!("{what}: {result:?}");
                    };
                    assert_eq!(failure.rank, rank, "{what}: {failure}");
                    assert!(failure.piece.is_some(), "{what}: {failure}");
                    // The fault happens once.
                    assert_same_bytes(&what, &setup.video(&decoder), &expected);
                }
            }
        }
    });
}

/// Frames that a part of the latents is not of are written or not; none of the others is.
#[test]
fn values_that_are_not_finite() {
    within(LIMIT, "decodes of NaN", || {
        for cut in CUTS {
            let setup = Setup::new(cut);
            let decoder = setup.decoder(None);
            let expected = setup.video(&decoder);
            for frame in 0..setup.latents.shape().frames {
                let what = format!("{cut:?}, NaN in frame {frame}");
                let mut latents = setup.latents.clone();
                latents.data_mut()[frame * setup.latents.shape().frame_len()] = f32::NAN;
                let mut sink = Checking::new(&expected);
                let result = setup.decode(&decoder, &latents, &mut sink, &Control::default());
                let not_finite = |failure: &Failure| failure.cause == Cause::NotFinite;
                assert!(
                    matches!(&result, Err(DecodeError::Failed(failure)) if not_finite(failure)),
                    "{what}: {result:?}"
                );
                let sound = if frame == 0 { 0 } else { 4 * frame - 3 };
                assert!(sink.frames() <= sound, "{what}: {} frames", sink.frames());
            }
            assert_same_bytes("after NaN", &setup.video(&decoder), &expected);
        }
    });
}

#[test]
fn a_sink_without_room() {
    within(LIMIT, "decodes into a full sink", || {
        for cut in CUTS {
            let setup = Setup::new(cut);
            let decoder = setup.decoder(None);
            let expected = setup.video(&decoder);
            let Shape { frames, height, .. } = expected.shape();
            for room in [0, height, frames * height / 2, frames * height - 1] {
                let mut sink = Checking { room: Some(room), ..Checking::new(&expected) };
                let control = Control::default();
                let result = setup.decode(&decoder, &setup.latents, &mut sink, &control);
                assert!(
                    matches!(&result, Err(DecodeError::Sink(error))
                        if error.kind() == io::ErrorKind::StorageFull),
                    "{cut:?}, room for {room} rows: {result:?}"
                );
            }
            assert_same_bytes("after full sinks", &setup.video(&decoder), &expected);
        }
    });
}
