//! The suite for groups, run by processes under `mpirun`. The parts that ranks run are tests of
//! this file as well, which is never run alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use halovae_engine::backend::BackendError;
use halovae_engine::decode::{Control, DecodeError};
use halovae_engine::group::{
    Cancel, Cause, Failure, Group, Limits, ProcessGroup, Tag, conformance,
};
use halovae_engine::sink::{MemorySink, Sink};
use halovae_engine::wrap::{Fault, FaultKind, Faulty, Gate};
use halovae_mpi::World;
use halovae_tests::compare::assert_same_bytes;
use halovae_tests::decode::{Cut, SmallModel, cpu, cpu_ranks, decode, plan, size_of};
use halovae_tests::{binary, mpirun};

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Names the folder in which ranks tell what they have done: what they print comes mixed.
const FOLDER: &str = "HALOVAE_TEST_FOLDER";

fn told(what: &str, rank: u32) -> PathBuf {
    let folder = std::env::var_os(FOLDER).expect("a part of this file is run by another");
    PathBuf::from(folder).join(format!("{what}-{rank}"))
}

fn tell(what: &str, rank: u32) {
    std::fs::write(told(what, rank), "").expect("the folder of the test");
}

/// Runs a part of this file in so many processes; all of them must come to its end.
fn run_part(part: &str, ranks: u32) {
    let _alone = mpirun::alone();
    let this = std::env::current_exe().expect("a running test has a file");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = mpirun::command(ranks, &this);
    command.args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder.path());
    let run = binary::run_command(command);
    let what = format!("{part} on {ranks} ranks: {}\n{}\n{}", run.status, run.stdout, run.stderr);
    assert!(run.status.success(), "{what}");
    let mut ended = binary::listing(folder.path());
    ended.retain(|name| name.starts_with("finished-"));
    let all: Vec<String> = (0..ranks).map(|rank| format!("finished-{rank}")).collect();
    assert_eq!(ended, all, "{what}");
}

fn finish(world: World) {
    let rank = world.rank();
    world.finish();
    tell("finished", rank);
}

#[test]
fn conforms() {
    run_part("conformance_rank", 5);
}

#[test]
fn conforms_in_tiny_chunks() {
    run_part("conformance_rank_in_chunks", 5);
}

#[test]
#[ignore = "one rank of `conforms`"]
fn conformance_rank() {
    conform(World::begin().expect("MPI"));
}

#[test]
#[ignore = "one rank of `conforms_in_tiny_chunks`"]
fn conformance_rank_in_chunks() {
    // Messages of the suite have up to 300,002 values.
    conform(World::with_chunks(999).expect("MPI"));
}

fn conform(world: World) {
    let cancel = Cancel::new();
    conformance::run(|size| {
        let end = world.group(size, Limits::new(LIMIT), &cancel).expect("a group");
        end.into_iter().collect()
    });
    finish(world);
}

#[test]
fn what_nobody_receives_is_discarded() {
    run_part("unread_rank", 3);
}

/// Messages too long to be under way without a receiver, which nobody is: MPI ends as soon as all end it.
#[test]
#[ignore = "one rank of `what_nobody_receives_is_discarded`"]
fn unread_rank() {
    let world = World::begin().expect("MPI");
    let cancel = Cancel::new();
    for size in [2, 3] {
        let group = world.group(size, Limits::new(LIMIT), &cancel).expect("a group");
        let Some(group) = group else { continue };
        for to in (0..size).filter(|&to| to != world.rank()) {
            group.send(to, Tag(7), vec![1.0; 1 << 20]).expect("it is under way");
            group.send(to, Tag(8), Vec::new()).expect("it is under way");
        }
        // Nobody sends to one that has failed.
        group.watch().close(String::new()).expect("nobody fails");
    }
    let start = Instant::now();
    let rank = world.rank();
    finish(world);
    // Messages that are not received are waited for that long.
    assert!(start.elapsed() < Duration::from_secs(10), "rank {rank}: {:?}", start.elapsed());
}

#[test]
fn a_failing_rank_ends_all() {
    run_part("failing_rank", 3);
}

/// A rank whose ops fail, panic or hang, each rank in turn: every rank learns which it was, while that
/// one still hangs, and the same processes decode again afterwards.
#[test]
#[ignore = "one rank of `a_failing_rank_ends_all`"]
fn failing_rank() {
    /// How long an op may take: long for those that do not hang, on a busy machine.
    const STUCK: Duration = Duration::from_secs(5);

    let world = World::begin().expect("MPI");
    let model = SmallModel::new();
    let latents = model.latents(2, 19, 22, 3);
    let limits = Limits { silence: LIMIT, stuck: STUCK };
    for cut in [Cut::Tiled(0.25), Cut::Sharded(2, 2)] {
        let plan = plan(&model.config, size_of(&latents), cut);
        let expected = decode(&model.decoder(cpu_ranks(3, 1)), &latents, &plan);
        let kinds: [fn(&'static Gate) -> FaultKind; 4] = [
            |_| FaultKind::Error,
            |_| FaultKind::OutOfMemory,
            |_| FaultKind::Panic,
            FaultKind::Stall,
        ];
        for kind in kinds {
            for at in 0..world.size() {
                let gate: &'static Gate = Box::leak(Box::default());
                let kind = kind(gate);
                let hangs = matches!(kind, FaultKind::Stall(_));
                let what = format!("{cut:?}, {kind:?} in rank {at}, seen by {}", world.rank());
                let fault = Fault { after_ops: 5, kind };
                let backend = Faulty::new(cpu(1), (world.rank() == at).then_some(fault));
                let decoder = model.decoder(vec![backend]);
                let attempt = |limits| {
                    let cancel = Cancel::new();
                    let group = world.group(world.size(), limits, &cancel).expect("a group");
                    let group = group.expect("all are in it");
                    let mut picture = MemorySink::default();
                    let sink = (group.rank() == 0).then_some(&mut picture as &mut dyn Sink);
                    let done =
                        decoder.decode_as(&group, &latents, &plan, sink, &Control::default());
                    let closed = done.map(|_| group.watch().close(String::new()).map(drop));
                    (closed, picture)
                };
                let told_of = format!("ended-{cut:?}-{at}");
                let (ended, _) = std::thread::scope(|scope| {
                    if hangs && world.rank() == at {
                        let others = (0..world.size()).filter(|&rank| rank != at);
                        let others: Vec<PathBuf> =
                            others.map(|rank| told(&told_of, rank)).collect();
                        scope.spawn(move || {
                            while !others.iter().all(|told| told.exists()) {
                                std::thread::sleep(Duration::from_millis(5));
                            }
                            gate.open();
                        });
                    }
                    attempt(limits)
                });
                if hangs {
                    tell(&told_of, world.rank());
                }
                let failure = match ended {
                    Err(DecodeError::Failed(failure)) => failure,
                    // A rank that had sent all its pieces before learns of it when it is done.
                    Ok(Err(halovae_engine::group::GroupError::Failed(failure))) => failure,
                    other => panic!("{what}: {other:?}"),
                };
                assert_eq!(failure.rank, at, "{what}: {failure}");
                assert!(is_of(&failure, kind), "{what}: {failure}");

                let (ended, picture) = attempt(Limits::new(LIMIT));
                assert!(matches!(ended, Ok(Ok(()))), "{what}, then: {ended:?}");
                if world.rank() == 0 {
                    let picture = picture.into_picture().expect("a picture");
                    assert_same_bytes(&what, &picture, &expected);
                }
            }
        }
    }
    finish(world);
}

fn is_of(failure: &Failure, kind: FaultKind) -> bool {
    match (&failure.cause, kind) {
        (Cause::Backend(BackendError::Device { .. }), FaultKind::Error) => failure.op.is_some(),
        (Cause::NoRoom { error, .. }, FaultKind::OutOfMemory) => {
            matches!(error, BackendError::OutOfMemory { .. })
        }
        (Cause::Panic(message), FaultKind::Panic) => message == "injected panic",
        (Cause::Transport(message), FaultKind::Stall(_)) => message.contains("in one op"),
        _ => false,
    }
}
