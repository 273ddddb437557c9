//! The watch over processes: which are silent or stuck for too long, and which are not.

mod watch_common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use halovae_engine::group::{GroupError, Limits, Reach, Watch};
use watch_common::{LIMIT, Stranger, end_of, watches, write_frame};

/// What a rank may be silent, or in one op, where that is tested: long enough for a busy machine to let
/// each thread run meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// A rank that leaves without having failed is not missed: one that was heard after it and is silent is
/// named in its place.
#[test]
fn leaving_is_no_failure() {
    let limits = Limits { silence: PATIENCE, stuck: LIMIT };
    let lobby = Watch::host(4, Reach::ThisMachine, limits).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    let (hub, leaver, spoke, mut silent) = std::thread::scope(|scope| {
        let join = |rank| {
            let rendezvous = &rendezvous;
            scope.spawn(move || Watch::join(rendezvous, rank, 4, limits).expect("rank 0"))
        };
        let (leaver, spoke) = (join(1), join(2));
        let silent = scope.spawn(|| Stranger::connect(&rendezvous, None, 3));
        let hub = lobby.assemble().expect("all ranks");
        let [leaver, spoke] = [leaver, spoke].map(|end| end.join().expect("no panic"));
        (hub, leaver, spoke, silent.join().expect("no panic"))
    });
    drop(leaver);
    // Heard once more, later than the one that has left.
    write_frame(&mut silent.stream, r#"{"Beat":{"progress":1,"waiting":false}}"#);
    for end in [&hub, &spoke] {
        let GroupError::Failed(failure) = end_of(end) else { panic!("{end:?} is cancelled") };
        assert_eq!(failure.rank, 3, "{failure}");
        assert!(failure.to_string().contains("nothing was heard"), "{failure}");
    }
}

/// Nor is rank 0: no rank is orphaned when it leaves, and none waits for its heartbeat.
#[test]
fn rank_0_leaving_is_no_failure() {
    // Longer than threads that send heartbeats wait for a core on a busy machine.
    let silence = Duration::from_secs(3);
    let mut ends = watches(3, Limits { silence, stuck: LIMIT });
    drop(ends.remove(0));
    std::thread::sleep(silence + Duration::from_millis(500));
    for end in ends {
        assert!(end.check().is_ok() && !end.is_orphaned(), "{end:?}");
    }
}

/// A frozen process stays connected and says nothing.
#[test]
fn a_silent_rank_is_named() {
    let limits = Limits { silence: PATIENCE, stuck: LIMIT };
    // Before it was heard for the last time.
    let start = Instant::now();
    let lobby = Watch::host(2, Reach::ThisMachine, limits).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    let (hub, mut silent) = std::thread::scope(|scope| {
        let silent = scope.spawn(|| Stranger::connect(&rendezvous, None, 1));
        (lobby.assemble().expect("all ranks"), silent.join().expect("no panic"))
    });
    hub.rest();
    assert!(silent.is_welcome());
    let GroupError::Failed(failure) = end_of(&hub) else { panic!("cancelled") };
    assert!(start.elapsed() >= PATIENCE, "too early: {:?}", start.elapsed());
    assert_eq!(failure.rank, 1);
    assert!(failure.to_string().contains("nothing was heard"), "{failure}");
}

/// A rank that beats but gets nowhere hangs; one that waits for others, or rests, does not.
#[test]
fn a_stuck_rank_is_named() {
    let hangs = |hanging: u32| {
        let start = Instant::now();
        let ends = watches(3, Limits { silence: LIMIT, stuck: PATIENCE });
        std::thread::scope(|scope| {
            for end in &ends {
                let rank = end.rank();
                scope.spawn(move || {
                    if rank == hanging {
                        end.step();
                    } else if rank == (hanging + 1) % 3 {
                        end.rest();
                    } else {
                        end.step();
                        let _waiting = end.wait();
                        end_of(end);
                    }
                });
            }
            for end in &ends {
                let GroupError::Failed(failure) = end_of(end) else { panic!("cancelled") };
                assert_eq!(failure.rank, hanging, "{failure}");
                assert!(failure.to_string().contains("in one op"), "{failure}");
            }
            // It is not about how long the decode takes.
            assert!(start.elapsed() >= PATIENCE, "too early: {:?}", start.elapsed());
        });
    };
    std::thread::scope(|scope| {
        (0..3).for_each(|hanging| drop(scope.spawn(move || hangs(hanging))))
    });
}

/// A rank that takes steps is not stuck, however long it has taken them: of two, the one that is named
/// takes none, although the other is looked at first.
#[test]
fn steps_keep_a_rank_alive() {
    let ends = watches(2, Limits { silence: LIMIT, stuck: PATIENCE });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                ends[0].step();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let end = end_of(&ends[1]);
        over.store(true, Ordering::SeqCst);
        let GroupError::Failed(failure) = end else { panic!("cancelled") };
        assert_eq!(failure.rank, 1, "{failure}");
    });
}
