//! The watch over processes, one thread in the place of each process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use halovae_engine::backend::BackendError;
use halovae_engine::group::{Cause, Fact, Failure, GroupError, Limits, Reach, Rendezvous, Watch};

/// Far longer than anything here takes on a busy machine: only against a test that hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// What a rank may be silent, or in one op, where that is tested: long enough for a busy machine to let
/// each thread run meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends of a watch over so many ranks.
fn watches(size: u32, limits: Limits) -> Vec<Watch> {
    let lobby = Watch::host(size, Reach::ThisMachine, limits).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    std::thread::scope(|scope| {
        let join = |rank| {
            let rendezvous = &rendezvous;
            scope.spawn(move || Watch::join(rendezvous, rank, size, limits).expect("rank 0"))
        };
        let joining: Vec<_> = (1..size).map(join).collect();
        let hub = lobby.assemble().expect("all ranks");
        let spokes = joining.into_iter().map(|spoke| spoke.join().expect("no panic"));
        std::iter::once(hub).chain(spokes).collect()
    })
}

fn patient() -> Limits {
    Limits { silence: 2 * LIMIT, stuck: 2 * LIMIT }
}

fn failure(rank: u32, cause: Cause) -> Failure {
    Failure { rank, piece: Some(3), op: Some("decoder.conv_in".into()), cause }
}

/// How a watch ends.
fn end_of(watch: &Watch) -> GroupError {
    let start = Instant::now();
    loop {
        if let Err(end) = watch.check() {
            return end;
        }
        assert!(start.elapsed() < LIMIT, "{watch:?} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// On every end at once.
fn on_all<T: Send>(ends: &[Watch], part: impl Fn(&Watch) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let running: Vec<_> = ends.iter().map(|end| scope.spawn(|| part(end))).collect();
        running.into_iter().map(|part| part.join().expect("no panic")).collect()
    })
}

/// A connection that says hello to the hub, and nothing more.
struct Stranger {
    stream: TcpStream,
}

impl Stranger {
    /// Connects with that token and tells that rank.
    fn connect(rendezvous: &Rendezvous, token: Option<&str>, rank: u32) -> Self {
        let told: serde_json::Value = serde_json::to_value(rendezvous).expect("JSON");
        let port = told["port"].as_u64().expect("a port") as u16;
        let token = token.map_or_else(|| told["token"].to_string(), str::to_owned);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the hub listens");
        write_frame(&mut stream, &format!(r#"{{"Hello":{{"token":{token},"rank":{rank}}}}}"#));
        Self { stream }
    }

    /// Whether the hub takes it for a rank.
    fn is_welcome(&mut self) -> bool {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).is_ok()
    }
}

fn write_frame(stream: &mut TcpStream, json: &str) {
    let len = u32::try_from(json.len()).expect("a short frame");
    // The hub may have closed the connection.
    let _ = stream.write_all(&[&len.to_le_bytes(), json.as_bytes()].concat());
}

#[test]
fn everybody_hears_of_the_first_failure() {
    let causes = [
        Cause::Panic("on purpose".into()),
        Cause::NotFinite,
        Cause::Length { from: 1, got: 2, expected: 3 },
        Cause::Backend(BackendError::Unsupported { op: "conv".into(), backend: "cpu".into() }),
        Cause::Backend(BackendError::OutOfMemory {
            device: "CPU".into(),
            what: "a value".into(),
            requested: u64::MAX,
        }),
        Cause::Start("a file\nis \"missing\"".into()),
    ];
    for (size, cause) in (1..=5).cycle().zip(causes) {
        for rank in 0..size {
            let ends = watches(size, patient());
            let first = failure(rank, cause.clone());
            ends[rank as usize].fail(first.clone());
            for end in &ends {
                assert_eq!(end_of(end), GroupError::Failed(first.clone()), "{end:?}");
                end.fail(failure(0, Cause::NotFinite));
                end.cancel();
                assert_eq!(end.check(), Err(GroupError::Failed(first.clone())), "the first stays");
                assert!(!end.is_orphaned());
            }
        }
    }
}

/// If several fail at once, all get the same one of them.
#[test]
fn one_failure_of_several_is_the_first() {
    for _ in 0..20 {
        let ends = watches(4, patient());
        let seen = on_all(&ends, |end| {
            end.fail(failure(end.rank(), Cause::NotFinite));
            end.check()
        });
        assert!(seen[0].is_err());
        assert!(seen.iter().all(|end| *end == seen[0]), "{seen:?}");
    }
}

#[test]
fn cancelling_one_cancels_all() {
    for rank in 0..3 {
        let ends = watches(3, patient());
        let (told, ended) = channel();
        ends[2].on_end(move |end| told.send(end.clone()).expect("somebody waits"));
        ends[rank].cancel();
        for end in &ends {
            assert_eq!(end_of(end), GroupError::Cancelled);
        }
        assert_eq!(ended.recv_timeout(LIMIT), Ok(GroupError::Cancelled));
        // Whoever asks later is told at once.
        let (told, ended) = channel();
        ends[0].on_end(move |end| told.send(end.clone()).expect("somebody waits"));
        assert_eq!(ended.try_recv(), Ok(GroupError::Cancelled));
    }
}

#[test]
fn facts_must_be_the_same() {
    let fact = |name: &str, value: u32| -> Fact { (name.into(), value.to_string()) };
    let common = vec![fact("latents", 1), fact("flags", 2)];
    let ends = watches(4, patient());
    assert!(on_all(&ends, |end| end.agree(&common)).iter().all(Result::is_ok));

    for (odd, name) in [(1, "latents"), (3, "flags"), (0, "flags")] {
        let ends = watches(4, patient());
        let seen = on_all(&ends, |end| {
            let mut facts = common.clone();
            if end.rank() == odd {
                facts.iter_mut().filter(|fact| fact.0 == name).for_each(|fact| fact.1.push('!'));
            }
            end.agree(&facts)
        });
        // Rank 0 is what the others are held against.
        let blamed = odd.max(1);
        let expected =
            Failure { rank: blamed, piece: None, op: None, cause: Cause::Differs(name.to_owned()) };
        assert!(seen.iter().all(|end| *end == Err(GroupError::Failed(expected.clone()))));
    }
}

#[test]
fn reports_come_in_the_order_of_ranks() {
    for size in 1..=5 {
        let ends = watches(size, patient());
        // The last first.
        let turn = AtomicU32::new(size);
        let reports = on_all(&ends, |end| {
            while turn.load(Ordering::SeqCst) > end.rank() + 1 {
                std::thread::yield_now();
            }
            turn.fetch_sub(1, Ordering::SeqCst);
            end.close(format!("report of {}", end.rank())).expect("nothing fails")
        });
        let expected: Vec<_> = (0..size).map(|rank| format!("report of {rank}")).collect();
        assert_eq!(reports[0], expected);
        assert!(reports[1..].iter().all(Vec::is_empty));
        // One after the other they go, and nobody minds.
        for end in ends {
            assert_eq!(end.check(), Ok(()));
        }
    }
}

/// A rank that leaves without having failed is not missed: who is silent after it has left is named,
/// although it has been silent for longer.
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
    // Heard once more, so that who has left was not heard for longer.
    write_frame(&mut silent.stream, r#"{"Beat":{"progress":1,"waiting":false}}"#);
    for end in [&hub, &spoke] {
        let GroupError::Failed(failure) = end_of(end) else { panic!("{end:?} is cancelled") };
        assert_eq!(failure.rank, 3, "{failure}");
        assert!(failure.to_string().contains("nothing was heard"), "{failure}");
    }
}

/// Nor is rank 0: nobody is orphaned when it leaves, and nobody waits for its heartbeat.
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

/// Rank 0 has heard of a failure and goes, while its own threads still tell the others.
#[test]
fn nobody_misses_a_failure_that_ends_rank_0() {
    let cause = || Cause::Panic("on purpose".into());
    let failed = |end| assert_eq!(end, GroupError::Failed(failure(7, cause())));
    for _ in 0..100 {
        let mut ends = watches(8, patient());
        let hub = ends.remove(0);
        std::thread::scope(|scope| {
            let hub = scope.spawn(move || {
                while hub.check().is_ok() {
                    std::hint::spin_loop();
                }
                hub.check().expect_err("it has ended")
            });
            ends[6].fail(failure(7, cause()));
            failed(hub.join().expect("no panic"));
        });
        ends.iter().for_each(|end| failed(end_of(end)));
    }
}

/// Ranks do not wait for each other to join: one may fail before another has come.
#[test]
fn who_joins_late_learns_of_a_failure() {
    let lobby = Watch::host(3, Reach::ThisMachine, patient()).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    let failed = failure(2, Cause::Panic("on purpose".into()));
    std::thread::scope(|scope| {
        let hub = scope.spawn(|| lobby.assemble().expect("all ranks"));
        let early = Watch::join(&rendezvous, 2, 3, patient()).expect("rank 0");
        early.fail(failed.clone());
        let late = Watch::join(&rendezvous, 1, 3, patient()).expect("rank 0");
        for end in [&hub.join().expect("no panic"), &early, &late] {
            assert_eq!(end_of(end), GroupError::Failed(failed.clone()));
        }
    });
}

/// The names that rank 0 knows itself by may say nothing to the others.
#[test]
fn rank_0_is_found_where_a_rank_knows_it() {
    let (tell, told) = channel();
    let begin = |rank, root, broadcast: &mut dyn FnMut(Vec<u8>) -> std::io::Result<Vec<u8>>| {
        Watch::begin(rank, 2, Reach::ThisMachine, patient(), root, broadcast).expect("both")
    };
    std::thread::scope(|scope| {
        let hub = scope.spawn(|| {
            begin(0, None, &mut |text| {
                tell.send(text.clone()).expect("the other rank");
                Ok(text)
            })
        });
        let nameless = |_| {
            let text = told.recv().expect("rank 0");
            let mut rendezvous: serde_json::Value = serde_json::from_slice(&text)?;
            rendezvous["hosts"] = serde_json::json!([]);
            Ok(serde_json::to_vec(&rendezvous)?)
        };
        let spoke = begin(1, Some(Ipv4Addr::LOCALHOST.into()), &mut { nameless });
        assert_eq!((hub.join().expect("no panic").rank(), spoke.rank()), (0, 1));
    });
}

/// A process that dies closes its connection without a word.
#[test]
fn a_lost_rank_is_named() {
    let lobby = Watch::host(3, Reach::ThisMachine, patient()).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    let (hub, spoke, mut lost) = std::thread::scope(|scope| {
        let spoke = scope.spawn(|| Watch::join(&rendezvous, 2, 3, patient()).expect("rank 0"));
        let lost = scope.spawn(|| Stranger::connect(&rendezvous, None, 1));
        let hub = lobby.assemble().expect("all ranks");
        (hub, spoke.join().expect("no panic"), lost.join().expect("no panic"))
    });
    assert!(lost.is_welcome());
    assert_eq!((hub.check(), spoke.check()), (Ok(()), Ok(())));
    drop(lost);
    for end in [&hub, &spoke] {
        let GroupError::Failed(failure) = end_of(end) else { panic!("{end:?} is cancelled") };
        assert_eq!(failure.rank, 1);
        assert!(failure.to_string().contains("its process ended without a word"), "{failure}");
        assert!(!end.is_orphaned());
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

/// If rank 0 dies, every other rank notices for itself.
#[test]
fn a_lost_hub_orphans_everybody() {
    let lobby = Watch::host(2, Reach::ThisMachine, patient()).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    let (hub, spoke) = std::thread::scope(|scope| {
        let spoke = scope.spawn(|| Watch::join(&rendezvous, 1, 2, patient()).expect("rank 0"));
        (lobby.assemble().expect("all ranks"), spoke.join().expect("no panic"))
    });
    // A panic is no farewell.
    let panicked = std::thread::spawn(move || {
        let _hub = hub;
        panic!("rank 0 goes");
    });
    assert!(panicked.join().is_err());
    let GroupError::Failed(failure) = end_of(&spoke) else { panic!("cancelled") };
    assert_eq!(failure.rank, 0);
    let start = Instant::now();
    while !spoke.is_orphaned() {
        assert!(start.elapsed() < LIMIT);
    }
}

/// Whoever does not know the token, or is no rank, or talks nonsense, is turned away, and the ranks
/// come together all the same.
#[test]
fn strangers_are_turned_away() {
    let lobby = Watch::host(2, Reach::ThisMachine, patient()).expect("a port");
    let rendezvous = lobby.rendezvous().clone();
    let port = serde_json::to_value(&rendezvous).expect("JSON")["port"].as_u64().expect("a port");
    std::thread::scope(|scope| {
        let hub = scope.spawn(|| lobby.assemble());
        for (token, rank) in
            [(Some("\"1\""), 1), (Some("1"), 1), (None, 0), (None, 2), (None, u32::MAX)]
        {
            assert!(!Stranger::connect(&rendezvous, token, rank).is_welcome(), "{token:?} {rank}");
        }
        for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 64], b""] {
            let mut stream = TcpStream::connect(("127.0.0.1", port as u16)).expect("it listens");
            stream.write_all(nonsense).expect("a connection");
            drop(stream);
        }
        let spoke = Watch::join(&rendezvous, 1, 2, patient()).expect("rank 0");
        let hub = hub.join().expect("no panic").expect("all ranks");
        assert_eq!((hub.check(), spoke.check()), (Ok(()), Ok(())));
    });
}

/// A rank that talks nonsense once it has joined counts as lost, whatever it claims.
#[test]
fn nonsense_of_a_rank_ends_the_group() {
    for frame in ["", "{", "null", r#""Welcome""#, r#"{"Beat":{"progress":-1}}"#] {
        let lobby = Watch::host(2, Reach::ThisMachine, patient()).expect("a port");
        let rendezvous = lobby.rendezvous().clone();
        let (hub, mut rank) = std::thread::scope(|scope| {
            let rank = scope.spawn(|| Stranger::connect(&rendezvous, None, 1));
            (lobby.assemble().expect("all ranks"), rank.join().expect("no panic"))
        });
        write_frame(&mut rank.stream, frame);
        assert!(matches!(end_of(&hub), GroupError::Failed(Failure { rank: 1, .. })), "{frame}");
    }
}
