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

#[test]
fn a_sender_waits_for_a_slow_receiver() {
    let ends = ThreadGroup::split(2, &Cancel::new());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for index in 0..100 {
                ends[1].send(0, Tag(index), vec![index as f32]).expect("send");
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!sender.is_finished(), "100 messages were taken with nobody receiving");
        for index in 0..100 {
            assert_eq!(ends[0].receive(1, Tag(index), 1).expect("receive"), [index as f32]);
        }
        sender.join().expect("no panic");
    });
}
