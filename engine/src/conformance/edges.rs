//! Convs beyond whose input stand copies or reflections of it.

use halovae_core::{Axes, Axis};

use super::cases::conv_of;
use super::{Make, Random};
use crate::backend::Backend;
use crate::program::{Conv, Edge, Op};

/// Edges of rows and columns, at least one of which are no zeros. Those that a part's halo does not
/// hold what they mirror of are left out.
pub(super) fn random_edges(random: &mut Random, conv: &Conv, in_parts: bool) -> Axes<Edge> {
    let height = random.choice(&[Edge::Zeros, Edge::Repeat, Edge::Reflect]);
    let beside = [Edge::Repeat, Edge::Reflect, Edge::Zeros];
    let width = random.choice(&beside[..if height == Edge::Zeros { 2 } else { 3 }]);
    let held = |axis: Axis, edge: Edge| match edge {
        Edge::Reflect if in_parts && !conv.windows[axis].reflects_within() => Edge::Repeat,
        edge => edge,
    };
    let [height, width] = [held(Axis::Height, height), held(Axis::Width, width)];
    Axes { height, width, ..conv.edges }
}

/// Convs of any shape with such edges, plain and with all that can be fused into them, as far as
/// supported. What a backend declines is an error there, not a conv with other edges.
pub fn convs_with_edges<B: Backend>(make: impl Make<B>) {
    let (backend, rounding) = (make.make(), make.rounding());
    for seed in 8000..8096 {
        let mut random = Random::new(seed);
        let (most, outs): ([u32; 2], &[u32]) = match seed % 8 {
            0 | 1 => ([40, 7], &[72, 96]),
            _ => ([9, 21], &[1, 3, 8, 16, 19, 32, 67]),
        };
        let (mut case, op) = conv_of(&mut random, seed % 2 == 0, most, outs);
        let Op::Conv(mut conv) = op else { panic!("{op:?} is no conv") };
        conv.edges = random_edges(&mut random, &conv, false);
        let op = Op::Conv(conv);
        if backend.supports(&case.program, &op) {
            case.check(&backend, &rounding, op, seed);
            continue;
        }
        case.program.ops = vec![op];
        case.round(&rounding);
        let result = case.try_run_on(&backend, &rounding, seed, false);
        assert!(result.is_err(), "seed {seed}: it declines {op:?}, and runs something");
    }
}
