//! Threads as a group, held against the suite for groups.

use halovae_engine::group::{Cancel, Group, GroupError, Objects, Tag, ThreadGroup, conformance};

#[test]
fn threads_conform() {
    conformance::run(|size| ThreadGroup::split(size, &Cancel::new()));
}

#[test]
fn cancelling_wakes_a_waiting_rank() {
    let cancel = Cancel::new();
    let ends = ThreadGroup::split(2, &cancel);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ends[0].receive(1, Tag(0), 1));
        cancel.cancel();
        assert_eq!(waiting.join().expect("no panic"), Err(GroupError::Cancelled));
    });
}

/// More ranks than look for a cancellation often.
#[test]
fn many_ranks_as_well() {
    const RANKS: u32 = 150;
    let cancel = Cancel::new();
    let ends = ThreadGroup::split(RANKS, &cancel);
    std::thread::scope(|scope| {
        for end in &ends {
            scope.spawn(move || {
                let [next, last] = [1, RANKS - 1].map(|step| (end.rank() + step) % RANKS);
                end.send(next, Tag(1), vec![end.rank() as f32]).expect("send");
                assert_eq!(end.receive(last, Tag(1), 1), Ok(vec![last as f32]));
                let all = end.all_gather_object(Tag(2), end.rank()).expect("all-gather");
                assert!(all.into_iter().eq(0..RANKS));
                end.send(0, Tag(4), Vec::new()).expect("send");
                assert_eq!(end.receive(next, Tag(3), 1), Err(GroupError::Cancelled));
            });
        }
        // All know of all, and wait for what no rank sends, or soon will.
        let main = &ends[0];
        (0..RANKS).for_each(|rank| drop(main.receive(rank, Tag(4), 0).expect("receive")));
        cancel.cancel();
    });
}

/// Rank 0 tells of more ranks than there are.
#[test]
fn as_many_objects_as_ranks() {
    let ends = ThreadGroup::split(2, &Cancel::new());
    ends[0].send_object(1, Tag(1), &[1, 2, 3]).expect("send");
    let error = ends[1].all_gather_object(Tag(1), 2).expect_err("three objects of two ranks");
    let GroupError::Failed(failure) = &error else { panic!("{error}") };
    assert_eq!(failure.rank, 1);
    let told = failure.to_string();
    assert!(told.contains("rank 0 tells") && told.contains("3 objects of 2 ranks"), "{told}");
    assert_eq!(ends[0].check(), Err(error));
}
