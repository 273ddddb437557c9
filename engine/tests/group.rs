//! Threads as a group, held against the suite for groups.

use halovae_engine::group::{Cancel, Group, GroupError, Tag, ThreadGroup, conformance};

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
                let mut sum = [1.0, end.rank() as f32];
                end.all_reduce_sum(Tag(2), &mut sum).expect("all-reduce");
                assert_eq!(sum, [RANKS as f32, (0..RANKS).sum::<u32>() as f32]);
                end.send(0, Tag(4), Vec::new()).expect("send");
                assert_eq!(end.receive(next, Tag(3), 1), Err(GroupError::Cancelled));
            });
        }
        // All have summed up, and wait for what no rank sends, or soon will.
        let main = &ends[0];
        (0..RANKS).for_each(|rank| drop(main.receive(rank, Tag(4), 0).expect("receive")));
        cancel.cancel();
    });
}
