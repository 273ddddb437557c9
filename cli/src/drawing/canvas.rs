//! Latent cells on paper.

use halovae::core::{Region, Size};

use super::colour;
use crate::svg::{self, Drawn, PALETTE, fill, outline};

/// The longer side of a picture that is drawn alone.
const PICTURE: f64 = 720.0;
/// A picture may be very long; its shorter side stays visible.
const LEAST_SIDE: f64 = 24.0;
/// Of many pictures the shorter side may be thinner.
const LEAST_SMALL_SIDE: f64 = 3.0;

/// Lines of a picture: how wide they are, and how far apart dashes.
#[derive(Clone, Copy)]
struct Pen {
    line: f64,
    halo: f64,
    dashes: &'static str,
}

/// Latent cells on paper.
pub(crate) struct Canvas {
    cells: Size,
    drawn: Drawn,
    is_small: bool,
}

impl Canvas {
    /// A picture that is drawn alone, from that corner on.
    pub(crate) fn alone(cells: Size, [x, y]: [f64; 2]) -> Self {
        let longer = f64::from(cells.height.max(cells.width));
        let side = |extent: u32| (f64::from(extent) / longer * PICTURE).max(LEAST_SIDE);
        let drawn = Drawn { x, y, width: side(cells.width), height: side(cells.height) };
        Self { cells, drawn, is_small: false }
    }

    /// One of many pictures, as large as there is room, in the middle of it.
    pub(crate) fn within(cells: Size, room: Drawn) -> Self {
        let sides = [cells.width, cells.height].map(f64::from);
        let scale = (room.width / sides[0]).min(room.height / sides[1]);
        let [width, height] = sides.map(|side| (side * scale).max(LEAST_SMALL_SIDE));
        let x = room.x + (room.width - width) / 2.0;
        let y = room.y + (room.height - height) / 2.0;
        Self { cells, drawn: Drawn { x, y, width, height }, is_small: true }
    }

    pub(crate) fn width(&self) -> f64 {
        self.drawn.width
    }

    pub(crate) fn height(&self) -> f64 {
        self.drawn.height
    }

    /// Whether it is one of many, in which there is room for little.
    pub(super) fn is_small(&self) -> bool {
        self.is_small
    }

    /// Where a part of the latents lies.
    pub(super) fn place(&self, rect: Region) -> Drawn {
        let x = |cells: f64| cells / f64::from(self.cells.width) * self.drawn.width;
        let y = |cells: f64| cells / f64::from(self.cells.height) * self.drawn.height;
        Drawn {
            x: self.drawn.x + x(f64::from(rect.left)),
            y: self.drawn.y + y(f64::from(rect.top)),
            width: x(f64::from(rect.width)),
            height: y(f64::from(rect.height)),
        }
    }

    fn pen(&self) -> Pen {
        match self.is_small {
            false => Pen { line: 2.0, halo: 1.5, dashes: "6 4" },
            true => Pen { line: 0.8, halo: 0.6, dashes: "2.5 2" },
        }
    }

    /// Parts in the colours of their ranks.
    pub(super) fn fills(&self, svg: &mut String, parts: &[(Region, u32)], opacity: f64) {
        for (colour, places) in self.by_colour(parts, 0.0) {
            match places[..] {
                [place] => fill(svg, place, colour, opacity),
                _ => {
                    let paint = format!(r#"fill="{colour}" fill-opacity="{opacity}""#);
                    svg::rectangles(svg, &places, &paint);
                }
            }
        }
    }

    /// Their rims, which are finer if there are many.
    pub(super) fn rims(&self, svg: &mut String, parts: &[(Region, u32)], is_crowded: bool) {
        let Pen { line, .. } = self.pen();
        let places = self.by_colour(parts, line / 2.0);
        outlines(svg, &places, if is_crowded { 0.3 * line } else { line }, "");
    }

    /// Dashed rims, of halos.
    pub(super) fn dashed(&self, svg: &mut String, parts: &[(Region, u32)]) {
        let Pen { halo, dashes, .. } = self.pen();
        let places = self.by_colour(parts, 2.0 * halo);
        outlines(svg, &places, halo, &format!(r#"stroke-dasharray="{dashes}""#));
    }

    /// What is drawn at once: each part by itself; of many pictures all of a colour, which takes little
    /// room in the file.
    fn by_colour(&self, parts: &[(Region, u32)], inset: f64) -> Vec<(&'static str, Vec<Drawn>)> {
        let place = |part: Region| self.place(part).inset(inset);
        if !self.is_small {
            return parts.iter().map(|&(part, rank)| (colour(rank), vec![place(part)])).collect();
        }
        let of_colour = |of: &'static str| {
            let parts = parts.iter().filter(|(_, rank)| colour(*rank) == of);
            (of, parts.map(|&(part, _)| place(part)).collect::<Vec<_>>())
        };
        PALETTE.into_iter().map(of_colour).filter(|(_, places)| !places.is_empty()).collect()
    }
}

fn outlines(svg: &mut String, places: &[(&'static str, Vec<Drawn>)], width: f64, dash: &str) {
    for (colour, places) in places {
        match places[..] {
            [place] => outline(svg, place, colour, width, dash),
            _ => {
                let paint =
                    format!(r#"fill="none" stroke="{colour}" stroke-width="{width}" {dash}"#);
                svg::rectangles(svg, places, &paint);
            }
        }
    }
}
