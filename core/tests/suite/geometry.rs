use halovae_core::*;
use proptest::prelude::*;
use proptest::strategy::Strategy;

fn small_rect() -> impl Strategy<Value = Rect> {
    (0u32..6, 0u32..6, 0u32..6, 0u32..6).prop_map(|(t, l, h, w)| Rect::new(t, l, h, w))
}

fn cells(rect: Rect) -> Vec<(u64, u64)> {
    let rows = u64::from(rect.top)..rect.bottom();
    rows.flat_map(|y| (u64::from(rect.left)..rect.right()).map(move |x| (y, x))).collect()
}

proptest! {
    #[test]
    fn rectangles_are_sets_of_cells(a in small_rect(), b in small_rect()) {
        let (in_a, in_b) = (cells(a), cells(b));
        prop_assert_eq!(a.area(), in_a.len() as u64);
        prop_assert_eq!(a.size().area(), a.area());
        prop_assert_eq!(a.is_empty(), in_a.is_empty());
        let both: Vec<_> = in_a.iter().copied().filter(|cell| in_b.contains(cell)).collect();
        prop_assert_eq!(a.intersect(b).is_none(), both.is_empty());
        prop_assert_eq!(a.intersect(b).map_or(vec![], cells), both.clone());
        prop_assert_eq!(a.intersect(b), b.intersect(a));
        if !b.is_empty() {
            prop_assert_eq!(a.contains(b), both.len() == in_b.len());
        }
    }
}

#[test]
fn the_largest_rectangle_does_not_wrap() {
    let max = u32::MAX;
    let rect = Rect::new(max, max, max, max);
    assert_eq!(rect.bottom(), 2 * u64::from(max));
    assert_eq!(rect.right(), 2 * u64::from(max));
    assert_eq!(rect.area(), u64::from(max) * u64::from(max));
    assert_eq!(rect.intersect(rect), Some(rect));
    assert_eq!(rect.size(), Size::new(max, max));
    assert_eq!(Size::new(2, 3).at_origin(), Rect::new(0, 0, 2, 3));
}

#[test]
fn an_empty_rectangle_is_inside_if_its_corners_are() {
    let outer = Rect::new(1, 1, 2, 2);
    assert!(outer.contains(Rect::new(3, 3, 0, 0)));
    assert!(!outer.contains(Rect::new(4, 3, 0, 0)));
    assert!(!outer.contains(Rect::new(0, 1, 0, 0)));
}

#[test]
fn axes_and_strategies_have_names() {
    assert_eq!(format!("{} {}", Axis::Height, Axis::Width), "height width");
    let strategies = [
        halovae_core::Strategy::Whole,
        halovae_core::Strategy::Tiled,
        halovae_core::Strategy::Patch,
    ];
    assert_eq!(strategies.map(|strategy| strategy.to_string()), ["whole", "tiled", "patch"]);
}
