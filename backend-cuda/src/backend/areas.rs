//! How the outputs of a conv whose input is staged are shared out: into bands, and where a halo is
//! awaited, into what does not read it and what does.

use std::ops::Range;

/// Outputs that are computed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// Whether they read the halo.
    pub(super) late: bool,
}

/// Rows and columns along each side that are left for later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edges {
    pub(super) top: usize,
    pub(super) bottom: usize,
    pub(super) left: usize,
    pub(super) right: usize,
}

impl Edges {
    /// At least so many outputs along each side that has any, and of no side more than a quarter if
    /// fewer do: a strip that is too thin leaves most of a GPU idle.
    pub(super) fn at_least(self, outputs: usize, [height, width]: [usize; 2]) -> Self {
        let deep = |edge: usize, along: usize, across: usize| match edge {
            0 => 0,
            edge => edge.max(outputs.div_ceil(along.max(1)).min(across / 4)),
        };
        Self {
            top: deep(self.top, width, height),
            bottom: deep(self.bottom, width, height),
            left: deep(self.left, height, width),
            right: deep(self.right, height, width),
        }
    }
}

/// Rows of bands of at most so many: as many in each of them, if that needs no more than twice as many
/// bands. What is as large needs no other engine.
pub(super) fn even(rows: usize, most: usize) -> usize {
    let bands = rows.div_ceil(most).max(1);
    let even = (bands..=2 * bands).find(|&bands| rows.is_multiple_of(bands));
    even.map_or(most, |bands| rows / bands).max(1)
}

/// Areas that cover `height` by `width` outputs, those first that do not read the halo. `rows_of`
/// says how many rows of so many columns a band may have.
pub(super) fn areas(
    [height, width]: [usize; 2],
    edges: Edges,
    rows_of: impl Fn(usize) -> usize,
) -> Vec<Area> {
    let Edges { top, bottom, left, right } = edges;
    let mut areas = Vec::new();
    let mut add = |rows: Range<usize>, columns: Range<usize>, late: bool| {
        if columns.is_empty() {
            return;
        }
        let most = even(rows.len(), rows_of(columns.len()).max(1));
        for start in rows.clone().step_by(most) {
            let rows = start..(start + most).min(rows.end);
            areas.push(Area { rows, columns: columns.clone(), late });
        }
    };
    let late = edges != Edges::default();
    if !late || top + bottom >= height || left + right >= width {
        add(0..height, 0..width, late);
        return areas;
    }
    let (rows, columns) = (top..height - bottom, left..width - right);
    add(rows.clone(), columns, false);
    add(0..top, 0..width, true);
    add(height - bottom..height, 0..width, true);
    add(rows.clone(), 0..left, true);
    add(rows, width - right..width, true);
    areas
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every output is in one area; those along edges are late, and all others early where there are
    /// any.
    #[test]
    fn cover_all_outputs_once() {
        let sides = [[0, 0], [1, 0], [0, 2], [2, 1], [3, 3]];
        for height in 1..=8 {
            for width in 1..=8 {
                for [top, bottom] in sides {
                    for [left, right] in sides {
                        for most in [1, 3, 100] {
                            check([height, width], Edges { top, bottom, left, right }, most);
                        }
                    }
                }
            }
        }
    }

    fn check([height, width]: [usize; 2], edges: Edges, most: usize) {
        let mut times = vec![0; height * width];
        let mut is_late = vec![false; height * width];
        let all = areas([height, width], edges, |columns| most.div_ceil(columns));
        for area in &all {
            assert!(area.rows.len() * area.columns.len() < most + area.columns.len(), "{area:?}");
            for y in area.rows.clone() {
                for x in area.columns.clone() {
                    times[y * width + x] += 1;
                    is_late[y * width + x] = area.late;
                }
            }
        }
        assert!(times.iter().all(|&times| times == 1), "{edges:?}: {all:?}");
        assert!(all.is_sorted_by_key(|area| area.late), "{all:?}");
        let Edges { top, bottom, left, right } = edges;
        let has_inner = top + bottom < height && left + right < width;
        for y in 0..height {
            for x in 0..width {
                let inner = y >= top && y + bottom < height && x >= left && x + right < width;
                let late = edges != Edges::default() && (!inner || !has_inner);
                assert_eq!(is_late[y * width + x], late, "{edges:?}, row {y}, column {x}");
            }
        }
    }

    #[test]
    fn bands_are_even_where_that_costs_little() {
        assert_eq!([even(1024, 127), even(1024, 1024), even(1024, 2000)], [64, 1024, 1024]);
        assert_eq!([even(1000, 127), even(7, 3), even(1, 1), even(0, 3)], [125, 3, 1, 1]);
        for rows in 1..60 {
            for most in 1..60 {
                assert!((1..=most.min(rows)).contains(&even(rows, most)), "{rows}, {most}");
            }
        }
    }

    #[test]
    fn strips_are_deep_enough() {
        let edges = Edges { top: 1, left: 1, ..Edges::default() };
        let deep = edges.at_least(400, [40, 100]);
        assert_eq!(deep, Edges { top: 4, left: 10, ..Edges::default() });
        // No more than a quarter.
        assert_eq!(edges.at_least(1 << 20, [40, 100]), Edges { top: 10, left: 25, ..edges });
        assert_eq!(edges.at_least(1 << 20, [2, 2]), edges);
        assert_eq!(Edges::default().at_least(1 << 20, [40, 100]), Edges::default());
    }
}
