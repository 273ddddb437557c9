//! Drawings that the binary writes.

/// Fails unless `text` is an SVG that a viewer takes: one root of that kind, and every element that
/// is opened is closed, in order.
///
/// # Panics
/// If it is none.
#[track_caller]
pub fn assert_is_svg(text: &str) {
    assert!(text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{text:.100}");
    assert!(text.trim_end().ends_with("</svg>"));
    let mut open = Vec::new();
    for tag in text.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag has an end");
        let name = tag.split([' ', '\n']).next().expect("a name").trim_end_matches('/');
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed.trim()), "{tag}");
        } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}
