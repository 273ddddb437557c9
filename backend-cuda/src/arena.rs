//! Where the memory of a decode that is repeated lies: all of it in one block, by what lives when.

/// What happened to memory, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So many bytes were asked for.
    Taken(u64),
    /// Those of the n-th request are not needed any more.
    Freed(usize),
}

/// A part of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// Where each request's memory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arena {
    /// By request.
    pub(crate) places: Vec<Place>,
    /// Bytes of the block.
    pub(crate) bytes: u64,
}

/// As the driver's pool aligns.
const ALIGN: u64 = 256;

struct Life {
    request: usize,
    bytes: u64,
    from: usize,
    to: usize,
}

impl Arena {
    /// Gives every request a place that nothing else has in its time: the largest first, each as
    /// far down as it can be. What was not freed stays to the end.
    pub(crate) fn new(moments: &[Moment]) -> Self {
        let mut lives: Vec<Life> = Vec::new();
        for (at, moment) in moments.iter().enumerate() {
            match *moment {
                Moment::Taken(bytes) => {
                    let bytes = bytes.max(1).next_multiple_of(ALIGN);
                    lives.push(Life { request: lives.len(), bytes, from: at, to: usize::MAX });
                }
                Moment::Freed(request) => lives[request].to = at,
            }
        }
        let mut places = vec![Place { offset: 0, bytes: 0 }; lives.len()];
        lives.sort_by_key(|life| (std::cmp::Reverse(life.bytes), life.from));
        let mut total = 0;
        for (done, life) in lives.iter().enumerate() {
            let at_the_same_time =
                lives[..done].iter().filter(|other| life.from < other.to && other.from < life.to);
            let mut taken: Vec<Place> = at_the_same_time.map(|o| places[o.request]).collect();
            taken.sort_unstable_by_key(|place| place.offset);
            let mut offset = 0;
            for place in taken {
                if offset + life.bytes <= place.offset {
                    break;
                }
                offset = offset.max(place.offset + place.bytes);
            }
            places[life.request] = Place { offset, bytes: life.bytes };
            total = total.max(offset + life.bytes);
        }
        Self { places, bytes: total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of many sizes that live for a while.
    fn moments(seed: u64) -> Vec<Moment> {
        let mut state = seed;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let (mut moments, mut alive, mut count) = (Vec::new(), Vec::new(), 0);
        for _ in 0..60 {
            if alive.is_empty() || next(5) < 3 {
                moments.push(Moment::Taken(next(5000)));
                alive.push(count);
                count += 1;
            } else {
                let at = next(alive.len() as u64) as usize;
                moments.push(Moment::Freed(alive.swap_remove(at)));
            }
        }
        moments
    }

    #[test]
    fn nothing_lies_where_something_else_does() {
        let mut worst: f64 = 0.0;
        for seed in 0..200 {
            let moments = moments(seed);
            let arena = Arena::new(&moments);
            let (mut alive, mut requests): (Vec<usize>, usize) = (Vec::new(), 0);
            let (mut held, mut peak) = (0, 0);
            for moment in moments {
                match moment {
                    Moment::Taken(bytes) => {
                        let place = arena.places[requests];
                        assert!(place.bytes >= bytes.max(1) && place.offset.is_multiple_of(ALIGN));
                        assert!(place.offset + place.bytes <= arena.bytes);
                        for &other in &alive {
                            let other = arena.places[other];
                            let apart = place.offset + place.bytes <= other.offset
                                || other.offset + other.bytes <= place.offset;
                            assert!(apart, "{place:?} and {other:?}");
                        }
                        held += place.bytes;
                        peak = peak.max(held);
                        alive.push(requests);
                        requests += 1;
                    }
                    Moment::Freed(request) => {
                        held -= arena.places[request].bytes;
                        alive.retain(|&other| other != request);
                    }
                }
            }
            assert!(arena.bytes >= peak);
            worst = worst.max(arena.bytes as f64 / peak as f64);
        }
        assert!(worst < 1.3, "{worst} times what is held at once");
    }

    #[test]
    fn what_follows_takes_the_same_place() {
        use Moment::{Freed, Taken};
        let arena =
            Arena::new(&[Taken(1000), Taken(500), Freed(0), Taken(900), Freed(1), Freed(2)]);
        assert_eq!(arena.bytes, 1024 + 512);
        assert_eq!(arena.places[0].offset, arena.places[2].offset);
        assert_eq!(Arena::new(&[]), Arena { places: Vec::new(), bytes: 0 });
    }
}
