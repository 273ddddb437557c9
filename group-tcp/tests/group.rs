//! The suite for groups over TCP, a thread in the place of each process, and what goes wrong while
//! processes meet.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use halovae_engine::group::{
    Cancel, Cause, Group, GroupError, Limits, Neighbours, ProcessGroup, Tag, conformance,
};
use halovae_tcp::{Meeting, TcpError, TcpRank, World};
use halovae_tests::torchrun::free_port;

/// Longer than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

fn meetings(size: u32) -> Vec<Meeting> {
    let port = free_port();
    (0..size).map(|rank| Meeting { rank, size, host: "127.0.0.1".into(), port }).collect()
}

/// On every one at once, in the order given.
fn on_all<T: Sync, R: Send>(all: &[T], part: impl Fn(&T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|one| scope.spawn(|| part(one))).collect();
        running.into_iter().map(|part| part.join().expect("no panic")).collect()
    })
}

fn worlds(size: u32) -> Vec<World> {
    on_all(&meetings(size), |meeting| World::join(meeting).expect("the others"))
}

fn groups(worlds: &[World], size: u32) -> Vec<TcpRank> {
    let cancel = Cancel::new();
    let ends = on_all(worlds, |world| world.group(size, Limits::new(LIMIT), &cancel));
    ends.into_iter().filter_map(|end| end.expect("a group")).collect()
}

#[test]
fn conforms() {
    let worlds = worlds(5);
    conformance::run(|size| groups(&worlds, size));
    for (index, world) in (0..).zip(&worlds) {
        assert_eq!(world.neighbours(), Neighbours { index, count: 5 });
    }
    std::thread::scope(|scope| {
        worlds.into_iter().for_each(|world| {
            scope.spawn(|| world.finish());
        })
    });
}

/// One process alone, which needs no other.
#[test]
fn one_rank() {
    let worlds = worlds(1);
    conformance::run(|size| if size == 1 { groups(&worlds, 1) } else { Vec::new() });
}

/// More messages than are read before they are wanted, received in the other order.
#[test]
fn messages_wait_for_their_receiver() {
    const COUNT: u64 = 40;
    let worlds = worlds(2);
    let ends = groups(&worlds, 2);
    let value = |tag: u64| vec![tag as f32; 100_000];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for tag in 0..COUNT {
                ends[0].send(1, Tag(tag), value(tag)).expect("send");
            }
        });
        // The last first: it is behind all others.
        for tag in (0..COUNT).rev() {
            let got = ends[1].receive(0, Tag(tag), 100_000).expect("receive");
            assert!(got == value(tag), "message {tag}");
        }
    });
}

/// The connection between two ranks ends, while those by which they watch each other live.
#[test]
fn who_is_connected_no_more_is_named() {
    let mut worlds = worlds(3);
    let ends = groups(&worlds, 3);
    worlds.remove(2).finish();
    let error = ends[1].receive(2, Tag(1), 3).expect_err("no rank sends this");
    let GroupError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!(failure.rank, 2);
    let Cause::Transport(message) = &failure.cause else { panic!("{failure}") };
    assert!(message.contains("no longer connected over TCP"), "{message}");
    assert_eq!(ends[0].receive(1, Tag(1), 3), Err(GroupError::Failed(failure)));
    assert_eq!(ends[0].watch().check(), ends[1].watch().check());
}

/// What is no rank is turned away; the ranks meet all the same.
#[test]
fn strangers_are_turned_away() {
    let meetings = meetings(2);
    let port = meetings[0].port;
    std::thread::scope(|scope| {
        let root = scope.spawn(|| World::join(&meetings[0]));
        let said: [&[u8]; 4] = [b"", b"GET / HTTP/1.1\r\n\r\n", &[255; 64], b"\x02\0\0\0{}"];
        for said in said {
            let mut stranger = loop {
                match TcpStream::connect(("127.0.0.1", port)) {
                    Ok(stream) => break stream,
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            };
            stranger.write_all(said).expect("a listener");
            stranger.shutdown(std::net::Shutdown::Write).expect("an open connection");
            let mut answer = Vec::new();
            // Closed or reset, as the system likes.
            let _ = stranger.read_to_end(&mut answer);
            assert!(answer.is_empty(), "a stranger was told {answer:?}");
        }
        World::join(&meetings[1]).expect("rank 0");
        root.join().expect("no panic").expect("rank 1");
    });
}

#[test]
fn who_does_not_fit_is_told_why() {
    let joined = |change: fn(&mut Meeting)| {
        let mut meetings = meetings(2);
        change(&mut meetings[1]);
        on_all(&meetings, |meeting| World::join(meeting).expect_err("one that fits").to_string())
    };
    let told = joined(|meeting| meeting.size = 3);
    let expected = "rank 0 is one of 2 ranks, rank 1 is one of 3";
    assert_eq!(told, [expected, expected]);
    // A rank that there is not is known before any is asked.
    let lone = Meeting { rank: 5, size: 2, host: "127.0.0.1".into(), port: free_port() };
    let error = World::join(&lone).expect_err("no such rank");
    assert!(matches!(error, TcpError::Rank { rank: 5, size: 2 }), "{error}");
}

#[test]
fn two_of_the_same_rank_are_found() {
    let mut meetings = meetings(3);
    meetings[2].rank = 1;
    let told = on_all(&meetings, |meeting| World::join(meeting).map(drop));
    let Err(TcpError::Refused(why)) = &told[0] else { panic!("{told:?}") };
    assert_eq!(why, "two processes were started as rank 1");
    assert!(told[1..].iter().all(Result::is_err), "{told:?}");
}

#[test]
fn a_port_in_use_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let meeting = Meeting { rank: 0, size: 2, host: "127.0.0.1".into(), port };
    let error = World::join(&meeting).expect_err("a port in use").to_string();
    assert!(error.contains(&format!("port {port}")) && error.contains("MASTER_PORT"), "{error}");
}
