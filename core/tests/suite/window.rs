//! Windows against lists: the repeated cells of an input written out, padding and all.

use std::ops::Range;

use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

fn window() -> impl Strategy<Value = Window> {
    (1u32..=4, 1u32..=3, 0u32..=3, 0u32..=3, 1u32..=3, any::<bool>(), 0u32..=2).prop_map(
        |(kernel, stride, before, behind, repeat, first_alone, skip)| Window {
            kernel,
            stride,
            before,
            behind,
            repeat,
            first_alone,
            skip,
        },
    )
}

/// The cell of an input of `cells` cells that stands at each place the kernel slides over; `None`
/// for padding.
fn padded(window: &Window, cells: u32) -> Vec<Option<i64>> {
    let mut places = vec![None; window.before as usize];
    for cell in window.skip..cells {
        let alone = window.first_alone && cell == window.skip;
        let times = if alone { 1 } else { window.repeat };
        places.extend((0..times).map(|_| Some(i64::from(cell))));
    }
    places.extend((0..window.behind).map(|_| None));
    places
}

/// What each output reads.
fn outputs(window: &Window, cells: u32) -> Vec<Vec<Option<i64>>> {
    let kernel = window.kernel as usize;
    padded(window, cells)
        .windows(kernel)
        .step_by(window.stride as usize)
        .map(<[Option<i64>]>::to_vec)
        .collect()
}

proptest! {
    #[test]
    fn outputs_read_what_a_list_says(window in window(), cells in 0u32..=7) {
        let outputs = outputs(&window, cells);
        prop_assert_eq!(window.outputs(cells.into()), outputs.len() as u64);
        for (output, taps) in (0..).zip(&outputs) {
            let read: Vec<i64> = taps.iter().copied().flatten().collect();
            let stated = window.cells(&(output..output + 1));
            let inside = stated.start.max(window.skip.into())..stated.end.min(cells.into());
            match (read.first(), read.last()) {
                (Some(&first), Some(&last)) => prop_assert_eq!(inside, first..last + 1),
                _ => prop_assert!(inside.is_empty()),
            }
        }
    }

    /// What padding mirrors at the ends of parts of any length is what the outputs there read.
    #[test]
    fn reflections_within_what_is_read(
        kernel in 1u32..=7, stride in 1u32..=3, before in 0u32..=4, short in 0u32..3,
    ) {
        // As much padding as keeps extents in proportion.
        let padding = (kernel - 1).saturating_sub(short % stride);
        prop_assume!(before <= padding);
        let window = Window { kernel, stride, before, behind: padding - before, ..Window::POINT };
        prop_assume!(kernel >= stride + before);
        let after = kernel - stride - before;
        let holds = (1..=8u64).all(|outputs| {
            let cells = (outputs * u64::from(stride)) as i64;
            let at_start = window.cells(&(0..1)).end > i64::from(before);
            let at_end = window.cells(&(outputs - 1..outputs)).start < cells - i64::from(after);
            at_start && at_end
        });
        prop_assert_eq!(window.reflects_within(), holds);
    }

    /// Of several outputs: from what the first reads to what the last reads.
    #[test]
    fn ranges_reach_from_the_first_to_the_last(window in window(), from in 0u64..9, len in 0u64..5) {
        let cells = |outputs: Range<u64>| window.cells(&outputs);
        let all = cells(from..from + len);
        match len.checked_sub(1) {
            None => prop_assert!(all.is_empty()),
            Some(more) => {
                let last = cells(from + more..from + len);
                prop_assert_eq!(all, cells(from..from + 1).start..last.end);
            }
        }
    }

    /// Tap by tap, by the first tap's place and the cell that a repeated cell is.
    #[test]
    fn taps_fall_on_their_cells(window in window(), cells in 0u32..=7) {
        for (output, taps) in outputs(&window, cells).iter().enumerate() {
            let first = window.first(output as i64);
            for (tap, &expected) in (0..).zip(taps) {
                let cell = window.cell(first + tap);
                let inside = first + tap >= 0 && cell < cells.into();
                prop_assert_eq!(inside.then_some(cell), expected);
            }
        }
    }
}

#[test]
fn the_usual_windows() {
    for cells in 0..9 {
        assert_eq!(Window::POINT.outputs(cells), cells);
        for kernel in [1, 3, 5] {
            assert_eq!(Window::centred(kernel).outputs(cells), cells);
            assert_eq!(Window::causal(kernel).outputs(cells), cells);
        }
        assert_eq!(Window::repeated(2).outputs(cells), 2 * cells);
    }
    // An even kernel has no centre: the place is behind the middle.
    assert_eq!(Window::centred(4).outputs(7), 7);
    assert_eq!(Window::centred(4).cells(&(3..5)), 1..6);
    // Without taps nothing is read, although a repeated cell may lie on either side of the place.
    for repeat in [1, 2, 3] {
        let tapless = Window { kernel: 0, repeat, ..Window::POINT };
        assert!((0..9).all(|output| tapless.cells(&(output..output + 2)).is_empty()));
    }
    assert_eq!(Window::POINT.cells(&(3..5)), 3..5);
    assert_eq!(Window::centred(3).cells(&(3..5)), 2..6);
    assert_eq!(Window::causal(3).cells(&(3..5)), 1..5);
    assert_eq!(Window::repeated(2).cells(&(3..5)), 1..3);
    // HunyuanVideo repeats all frames but the first.
    let frames = Window { first_alone: true, ..Window::repeated(2) };
    assert_eq!(frames.outputs(4), 7);
    assert_eq!(
        [frames.cells(&(0..1)), frames.cells(&(1..3)), frames.cells(&(2..4))],
        [0..1, 1..2, 1..3]
    );
    // Wan's conv over the frames behind the first, which it does not see.
    let behind = Window { skip: 1, ..Window::causal(3) };
    assert_eq!((behind.outputs(1), behind.outputs(5)), (0, 4));
    assert_eq!(behind.cells(&(0..2)), -1..3);
}
