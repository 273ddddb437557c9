//! What drawings are made of: rectangles, text, colours.

use std::fmt::Write;

/// Okabe and Ito's palette, which colour-blind people tell apart, without its yellow (too light on
/// white).
pub(crate) const PALETTE: [&str; 7] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5b5b5b"];

/// Text that is read first.
pub(crate) const DARK: &str = r##"fill="#1a1a1a""##;
/// Text that explains.
pub(crate) const SOFT: &str = r##"fill="#555555""##;

/// Begins a drawing of that width and height, on white.
pub(crate) fn open(svg: &mut String, [width, height]: [f64; 2]) {
    // Writing into a String cannot fail, here and below.
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" font-family="DejaVu Sans, Verdana, Arial, sans-serif">
<rect width="{width:.0}" height="{height:.0}" fill="#ffffff"/>
"##
    );
}

/// A rectangle on paper.
#[derive(Clone, Copy)]
pub(crate) struct Drawn {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Drawn {
    /// Smaller by that much on each side.
    pub(crate) fn inset(self, by: f64) -> Self {
        Self {
            x: self.x + by,
            y: self.y + by,
            width: (self.width - 2.0 * by).max(0.1),
            height: (self.height - 2.0 * by).max(0.1),
        }
    }

    /// What a `<rect>` says of it.
    pub(crate) fn attributes(self) -> String {
        let Self { x, y, width, height } = self;
        format!(r#"x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}""#)
    }
}

/// Text that begins, or as its attributes say, at `[x, y]`.
pub(crate) fn text(svg: &mut String, [x, y]: [f64; 2], size: f64, attributes: &str, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" {attributes}>{escaped}</text>"#
    );
}

/// Dark text on a rim of white that is so wide: written twice, since not every viewer can paint the rim
/// first.
pub(crate) fn rimmed(
    svg: &mut String,
    at: [f64; 2],
    size: f64,
    attributes: &str,
    rim: f64,
    words: &str,
) {
    let white = format!(
        r##"{attributes} fill="#ffffff" stroke="#ffffff" stroke-width="{rim}" opacity="0.6""##
    );
    text(svg, at, size, &white, words);
    text(svg, at, size, &format!("{attributes} {DARK}"), words);
}

/// A rectangle of one colour.
pub(crate) fn fill(svg: &mut String, place: Drawn, colour: &str, opacity: f64) {
    let at = place.attributes();
    let _ = writeln!(svg, r#"<rect {at} fill="{colour}" fill-opacity="{opacity}"/>"#);
}

/// Many rectangles in one path, painted as its attributes say.
pub(crate) fn rectangles(svg: &mut String, places: &[Drawn], paint: &str) {
    svg.push_str("<path d=\"");
    for Drawn { x, y, width, height } in places {
        let _ = write!(svg, "M{x:.1} {y:.1}h{width:.1}v{height:.1}h-{width:.1}z");
    }
    let _ = writeln!(svg, r#"" {paint}/>"#);
}

/// The rim of a rectangle.
pub(crate) fn outline(svg: &mut String, place: Drawn, colour: &str, width: f64, dash: &str) {
    let at = place.attributes();
    let _ = writeln!(
        svg,
        r#"<rect {at} fill="none" stroke="{colour}" stroke-width="{width}" {dash}/>"#
    );
}
