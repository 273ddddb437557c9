//! The tests that a group runs on itself.
//!
//! A group is tested by one thread a rank, or by one process a rank, each of which runs the suite:
//! [`run`] takes the ends that are in this process and does every part of the suite on them.

pub mod links;

use std::time::{Duration, Instant};

use super::{Cause, Failure, FirstRanks, Group, GroupError, Tag};

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
        large_messages(&make(size));
        collectives(&make(size));
        wrong_length(&make(size));
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
        let lens: Vec<usize> = (0..size).map(|rank| 3 * rank as usize % 5).collect();
        let all_of = |size: u32| -> Vec<Vec<f32>> {
            (0..size).zip(&lens).map(|(rank, &len)| values(rank, len)).collect()
        };
        let own = || values(end.rank(), lens[end.rank() as usize]);
        assert_eq!(end.all_gather(Tag(13), own(), &lens).expect("all-gather"), all_of(size));
        // All but the last rank as a group of their own, while that one goes on.
        let first = (size - 1).max(1);
        if end.rank() < first {
            let group = FirstRanks::new(end, first);
            assert_eq!(group.size(), first);
            let gathered = group.all_gather(Tag(14), own(), &lens[..first as usize]);
            assert_eq!(gathered.expect("all-gather"), all_of(first));
        }

        let mut sums = values(end.rank(), 4);
        end.all_reduce_sum(Tag(12), &mut sums).expect("all-reduce");
        let mut expected = vec![0.0; 4];
        for rank in 0..size {
            expected.iter_mut().zip(values(rank, 4)).for_each(|(sum, value)| *sum += value);
        }
        assert_eq!(sums, expected);
    });
}

/// A message of another length than the plan says fails the group and names both.
fn wrong_length<G: Group>(ends: &[G]) {
    let Some(end) = ends.iter().find(|end| end.rank() == 0) else { return };
    end.send(0, Tag(20), values(0, 3)).expect("send");
    let error = end.receive(0, Tag(20), 4).expect_err("a message of another length");
    let cause = Cause::Length { from: 0, got: 3, expected: 4 };
    assert_eq!(error, GroupError::Failed(Failure { rank: 0, piece: None, op: None, cause }));
    assert_eq!(end.check(), Err(error));
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
