//! The watch over processes, one thread in the place of each process.

mod watch_common;

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use halovae_engine::backend::BackendError;
use halovae_engine::group::{
    Cause, Expected, Fact, Failure, GroupError, Length, Limits, Reach, Watch,
};
use watch_common::{LIMIT, Stranger, end_of, watches, write_frame};

fn patient() -> Limits {
    Limits { silence: 2 * LIMIT, stuck: 2 * LIMIT }
}

fn failure(rank: u32, cause: Cause) -> Failure {
    Failure { rank, piece: Some(3), op: Some("decoder.conv_in".into()), cause }
}

/// On every end at once.
fn on_all<T: Send>(ends: &[Watch], part: impl Fn(&Watch) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let running: Vec<_> = ends.iter().map(|end| scope.spawn(|| part(end))).collect();
        running.into_iter().map(|part| part.join().expect("no panic")).collect()
    })
}

#[test]
fn every_rank_hears_of_the_first_failure() {
    let causes = [
        Cause::Panic("on purpose".into()),
        Cause::NotFinite,
        Cause::Enough,
        Cause::Length { from: 1, got: Length::Values(2), expected: Expected::Bytes },
        Cause::Object { from: 1, error: "no \"bool\"".into() },
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
        ends[2].on_end(move |end| told.send(end.clone()).expect("the test waits"));
        ends[rank].cancel();
        for end in &ends {
            assert_eq!(end_of(end), GroupError::Cancelled);
        }
        assert_eq!(ended.recv_timeout(LIMIT), Ok(GroupError::Cancelled));
        // A later caller is told at once.
        let (told, ended) = channel();
        ends[0].on_end(move |end| told.send(end.clone()).expect("the test waits"));
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
        // One after the other they leave, and that is no failure.
        for end in ends {
            assert_eq!(end.check(), Ok(()));
        }
    }
}

/// Rank 0 has heard of a failure and goes, while its own threads still tell the others.
#[test]
fn no_rank_misses_a_failure_that_ends_rank_0() {
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

/// If rank 0 dies, every other rank notices for itself.
#[test]
fn a_lost_hub_orphans_all_ranks() {
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

/// A stranger that does not know the token, is no rank, or talks nonsense is turned away, and the ranks
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
