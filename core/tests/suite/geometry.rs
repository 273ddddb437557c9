use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

fn small_region() -> impl Strategy<Value = Region> {
    let span = || (0u32..5, 0u32..5);
    (span(), span(), span())
        .prop_map(|(time, height, width)| Region::from_spans(Axes::new(time, height, width)))
}

fn cells(region: Region) -> Vec<[u64; 3]> {
    let range = |start: u32, end: u64| u64::from(start)..end;
    let mut cells = Vec::new();
    for t in range(region.first, region.end()) {
        for y in range(region.top, region.bottom()) {
            cells.extend(range(region.left, region.right()).map(|x| [t, y, x]));
        }
    }
    cells
}

proptest! {
    #[test]
    fn regions_are_sets_of_cells(a in small_region(), b in small_region()) {
        let (in_a, in_b) = (cells(a), cells(b));
        prop_assert_eq!(a.volume(), in_a.len() as u128);
        prop_assert_eq!(u128::from(a.area()) * u128::from(a.frames), a.volume());
        prop_assert_eq!((a.size().area(), a.size().volume()), (a.area(), a.volume()));
        prop_assert_eq!(a.is_empty(), in_a.is_empty());
        let both: Vec<_> = in_a.iter().copied().filter(|cell| in_b.contains(cell)).collect();
        prop_assert_eq!(a.intersect(b).is_none(), both.is_empty());
        prop_assert_eq!(a.intersect(b).map_or(vec![], cells), both.clone());
        prop_assert_eq!(a.intersect(b), b.intersect(a));
        if !b.is_empty() {
            prop_assert_eq!(a.contains(b), both.len() == in_b.len());
        }
        let spans = Axes::from_fn(|axis| a.span(axis));
        prop_assert_eq!(Region::from_spans(spans), a);
        let extents = Axis::ALL.map(|axis| a.size().along(axis));
        prop_assert_eq!(extents, [a.frames, a.height, a.width]);
        prop_assert_eq!(Axis::ALL.map(|axis| spans[axis].1), extents);
    }
}

#[test]
fn the_largest_region_does_not_wrap() {
    let max = u32::MAX;
    let region = Region::new(max, max, max, max).over(max, max);
    assert_eq!(region.end(), 2 * u64::from(max));
    assert_eq!(region.bottom(), 2 * u64::from(max));
    assert_eq!(region.right(), 2 * u64::from(max));
    assert_eq!(region.area(), u64::from(max) * u64::from(max));
    assert_eq!(region.volume(), u128::from(region.area()) * u128::from(max));
    assert_eq!(region.intersect(region), Some(region));
    assert_eq!(region.size(), Size::video(max, max, max));
}

#[test]
fn an_image_is_a_video_of_one_frame() {
    assert_eq!(Size::new(2, 3), Size::video(1, 2, 3));
    assert_eq!(Size::new(2, 3).at_origin(), Region::new(0, 0, 2, 3));
    assert_eq!(Size::video(5, 2, 3).at_origin(), Region::new(0, 0, 2, 3).over(0, 5));
}

#[test]
fn an_empty_region_is_inside_if_its_corners_are() {
    let outer = Region::new(1, 1, 2, 2);
    assert!(outer.contains(Region::new(3, 3, 0, 0)));
    assert!(!outer.contains(Region::new(4, 3, 0, 0)));
    assert!(!outer.contains(Region::new(0, 1, 0, 0)));
    assert!(outer.contains(Region::new(1, 1, 1, 1).over(1, 0)));
    assert!(!outer.contains(Region::new(1, 1, 1, 1).over(2, 0)));
}

/// Each side and each axis has its own value.
#[test]
fn margins_are_of_sides_and_axes() {
    let axes = Axes::new([1, 2], [3, 4], [5, 6]);
    let margins = Margins::from_axes(axes);
    let expected = Margins { past: 1, future: 2, top: 3, bottom: 4, left: 5, right: 6 };
    assert_eq!(margins, expected);
    assert_eq!(Axes::from_fn(|axis| margins.along(axis)), axes);
    assert_eq!(margins.each_ref().map(|&cells| cells), margins);
    assert_eq!(Margins::of_frame([3, 4, 5, 6]), Margins { past: 0, future: 0, ..margins });
    for side in 0..6 {
        let cells = |at: u32| u32::from(at == side + 1);
        assert!(!margins.map(cells).is_none());
    }
    assert!(margins.map(|_| 0).is_none());
    let mut times = axes.map(|[before, behind]| before * behind);
    assert_eq!(Axis::ALL.map(|axis| times[axis]), [2, 12, 30]);
    Axis::ALL.into_iter().for_each(|axis| times[axis] += 1);
    assert_eq!(times, Axes::new(3, 13, 31));
}

#[test]
fn axes_and_strategies_have_names() {
    assert_eq!(Axis::ALL.map(|axis| axis.to_string()), ["time", "height", "width"]);
    let strategies = [
        halovae_core::Strategy::Whole,
        halovae_core::Strategy::Tiled,
        halovae_core::Strategy::Patch,
        halovae_core::Strategy::Sharded,
    ];
    let names = ["whole", "tiled", "patch", "sharded"];
    assert_eq!(strategies.map(|strategy| strategy.to_string()), names);
}
