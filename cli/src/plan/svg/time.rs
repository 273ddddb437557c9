//! The frames of a plan as a strip: those of the latents above, those that come of them below, and the
//! slices that are cut along time beside either.

use std::fmt::Write;

use halovae::plan::{Slice, Streaming, Streams, slices};
use halovae::words::frames_per_latent;
use halovae::{Estimates, Planned};

use super::frames::{Axis, BAR, GAP, LINE, ROW};
use crate::drawing::colour;
use crate::drawing::cut::OVERLAP_FILL;
use crate::plan::time::{first_to_last, streams};
use crate::svg::{DARK, Drawn, SOFT, fill, outline, text};
use crate::words::{counted, piece_name};

/// The heading, a line below it, and what lies between them and the first row.
const HEADING: f64 = 14.0;
const NOTE: f64 = 18.0;
const HEAD_GAP: f64 = 11.0;
/// From the latents' frames to those that come of them.
const FAN: f64 = 38.0;
/// Lines, or chunks, that are told apart between the rows.
const MAX_LINKS: u32 = 120;
/// Frames whose numbers there may be room for.
const MAX_TOLD: u32 = 720;
/// Stripes of a bar; with more ranks they would be too thin.
const MAX_STRIPES: usize = 8;

/// Of frames of the same chunk; other chunks are lighter.
const CHUNK: [(&str, f64); 2] = [("#7f8c99", 0.5), ("#7f8c99", 0.18)];
const NEUTRAL: &str = "#5b5b5b";

/// What is drawn of the frames of a plan.
pub(super) struct Strip<'a> {
    planned: &'a Planned,
    estimates: &'a Estimates,
    slices: Vec<Slice>,
    /// Bars below each other on either side, so that none lies over another.
    lanes: [usize; 2],
}

impl<'a> Strip<'a> {
    /// `None` for an image.
    pub(super) fn new(planned: &'a Planned, estimates: &'a Estimates) -> Option<Self> {
        let most = planned.plan.output().frames.max(planned.plan.input().frames);
        if most < 2 {
            return None;
        }
        let slices = slices(&planned.plan);
        let lanes = [
            lanes(&slices, |slice| slice.latents.clone()),
            lanes(&slices, |slice| slice.frames.clone()),
        ];
        Some(Self { planned, estimates, slices, lanes })
    }

    fn is_cut(&self) -> bool {
        self.slices.len() > 1
    }

    fn bars(&self, side: usize) -> f64 {
        if self.is_cut() { self.lanes[side] as f64 * BAR + GAP } else { 0.0 }
    }

    /// How high it is.
    pub(super) fn height(&self) -> f64 {
        self.head_height() + self.bars(0) + ROW + FAN + ROW + self.bars(1)
    }

    /// Draws it from that corner on.
    pub(super) fn draw(&self, svg: &mut String, [left, top]: [f64; 2], width: f64) {
        let (input, output) = (self.planned.plan.input().frames, self.planned.plan.output().frames);
        let latents = Axis { left, width, frames: input };
        let frames = Axis { left, width, frames: output };
        self.head(svg, [left, top]);

        let latents_top = top + self.head_height() + self.bars(0);
        let frames_top = latents_top + ROW + FAN;
        if self.is_cut() {
            for (index, slice) in self.slices.iter().enumerate() {
                let lane = (index % self.lanes[0]) as f64;
                self.latents_bar(
                    svg,
                    &latents,
                    index,
                    slice,
                    top + self.head_height() + lane * BAR,
                );
                let lane = (index % self.lanes[1]) as f64;
                self.frames_bar(svg, &frames, index, slice, frames_top + ROW + GAP + lane * BAR);
            }
        }
        self.fan(svg, [(&latents, latents_top), (&frames, frames_top)]);
        // More of them are not told apart.
        let step = input.div_ceil(MAX_TOLD).max(1) as usize;
        let all: Vec<u32> = (0..input).step_by(step).collect();
        latents.row(svg, latents_top, &all);
        // Where those of each frame of the latents begin.
        let time = self.planned.scale.time;
        let begun: Vec<u32> = all.into_iter().filter_map(|latent| time.at(latent)).collect();
        frames.row(svg, frames_top, &begun);
    }

    fn head(&self, svg: &mut String, [left, top]: [f64; 2]) {
        let (input, output) = (self.planned.plan.input().frames, self.planned.plan.output().frames);
        let bold = format!(r#"{DARK} font-weight="bold""#);
        let laid = frames_per_latent(self.planned.scale.time);
        let first = format!("{input} frames of latents above, {output} frames below ({laid})");
        text(svg, [left, top + HEADING], 14.0, &bold, &first);
        for (index, note) in self.notes().iter().enumerate() {
            let y = top + HEADING + NOTE * (index + 1) as f64;
            text(svg, [left, y], 12.0, SOFT, note);
        }
    }

    fn head_height(&self) -> f64 {
        HEADING + NOTE * self.notes().len() as f64 + HEAD_GAP
    }

    /// What is to be said of the rows.
    fn notes(&self) -> Vec<String> {
        let streaming = self.estimates.streaming.as_ref();
        let streams = streaming.map(|streaming| match streams(&self.planned.plan, streaming) {
            no if no.starts_with("no: ") => no.replacen("no: ", "no streaming: ", 1),
            words => format!("streaming: {words}"),
        });
        let mut marks = Vec::new();
        if self.slices.iter().any(|slice| slice.blended > 0) {
            marks.push("hatched: blended with the slice before");
        }
        if self.halo().is_some() {
            marks.push("dashed: what convs read of the slices beside");
        }
        let marks = (!marks.is_empty()).then(|| marks.join("; "));
        streams.into_iter().chain(marks).collect()
    }

    /// Frames of the latents before and behind a slice that its convs read, if any.
    fn halo(&self) -> Option<[f64; 2]> {
        self.estimates.halo_in_time.filter(|halo| self.is_cut() && *halo != [0.0; 2])
    }

    /// The frames that a slice decodes.
    fn latents_bar(&self, svg: &mut String, axis: &Axis, index: usize, slice: &Slice, top: f64) {
        let bar = axis.bar(slice.latents.start.into(), slice.latents.end.into(), top);
        self.stripes(svg, bar, slice);
        if let Some([before, behind]) = self.halo() {
            let start = (f64::from(slice.latents.start) - before).max(0.0);
            let end = (f64::from(slice.latents.end) + behind).min(axis.frames.into());
            let colour = self.ranks(slice).first().map_or(NEUTRAL, |&rank| colour(rank));
            let reach = axis.bar(start, end, top).inset(-1.5);
            outline(svg, reach, colour, 1.2, r#"stroke-dasharray="5 3""#);
        }
        self.name(svg, bar, index, slice);
    }

    /// The frames that it makes, and those of them that are blended with earlier slices.
    fn frames_bar(&self, svg: &mut String, axis: &Axis, index: usize, slice: &Slice, top: f64) {
        let bar = axis.bar(slice.frames.start.into(), slice.frames.end.into(), top);
        self.stripes(svg, bar, slice);
        if slice.blended > 0 {
            let end = slice.frames.start.saturating_add(slice.blended).min(slice.frames.end);
            let blended = axis.bar(slice.frames.start.into(), end.into(), top);
            // Writing into a String cannot fail, here and below.
            let _ = writeln!(svg, r#"<rect {} fill="{OVERLAP_FILL}"/>"#, blended.attributes());
        }
        self.name(svg, bar, index, slice);
    }

    /// The ranks of a slice's pieces, each once.
    fn ranks(&self, slice: &Slice) -> Vec<u32> {
        let owners = slice.pieces.clone().filter_map(|piece| {
            let index = usize::try_from(piece).ok()?;
            self.estimates.owners.get(index).copied()
        });
        let mut ranks: Vec<u32> = owners.collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }

    /// A stripe for each rank that has pieces of the slice.
    fn stripes(&self, svg: &mut String, bar: Drawn, slice: &Slice) {
        let ranks = self.ranks(slice);
        let colours: Vec<&str> = match ranks.len() {
            0 => vec![NEUTRAL],
            count if count > MAX_STRIPES => vec![NEUTRAL],
            _ => ranks.iter().map(|&rank| colour(rank)).collect(),
        };
        let height = bar.height / colours.len() as f64;
        for (index, colour) in colours.into_iter().enumerate() {
            let stripe = Drawn { y: bar.y + index as f64 * height, height, ..bar };
            fill(svg, stripe, colour, 0.5);
        }
        outline(svg, bar, "#1a1a1a", 1.0, "");
    }

    /// Which slice, and which of its pieces, where there is room.
    fn name(&self, svg: &mut String, bar: Drawn, index: usize, slice: &Slice) {
        let name = piece_name(self.planned.plan.strategy());
        let places = first_to_last(&slice.pieces);
        let pieces = match slice.pieces.end - slice.pieces.start {
            1 => format!("{name} {places}"),
            count => format!("{}, {places}", counted(count, name)),
        };
        let long = format!("slice {index}: {pieces}");
        let short = format!("slice {index}");
        // A letter is little more than half as wide as it is high.
        let fitting = |words: &String| words.len() as f64 * 6.6 + 8.0 <= bar.width;
        let Some(shown) = [long, short].into_iter().find(fitting) else { return };
        let middle = format!(r#"{DARK} text-anchor="middle""#);
        let at = [bar.x + bar.width / 2.0, bar.y + bar.height / 2.0 + 4.0];
        text(svg, at, 11.0, &middle, &shown);
    }

    /// Which frames come of which of the latents'; by chunk, if they are finished by chunk.
    fn fan(&self, svg: &mut String, [(latents, top), (frames, bottom)]: [(&Axis, f64); 2]) {
        let (above, below) = (top + ROW, bottom);
        let streaming = self.estimates.streaming.as_ref();
        let streaming = streaming.filter(|streaming| {
            halovae::plan::streams(&self.planned.plan, streaming) == Streams::ByChunks
        });
        if let Some(Streaming { chunks, .. }) = streaming {
            let together = chunks.len().div_ceil(MAX_LINKS as usize).max(1);
            for (index, chunks) in chunks.chunks(together).enumerate() {
                let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { continue };
                let (colour, opacity) = CHUNK[index % CHUNK.len()];
                let ends = [
                    (latents, first.latents.start, last.latents.end, top),
                    (frames, first.frames.start, last.frames.end, bottom),
                ];
                for (axis, start, end, top) in ends.iter().filter(|(_, start, end, _)| start < end)
                {
                    let of_row = Drawn {
                        y: *top,
                        height: ROW,
                        ..axis.bar((*start).into(), (*end).into(), *top)
                    };
                    fill(svg, of_row, colour, opacity);
                }
                let [(_, start, end, _), (_, of_start, of_end, _)] = ends;
                if of_start == of_end {
                    continue;
                }
                let points = [
                    (latents.at(start.into()), above),
                    (latents.at(end.into()), above),
                    (frames.at(of_end.into()), below),
                    (frames.at(of_start.into()), below),
                ];
                let points: Vec<String> =
                    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let points = points.join(" ");
                let _ = writeln!(
                    svg,
                    r#"<polygon points="{points}" fill="{colour}" fill-opacity="{opacity}"/>"#
                );
            }
        }
        let time = self.planned.scale.time;
        let step = latents.frames.div_ceil(MAX_LINKS).max(1);
        let inner = (0..latents.frames).step_by(step as usize);
        for latent in inner.chain([latents.frames]) {
            let Some(frame) = time.at(latent) else { continue };
            let (x1, x2) = (latents.at(latent.into()), frames.at(frame.into()));
            let _ = writeln!(
                svg,
                r#"<line x1="{x1:.1}" y1="{above:.1}" x2="{x2:.1}" y2="{below:.1}" stroke="{LINE}" stroke-width="0.8"/>"#
            );
        }
    }
}

/// Over how many lanes bars have to be dealt so that those of a lane do not lie over each other.
fn lanes(slices: &[Slice], of: impl Fn(&Slice) -> std::ops::Range<u32>) -> usize {
    let clear = |lanes: usize| {
        slices.iter().zip(slices.iter().skip(lanes)).all(|(a, b)| of(a).end <= of(b).start)
    };
    (1..=slices.len()).find(|&lanes| clear(lanes)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use halovae::core::{Axes, Plan};

    use super::*;
    use crate::plan::time::tests::{SCALE, shards, tiles_of_frames};

    /// Drawn with each piece on a rank of its own.
    fn drawn(plan: Plan, halo_in_time: Option<[f64; 2]>) -> String {
        let ranks = plan.piece_count() as u32;
        let planned = Planned::new(plan, ranks, SCALE);
        let mut estimates = Estimates::of_cells(&planned).expect("a plan");
        estimates.halo_in_time = halo_in_time;
        let mut svg = String::new();
        let strip = Strip::new(&planned, &estimates).expect("a video");
        strip.draw(&mut svg, [0.0, 0.0], 720.0);
        let bottom = strip.height();
        let lowest =
            svg.split(" y=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok());
        assert!(lowest.fold(0.0, f64::max) < bottom, "{svg}");
        svg
    }

    #[test]
    fn slices_of_shards_are_told_with_their_halos() {
        let svg = drawn(shards(5, Axes::new(2, 2, 1)), Some([2.0, 0.0]));
        for words in [
            "slice 0: 2 shards, 0 to 1",
            "slice 1: 2 shards, 2 to 3",
            "1 for the first, 4 for each",
        ] {
            assert!(svg.contains(words), "{words} is not in {svg}");
        }
        // Both bars on either side have a stripe for each rank.
        for rank in 0..4 {
            assert_eq!(svg.matches(&format!(r#"fill="{}""#, colour(rank))).count(), 2, "{svg}");
        }
        assert_eq!(svg.matches("stroke-dasharray").count(), 2, "{svg}");
        let without = drawn(shards(5, Axes::new(2, 2, 1)), None);
        assert!(!without.contains("dash"), "{without}");
    }

    #[test]
    fn slices_of_tiles_overlap() {
        let svg = drawn(tiles_of_frames(9), None);
        assert!(svg.contains("hatched: blended"), "{svg}");
        // All but the first.
        assert_eq!(svg.matches(OVERLAP_FILL).count(), 2, "{svg}");
        assert!(svg.contains("slice 2: tile 2"), "{svg}");
    }

    #[test]
    fn many_frames_are_drawn_coarsely() {
        let svg = drawn(shards(10_000, Axes::new(1, 1, 1)), None);
        assert!(svg.len() < 60_000, "{}", svg.len());
        assert!(drawn(shards(1000, Axes::new(300, 1, 1)), None).len() < 400_000);
    }

    #[test]
    fn bars_of_a_lane_do_not_overlap() {
        let of_tiles = slices(&tiles_of_frames(9));
        assert_eq!(lanes(&of_tiles, |slice| slice.latents.clone()), 2);
        assert_eq!(lanes(&of_tiles, |slice| slice.frames.clone()), 2);
        let of_shards = slices(&shards(5, Axes::new(3, 1, 1)));
        assert_eq!(lanes(&of_shards, |slice| slice.frames.clone()), 1);
    }
}
