//! The tests that a group runs on itself.
//!
//! A group is tested by one thread a rank, or by one process a rank, each of which runs the suite:
//! [`run`] takes the ends that are in this process and does every part of the suite on them.

pub mod links;

use std::time::{Duration, Instant};

use super::{
    Cause, Expected, Failure, FirstRanks, Group, GroupError, Length, MAX_MESSAGE_BYTES, Objects,
    Payload, Tag,
};

/// Longer than a blocked rank takes to learn of a failure elsewhere on a busy machine: only against a
/// rank that hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `part` on every end at once, each in a thread of its own.
fn on_all<G: Group>(ends: &[G], part: impl Fn(&G) + Sync) {
    std::thread::scope(|scope| {
        for end in ends {
            scope.spawn(|| part(end));
        }
    });
}

fn values(rank: u32, len: usize) -> Vec<f32> {
    (0..len).map(|i| rank as f32 * 1000.0 + i as f32).collect()
}

/// Runs the whole suite. `make` gives those ends of a fresh group of so many ranks that are in this
/// process: all of them, or one, or none if there are more processes than ranks.
pub fn run<G: Group>(make: impl Fn(u32) -> Vec<G>) {
    for size in 1..=5 {
        messages(&make(size), size);
        bytes(&make(size));
        large_messages(&make(size));
        collectives(&make(size));
        objects(&make(size));
        for wrong in Wrong::all() {
            wrong_message(&make(size), &wrong);
        }
        too_long(&make(size));
        failure_wakes_every_rank(&make(size), size);
    }
}

/// Every rank sends to every rank; order is kept within a tag, and tags do not mix.
fn messages<G: Group>(ends: &[G], size: u32) {
    on_all(ends, |end| {
        assert_eq!(end.size(), size);
        for to in 0..size {
            for (tag, len) in [(1, 3), (2, 0), (1, 5)] {
                end.send(to, Tag(tag), values(end.rank(), len)).expect("send");
            }
        }
        for from in 0..size {
            for (tag, len) in [(2, 0), (1, 3), (1, 5)] {
                let got = end.receive(from, Tag(tag), len).expect("receive");
                assert_eq!(got, values(from, len));
            }
        }
    });
}

/// Bytes of any content and length travel between values of the same tag.
fn bytes<G: Group>(ends: &[G]) {
    let bytes = |rank: u32, len: usize| -> Vec<u8> {
        (0..len).map(|i| (rank as usize * 31 + i * 7) as u8).collect()
    };
    let lens = [0, 1, 3, 1021, MAX_MESSAGE_BYTES];
    on_all(ends, |end| {
        let size = end.size();
        let next = (end.rank() + 1) % size;
        let last = (end.rank() + size - 1) % size;
        for len in lens {
            end.send_payload(next, Tag(3), Payload::Bytes(bytes(end.rank(), len))).expect("send");
            end.send(next, Tag(3), values(end.rank(), 2)).expect("send");
            let got = end.receive_bytes(last, Tag(3)).expect("receive");
            assert!(got == bytes(last, len), "{len} bytes");
            assert_eq!(end.receive(last, Tag(3), 2).expect("receive"), values(last, 2));
        }
    });
}

/// Messages that no transport keeps for itself go round in both directions at once, with tags of
/// all 64 bits.
fn large_messages<G: Group>(ends: &[G]) {
    const LEN: usize = 300_001;
    on_all(ends, |end| {
        let size = end.size();
        let next = (end.rank() + 1) % size;
        let last = (end.rank() + size - 1) % size;
        for round in 0..3 {
            let tags = [Tag(1 << 63 | round), Tag(u64::MAX - round)];
            end.send(next, tags[0], values(end.rank(), LEN)).expect("send");
            end.send(last, tags[1], values(end.rank(), LEN + 1)).expect("send");
            let got = end.receive(next, tags[1], LEN + 1).expect("receive");
            assert!(got == values(next, LEN + 1), "round {round}, from the next rank");
            let got = end.receive(last, tags[0], LEN).expect("receive");
            assert!(got == values(last, LEN), "round {round}, from the last rank");
        }
    });
}

fn collectives<G: Group>(ends: &[G]) {
    on_all(ends, |end| {
        let size = end.size();
        for root in 0..size {
            let mut data = values(end.rank(), 7);
            end.broadcast(root, Tag(10), &mut data).expect("broadcast");
            assert_eq!(data, values(root, 7));

            let lens: Vec<usize> = (0..size).map(|rank| rank as usize * 2).collect();
            let own = values(end.rank(), lens[end.rank() as usize]);
            let gathered = end.gather(root, Tag(11), own, &lens).expect("gather");
            let expected = (0..size).zip(&lens).map(|(rank, &len)| values(rank, len)).collect();
            assert_eq!(gathered, (end.rank() == root).then_some::<Vec<Vec<f32>>>(expected));
        }
    });
}

/// What a rank knows of itself.
type Known = (u32, bool, String, Option<[u64; 2]>);

fn known(rank: u32) -> Known {
    let text = "\0\u{1f980}\"".repeat(rank as usize);
    (u32::MAX - rank, rank.is_multiple_of(2), text, (rank > 1).then_some([rank.into(), u64::MAX]))
}

fn objects<G: Group>(ends: &[G]) {
    on_all(ends, |end| {
        let (rank, size) = (end.rank(), end.size());
        for root in 0..size {
            let own = (rank == root).then(|| known(root));
            let told: Known = end.broadcast_object(root, Tag(12), own).expect("broadcast");
            assert_eq!(told, known(root));
            end.send_object(root, Tag(15), &known(rank)).expect("send");
        }
        for from in 0..size {
            let told: Known = end.receive_object(from, Tag(15)).expect("receive");
            assert_eq!(told, known(from));
        }
        let all = end.all_gather_object(Tag(13), known(rank)).expect("all-gather");
        assert!(all.into_iter().eq((0..size).map(known)));
        // All but the last rank as a group of their own, while that one goes on.
        let first = (size - 1).max(1);
        if rank < first {
            let group = FirstRanks::new(end, first);
            assert_eq!(group.size(), first);
            let all = group.all_gather_object(Tag(14), known(rank)).expect("all-gather");
            assert!(all.into_iter().eq((0..first).map(known)));
        }
    });
}

/// A message that is not what the plan says.
struct Wrong {
    sent: Payload,
    /// None: an object, here a list of two flags.
    expected: Option<Expected>,
}

impl Wrong {
    fn all() -> impl Iterator<Item = Self> {
        let lengths = [
            (Payload::Values(vec![1.0; 3]), Expected::Values(4)),
            (Payload::Bytes(vec![1; 12]), Expected::Values(3)),
            (Payload::Values(Vec::new()), Expected::Bytes),
        ];
        let lengths = lengths.into_iter().map(|(sent, expected)| (sent, Some(expected)));
        let texts =
            ["", "[true", "[true,false,true]", "[1,0]", "[true,false] ]"].map(str::as_bytes);
        let objects = texts.into_iter().chain([&[0xff, 0xfe][..]]);
        let objects = objects.map(|bytes| (Payload::Bytes(bytes.to_vec()), None));
        lengths.chain(objects).map(|(sent, expected)| Self { sent, expected })
    }
}

/// A message of another kind, length or content than the plan says fails the group, and every rank
/// is told which rank received it and from which; no rank panics.
fn wrong_message<G: Group>(ends: &[G], wrong: &Wrong) {
    on_all(ends, |end| {
        let from = end.size() - 1;
        if end.rank() == from {
            end.send_payload(0, Tag(20), wrong.sent.clone()).expect("send");
        }
        let error = match wrong.expected {
            // What no rank sends.
            _ if end.rank() > 0 => end.receive(0, Tag(21), 1).map(drop),
            Some(expected) => end.receive_payload(from, Tag(20), expected).map(drop),
            None => end.receive_object::<[bool; 2]>(from, Tag(20)).map(drop),
        };
        let error = error.expect_err("the group has failed");
        let GroupError::Failed(Failure { rank: 0, piece: None, op: None, cause }) = &error else {
            panic!("{error}");
        };
        match (wrong.expected, cause) {
            (Some(expected), cause) => {
                let got: Length = wrong.sent.length();
                assert_eq!(cause, &Cause::Length { from, got, expected });
            }
            (None, Cause::Object { from: named, error }) => {
                assert_eq!(*named, from);
                assert!(!error.is_empty());
            }
            (None, other) => panic!("{other}"),
        }
        assert_eq!(end.check(), Err(error));
    });
}

/// An object that is longer than any message is its sender's failure.
fn too_long<G: Group>(ends: &[G]) {
    let Some(end) = ends.iter().find(|end| end.rank() == 0) else { return };
    let error = end.send_object(0, Tag(22), &" ".repeat(MAX_MESSAGE_BYTES)).expect_err("too long");
    let GroupError::Failed(Failure { rank: 0, cause: Cause::Object { from: 0, .. }, .. }) = error
    else {
        panic!("{error}");
    };
}

/// Ranks that wait for a message learn of a failure, all of the same first one.
fn failure_wakes_every_rank<G: Group>(ends: &[G], size: u32) {
    let failing = size - 1;
    let failure = |piece| Failure {
        rank: failing,
        piece: Some(piece),
        op: Some("conv".into()),
        cause: Cause::Panic("on purpose".into()),
    };
    let start = Instant::now();
    on_all(ends, |end| {
        if end.rank() == failing {
            end.fail(failure(3));
            end.fail(failure(4));
        } else {
            let error = end.receive(failing, Tag(30), 1).expect_err("no rank sends this");
            assert_eq!(error, GroupError::Failed(failure(3)));
        }
        assert_eq!(end.check(), Err(GroupError::Failed(failure(3))));
        let error = end.send(0, Tag(31), Vec::new()).expect_err("the group has failed");
        assert_eq!(error, GroupError::Failed(failure(3)));
    });
    assert!(start.elapsed() < LIMIT, "took {:?} to learn of a failure", start.elapsed());
}
