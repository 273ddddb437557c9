//! What stands beyond the ends of a conv's input.

use halovae_core::{Axes, Window};
use halovae_engine::backend::{Backend, BackendError, WeightSource};
use halovae_engine::conformance::{RandomWeights, Reference, rounding_bound, run_at_once};
use halovae_engine::program::{
    Edge, Op, Program, ProgramBuilder, ProgramError, ValueId, WeightSpec, fuse,
};
use halovae_engine::tensor::{HostTensor, Shape};

/// As `numpy.pad` does it with "constant", "edge" and "reflect", also where there is more padding than
/// there are cells.
#[test]
fn cells_beyond_an_end_are_those_of_numpy() {
    let padded = |edge: Edge, cells: i64, by: i64| -> Vec<Option<i64>> {
        (-by..cells + by).map(|at| edge.cell(at, &(0..cells))).collect()
    };
    let all = |cells: &[i64]| cells.iter().copied().map(Some).collect::<Vec<_>>();
    assert_eq!(padded(Edge::Zeros, 2, 1), [None, Some(0), Some(1), None]);
    assert_eq!(padded(Edge::Repeat, 2, 2), all(&[0, 0, 0, 1, 1, 1]));
    assert_eq!(padded(Edge::Reflect, 4, 2), all(&[2, 1, 0, 1, 2, 3, 2, 1]));
    assert_eq!(padded(Edge::Reflect, 3, 5), all(&[1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]));
    assert_eq!(padded(Edge::Reflect, 1, 2), all(&[0; 5]));
    for edge in [Edge::Zeros, Edge::Repeat, Edge::Reflect] {
        assert_eq!(padded(edge, 0, 1), [None; 2], "{edge:?}");
    }
    // Cells need not begin at 0.
    assert_eq!(
        [-6, -1, 4].map(|at| Edge::Reflect.cell(at, &(-4..3))),
        [Some(-2), Some(-1), Some(0)]
    );
    assert_eq!([-6, 4].map(|at| Edge::Repeat.cell(at, &(-4..3))), [Some(-4), Some(2)]);
}

/// A conv of one tap in time over what `input` makes of the latents.
fn conv(
    window: Window,
    [height, width]: [Edge; 2],
    input: impl FnOnce(&mut ProgramBuilder, ValueId) -> Result<ValueId, ProgramError>,
) -> Result<Program, ProgramError> {
    let mut builder = ProgramBuilder::new(1)?;
    let latents = builder.latents();
    let input = input(&mut builder, latents)?;
    let windows = Axes::new(Window::POINT, window, window);
    let edges = Axes::new(Edge::Zeros, height, width);
    let output = builder.conv_over_time("conv", input, 1, windows, edges)?;
    builder.finish(output)
}

fn run(program: &Program, source: &dyn WeightSource, latents: &HostTensor) -> HostTensor {
    let weights = Reference.prepare(program, source).expect("weights");
    run_at_once(&Reference, program, &weights, latents)
}

/// Weights that pick the top left tap, which reads one row up and one column to the left.
struct Shift;

impl WeightSource for Shift {
    fn load(&self, spec: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        out.fill(0.0);
        out[0] = if spec.name.ends_with("weight") { 1.0 } else { 0.0 };
        Ok(())
    }
}

#[test]
fn edges_of_rows_and_columns_are_apart() -> Result<(), ProgramError> {
    let cells = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let latents = HostTensor::new(Shape::new(1, 2, 3, 1), cells).expect("six cells");
    for (edges, expected) in [
        ([Edge::Zeros, Edge::Repeat], [0.0, 0.0, 0.0, 1.0, 1.0, 2.0]),
        ([Edge::Repeat, Edge::Reflect], [2.0, 1.0, 2.0, 2.0, 1.0, 2.0]),
        ([Edge::Reflect, Edge::Zeros], [0.0, 4.0, 5.0, 0.0, 1.0, 2.0]),
    ] {
        let program = conv(Window::centred(3), edges, |_, latents| Ok(latents))?;
        assert_eq!(run(&program, &Shift, &latents).data(), expected, "{edges:?}");
    }
    Ok(())
}

/// A norm and an upsample move into a conv without a change of what stands beyond its input: copies
/// of what has been normed, and of doubled cells one.
#[test]
fn fused_convs_have_the_same_edges() -> Result<(), ProgramError> {
    for edges in [[Edge::Repeat; 2], [Edge::Reflect; 2], [Edge::Repeat, Edge::Reflect]] {
        for (kernel, norm) in [(3, false), (5, false), (3, true), (5, true)] {
            let plain = conv(Window::centred(kernel), edges, |builder, x| match norm {
                true => builder.channel_norm("norm", x, 1e-12, 2),
                false => builder.upsample("up", x, 2),
            })?;
            let fused = fuse(&plain, |_, _| true);
            assert!(matches!(fused.ops(), [Op::Conv(_)]), "{:?}", fused.ops());
            let cells = (0..12).map(|at| (at as f32 * 0.7).sin()).collect();
            let latents = HostTensor::new(Shape::new(1, 3, 4, 1), cells).expect("twelve cells");
            let source = RandomWeights { seed: 3 };
            let bound = rounding_bound(&plain, &source, &latents);
            let [plain, fused] = [&plain, &fused].map(|program| run(program, &source, &latents));
            for (plain, fused) in plain.data().iter().zip(fused.data()) {
                assert!(
                    (plain - fused).abs() <= bound,
                    "{edges:?}, {kernel} taps: {plain} {fused}"
                );
            }
        }
    }
    Ok(())
}

/// A part's halo has what the part's outputs read; a reflection that is further inside is refused.
#[test]
fn reflections_reach_no_further_than_a_kernel() -> Result<(), ProgramError> {
    let behind = Window { before: 0, behind: 2, ..Window::centred(3) };
    for window in [Window::causal(3), behind] {
        for edges in [[Edge::Reflect, Edge::Zeros], [Edge::Zeros, Edge::Reflect]] {
            let error = conv(window, edges, |_, x| Ok(x)).expect_err("a far reflection");
            assert!(error.to_string().contains("mirror"), "{error}");
        }
        conv(window, [Edge::Repeat; 2], |_, x| Ok(x))?;
    }
    Ok(())
}
