//! The tests that links between devices run on themselves, with a thread for each rank.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use halovae_core::Region;

use super::LIMIT;
use crate::backend::Backend;
use crate::group::{
    Cancel, Cause, Content, Failure, Group, GroupError, Incoming, LinkError, Links, Tag,
    ThreadGroup, ThreadRank, Way,
};
use crate::tensor::{HostTensor, Shape};

/// One rank's device and its links to the others.
pub type End<B> = (B, Box<dyn Links<<B as Backend>::Tensor>>);

/// Runs the whole suite. `make` gives as many ranks as asked for, each with a device of its own.
pub fn run<B: Backend>(make: impl Fn(u32) -> Vec<End<B>>) {
    for size in 2..=4 {
        let ends = make(size);
        // The second time they are connected.
        for _ in 0..2 {
            parts_travel(&ends);
            many_under_way(&ends);
            once_around(&ends);
            statistics_are_merged(&ends);
        }
        a_rank_that_does_not_come(&ends);
        a_rank_that_fails_meanwhile(&ends);
        // And once more after that.
        parts_travel(&ends);
    }
}

/// A rank in a part of the suite.
struct Rank<'a, B: Backend> {
    group: ThreadRank,
    backend: &'a B,
    links: &'a dyn Links<B::Tensor>,
}

/// Runs `part` on every rank at once, each in a thread of its own, all of them connected.
fn on_all<B: Backend>(ends: &[End<B>], part: impl Fn(&Rank<'_, B>) + Sync) {
    let groups = ThreadGroup::split(ends.len() as u32, &Cancel::new());
    let connected = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for ((backend, links), group) in ends.iter().zip(groups) {
            let (part, connected) = (&part, &connected);
            scope.spawn(move || {
                let rank = Rank { group, backend, links: &**links };
                let way = rank.links.connect(&rank.group).expect("connected");
                assert!(matches!(way, Way::Devices(_)), "{way:?}");
                // None fails before all are connected, which the group itself cannot tell:
                // its failure would come first.
                connected.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                while connected.load(Ordering::SeqCst) < ends.len() {
                    assert!(start.elapsed() < LIMIT, "the others do not connect");
                    std::thread::yield_now();
                }
                part(&rank);
            });
        }
    });
}

/// What a rank's tensor holds, which every type of number stores exactly.
fn value(rank: u32, y: usize, x: usize, channel: usize) -> f32 {
    (rank as usize * 61 + y * 17 + x * 5 + channel) as f32 % 128.0
}

fn tensor(rank: u32, region: Region, channels: usize) -> HostTensor {
    let [height, width] = [region.height as usize, region.width as usize];
    let places = (0..height * width * channels).map(|at| {
        let (position, channel) = (at / channels, at % channels);
        let [y, x] = [position / width, position % width];
        value(rank, region.top as usize + y, region.left as usize + x, channel)
    });
    let shape = Shape::new(1, height, width, channels);
    HostTensor::new(shape, places.collect()).expect("as many as its shape has")
}

#[track_caller]
fn assert_same(what: &str, got: &HostTensor, expected: &HostTensor) {
    assert_eq!(got.shape(), expected.shape(), "{what}");
    let mut pairs = got.data().iter().zip(expected.data()).enumerate();
    if let Some((at, (got, expected))) = pairs.find(|(_, (got, expected))| got != expected) {
        panic!("{what}: value {at} is {got}, expected {expected}");
    }
}

impl<B: Backend> Rank<'_, B> {
    fn others(&self) -> impl Iterator<Item = u32> {
        let me = self.group.rank();
        (0..self.group.size()).filter(move |&rank| rank != me)
    }

    fn read(&self, tensor: &B::Tensor) -> HostTensor {
        self.links.settle(&self.group).expect("no rank failed");
        let shape = self.backend.shape(tensor);
        let all = Region::new(0, 0, shape.height as u32, shape.width as u32);
        self.backend.download(tensor, all).expect("a tensor")
    }

    /// Memory that was freed is used again.
    fn overwrite(&self, shape: Shape) {
        let other = HostTensor::new(shape, vec![-1.0; shape.elements().expect("few")]);
        drop(self.backend.upload(&other.expect("of that shape")).expect("a tensor"));
    }
}

/// Every rank sends every other a corner, an edge and all of a tensor; they are joined to a map.
fn parts_travel<B: Backend>(ends: &[End<B>]) {
    const SIZE: Region = Region::new(0, 0, 7, 9);
    // What is above and what is below a line.
    let [corner, edge] = [Region::new(2, 3, 1, 4), Region::new(1, 3, 3, 4)];
    for channels in [1, 2, 12] {
        on_all(ends, |rank| {
            let me = rank.group.rank();
            // What was sent before something failed.
            rank.links.take_sent();
            let whole = rank.backend.upload(&tensor(me, SIZE, channels)).expect("a tensor");
            let whole = Rc::new(whole);
            let cut = |region| Rc::new(rank.links.cut(&whole, region).expect("a part"));
            let parts = [cut(corner), cut(edge), cut(SIZE)];
            let outgoing =
                rank.others().flat_map(|to| parts.clone().map(|part| (to, part))).collect();
            drop(parts);
            let shape = |region: Region| {
                Shape::new(1, region.height as usize, region.width as usize, channels)
            };
            let incoming: Vec<Incoming> = rank
                .others()
                .flat_map(|from| [corner, edge, SIZE].map(|region| (from, shape(region))))
                .map(|(from, shape)| Incoming { from, shape, content: Content::Features })
                .collect();
            let flight = rank.links.exchange(&rank.group, outgoing, &incoming).expect("begun");
            rank.overwrite(shape(edge));
            let mut come = flight.arrive(&rank.group).expect("arrived").into_iter().map(Rc::new);
            for from in rank.others() {
                let [got_corner, got_edge, got] = [(); 3].map(|()| come.next().expect("a part"));
                assert_same("a whole", &rank.read(&got), &tensor(from, SIZE, channels));
                let places = [Region::new(0, 0, 1, 4), Region::new(1, 0, 3, 4)];
                let parts = places.into_iter().zip([got_corner, got_edge]).collect();
                let joined = rank.links.join(Shape::new(1, 4, 4, channels), parts).expect("a map");
                let expected = [corner, edge].map(|region| tensor(from, region, channels));
                let expected: Vec<f32> =
                    expected.into_iter().flat_map(HostTensor::into_data).collect();
                assert_eq!(rank.read(&joined).data(), expected);
                // Side by side.
                let left = tensor(from, Region::new(0, 0, 4, 1), channels);
                let left = Rc::new(rank.backend.upload(&left).expect("a tensor"));
                let left = Rc::new(rank.links.cut(&left, Region::new(0, 0, 4, 1)).expect("a part"));
                let parts =
                    [(Region::new(0, 0, 4, 1), left), (Region::new(0, 1, 4, 4), Rc::new(joined))];
                let wide =
                    rank.links.join(Shape::new(1, 4, 5, channels), parts.into()).expect("a map");
                let wide = rank.read(&wide);
                let of = |region| wide.crop(0, region).expect("a part").into_data();
                assert_eq!(of(Region::new(0, 1, 4, 4)), expected);
                let left = tensor(from, Region::new(0, 0, 4, 1), channels);
                assert_eq!(of(Region::new(0, 0, 4, 1)), left.data());
            }
            assert_eq!(come.count(), 0);
            let sent = rank.links.take_sent();
            assert_eq!(sent.messages, 3 * u64::from(rank.group.size() - 1));
            assert!(sent.bytes > 0);
        });
    }
}

/// Exchanges that are begun one after the other arrive as they were sent, in whatever order they are
/// looked at.
fn many_under_way<B: Backend>(ends: &[End<B>]) {
    const LINES: u32 = 6;
    on_all(ends, |rank| {
        let (me, size) = (rank.group.rank(), rank.group.size());
        let (next, last) = ((me + 1) % size, (me + size - 1) % size);
        let map = rank.backend.upload(&tensor(me, Region::new(0, 0, LINES, 300), 40));
        let map = map.expect("a tensor");
        let line = |y| Region::new(y, 0, 1, 300);
        let begin = |y| {
            let part = Rc::new(rank.links.cut(&map, line(y)).expect("a part"));
            let shape = Shape::new(1, 1, 300, 40);
            let incoming = Incoming { from: last, shape, content: Content::Features };
            let flight = rank.links.exchange(&rank.group, vec![(next, part)], &[incoming]);
            (y, flight.expect("begun"))
        };
        let flights: Vec<_> = (0..LINES).map(begin).collect();
        for (y, flight) in flights.into_iter().rev() {
            let come = flight.arrive(&rank.group).expect("arrived");
            assert_same(&format!("line {y}"), &rank.read(&come[0]), &tensor(last, line(y), 40));
        }
        rank.links.take_sent();
    });
}

/// What has come is cut and passed on before it has come: whatever is queued waits for what it reads.
fn once_around<B: Backend>(ends: &[End<B>]) {
    on_all(ends, |rank| {
        let (me, size) = (rank.group.rank(), rank.group.size());
        let (next, last) = ((me + 1) % size, (me + size - 1) % size);
        let rows = 40 + size;
        let map = tensor(me, Region::new(0, 0, rows, 100), 24);
        let mut map = rank.backend.upload(&map).expect("a tensor");
        for round in 1..=size {
            let left = Region::new(1, 0, rows - round, 100);
            let part = Rc::new(rank.links.cut(&map, left).expect("a part"));
            let shape = Shape::new(1, left.height as usize, 100, 24);
            let incoming = Incoming { from: last, shape, content: Content::Features };
            let flight = rank.links.exchange(&rank.group, vec![(next, part)], &[incoming]);
            let come = flight.expect("begun").arrive(&rank.group).expect("arrived");
            map = come.into_iter().next().expect("a part");
        }
        let expected = tensor(me, Region::new(size, 0, 40, 100), 24);
        assert_same("what went round", &rank.read(&map), &expected);
        rank.links.take_sent();
    });
}

/// An all-reduce of statistics gives every rank the same bytes.
fn statistics_are_merged<B: Backend>(ends: &[End<B>]) {
    const GROUPS: usize = 5;
    let shape = Shape::new(1, GROUPS, 1, 2);
    let of = |rank: u32| -> Vec<f32> {
        let pair = |group: usize| {
            let mean = 300.0 + group as f32 * 1.7 + rank as f32 / 3.0;
            [mean, 0.1 + (rank as usize * 7 + group) as f32 / 9.0]
        };
        (0..GROUPS).flat_map(pair).collect()
    };
    let counts = |rank: u32| f64::from(rank + 1) * 130.0;
    on_all(ends, |rank| {
        let me = rank.group.rank();
        let own = HostTensor::new(shape, of(me)).expect("as many as its shape has");
        let own = Rc::new(rank.backend.upload(&own).expect("statistics"));
        let outgoing = rank.others().map(|to| (to, own.clone())).collect();
        let content = Content::Statistics;
        let incoming: Vec<Incoming> =
            rank.others().map(|from| Incoming { from, shape, content }).collect();
        let flight = rank.links.exchange(&rank.group, outgoing, &incoming).expect("begun");
        let come = flight.arrive(&rank.group).expect("arrived");
        let mut all: Vec<_> = come.into_iter().map(Rc::new).collect();
        all.insert(me as usize, own);
        let parts: Vec<_> = (0..).map(counts).zip(all).collect();
        let merged = rank.read(&rank.links.merge(&parts).expect("statistics"));
        let expected: Vec<f32> = (0..GROUPS)
            .flat_map(|group| {
                let (mut count, mut mean, mut squares) = (0.0f64, 0.0f64, 0.0f64);
                for from in 0..rank.group.size() {
                    let [own_mean, variance] = [0, 1].map(|at| f64::from(of(from)[2 * group + at]));
                    let (own, delta) = (counts(from), own_mean - mean);
                    let total = count + own;
                    squares += variance * own + delta * delta * count * own / total;
                    mean += delta * own / total;
                    count = total;
                }
                [mean as f32, (squares / count) as f32]
            })
            .collect();
        assert_eq!(merged.data(), expected);
        rank.links.take_sent();
    });
}

/// Ranks that wait for one that fails instead learn why, and promptly.
fn a_rank_that_does_not_come<B: Backend>(ends: &[End<B>]) {
    let failing = ends.len() as u32 - 1;
    let failure = Failure {
        rank: failing,
        piece: Some(3),
        op: Some("conv".into()),
        cause: Cause::Panic("on purpose".into()),
    };
    let start = Instant::now();
    on_all(ends, |rank| {
        if rank.group.rank() == failing {
            rank.group.fail(failure.clone());
        } else {
            let error = wait_for(rank, failing).expect_err("the other rank never joins");
            assert_eq!(error, LinkError::Group(GroupError::Failed(failure.clone())));
        }
        rank.links.disconnect();
        rank.backend.synchronize().expect("nothing waits any more");
    });
    assert!(start.elapsed() < LIMIT, "took {:?} to learn of a failure", start.elapsed());
}

/// The same where all have come together before, and something is under way that arrives.
fn a_rank_that_fails_meanwhile<B: Backend>(ends: &[End<B>]) {
    let failing = 0;
    let failure =
        Failure { rank: failing, piece: None, op: None, cause: Cause::Panic("on purpose".into()) };
    on_all(ends, |rank| {
        let others: Vec<u32> = rank.others().collect();
        let part =
            Rc::new(rank.backend.upload(&tensor(0, Region::new(0, 0, 3, 3), 8)).expect("a part"));
        let shape = Shape::new(1, 3, 3, 8);
        let outgoing = others.iter().map(|&to| (to, part.clone())).collect();
        let content = Content::Features;
        let incoming: Vec<Incoming> =
            others.iter().map(|&from| Incoming { from, shape, content }).collect();
        let flight = rank.links.exchange(&rank.group, outgoing, &incoming).expect("begun");
        if rank.group.rank() == failing {
            // It has taken part in the first exchange, and dies before the second.
            flight.arrive(&rank.group).expect("arrived");
            rank.links.settle(&rank.group).expect("all come");
            let told = others.iter().map(|&from| rank.group.receive(from, Tag(1), 0));
            told.for_each(|told| assert_eq!(told, Ok(Vec::new())));
            rank.group.fail(failure.clone());
        } else {
            flight.arrive(&rank.group).expect("arrived");
            rank.links.settle(&rank.group).expect("all come");
            rank.group.send(failing, Tag(1), Vec::new()).expect("sent");
            let error = wait_for(rank, failing).expect_err("the other rank never joins");
            assert_eq!(error, LinkError::Group(GroupError::Failed(failure.clone())));
        }
        rank.links.disconnect();
        rank.backend.synchronize().expect("nothing waits any more");
    });
}

/// Waits for what rank `from` never sends.
fn wait_for<B: Backend>(rank: &Rank<'_, B>, from: u32) -> Result<(), LinkError> {
    let shape = Shape::new(1, 4, 4, 8);
    let incoming = Incoming { from, shape, content: Content::Features };
    let flight = rank.links.exchange(&rank.group, Vec::new(), &[incoming])?;
    flight.arrive(&rank.group)?;
    rank.links.settle(&rank.group)
}
