//! What lies around an image that is a part of a larger one.

use halovae_engine::program::Edge;
use rayon::ThreadPool;

use super::beside::Beside;
use super::{ConvInput, Margins};
use crate::error::{KernelError, check};
use crate::pool::for_each;

/// Whether a patch of an image of `size` reads its margins: one that starts at `origin` and has
/// `extent` pixels, both counted after upsampling by `scale`. What `edges` reflect is read as well.
pub(super) fn touches(
    margins: &Margins,
    edges: [Edge; 2],
    size: [usize; 2],
    scale: usize,
    (origin, extent): ([isize; 2], [usize; 2]),
) -> bool {
    let axis = |axis: usize, before: usize, behind: usize| {
        let [size, before, behind] = [size[axis], before, behind].map(|n| (n * scale) as isize);
        let (mut start, mut end) = (origin[axis], origin[axis] + extent[axis] as isize);
        if edges[axis] == Edge::Reflect {
            let mirrored = [2 * (size + behind - 1) - (end - 1), -2 * before - start + 1];
            (start, end) = (start.min(mirrored[0]), end.max(mirrored[1]));
        }
        (before > 0 && start < 0) || (behind > 0 && end > size)
    };
    axis(0, margins.top, margins.bottom) || axis(1, margins.left, margins.right)
}

/// The values of the margins; a strip without rows or columns is empty.
#[derive(Clone, Copy, Debug)]
pub struct Strips<'a> {
    /// Their extents.
    pub margins: Margins,
    /// For all input frames, above and below `[frames][rows][left + width + right][channels]`, left
    /// and right `[frames][height][columns][channels]`.
    pub values: halovae_core::Margins<&'a [f32]>,
    /// For a prologue by position the factors of all of these pixels; empty otherwise.
    pub factors: halovae_core::Margins<&'a [f32]>,
}

impl Strips<'_> {
    /// Whether the slices fit the input.
    fn check(&self, input: &ConvInput, channels: usize) -> Result<(), KernelError> {
        self.check_each(&self.values, input, channels)?;
        match input.prologue.by_position() {
            true => self.check_each(&self.factors, input, 1),
            false => Ok(()),
        }
    }

    fn check_each(
        &self,
        strips: &halovae_core::Margins<&[f32]>,
        input: &ConvInput,
        channels: usize,
    ) -> Result<(), KernelError> {
        let (n, [height, width]) = (input.frames.len(), input.size);
        let Margins { top, bottom, left, right, .. } = self.margins;
        let row = n * (left + width + right) * channels;
        check("halo above", top * row, strips.top.len())?;
        check("halo below", bottom * row, strips.bottom.len())?;
        check("halo to the left", n * height * left * channels, strips.left.len())?;
        check("halo to the right", n * height * right * channels, strips.right.len())
    }

    /// Puts the stored pixels around row `row` of frame `frame` into their places beside the frame's
    /// own, from channel `channel` on.
    pub(super) fn add_runs(
        &self,
        runs: &mut [Beside; 3],
        row: isize,
        [height, width]: [usize; 2],
        channels: usize,
        frame: usize,
        channel: usize,
    ) {
        let Margins { top, bottom, left, right, .. } = self.margins;
        let (w, l, r) = (width as isize, left as isize, right as isize);
        // `strip` is how to find a strip among the four.
        let at = |strip: StripOf, columns: [isize; 2], rows: usize, row: isize| {
            let of_row = (columns[1] - columns[0]) as usize;
            let pixel = (frame * rows + row as usize) * of_row;
            let (values, factors) = (strip(&self.values), strip(&self.factors));
            Beside {
                columns,
                values: values.as_ptr().wrapping_add(pixel * channels + channel),
                factors: match factors.is_empty() {
                    true => std::ptr::null(),
                    false => factors.as_ptr().wrapping_add(pixel),
                },
            }
        };
        let (up, down) = (row + top as isize, row - height as isize);
        if (0..height as isize).contains(&row) {
            runs[0] = at(|m| m.left, [-l, 0], height, row);
            runs[2] = at(|m| m.right, [w, w + r], height, row);
        } else if (0..top as isize).contains(&up) {
            runs[1] = at(|m| m.top, [-l, w + r], top, up);
        } else if (0..bottom as isize).contains(&down) {
            runs[1] = at(|m| m.bottom, [-l, w + r], bottom, down);
        }
    }
}

/// Picks one strip of the four.
type StripOf = for<'a> fn(&halovae_core::Margins<&'a [f32]>) -> &'a [f32];

/// What is done once strips are there.
pub type Resume<'a> = dyn FnMut(&Strips) + 'a;

/// Strips that come when everything that does not need them is done.
pub struct LateStrips<'a> {
    /// The extents of what will come.
    pub margins: Margins,
    /// Waits for the strips and passes them on, once.
    pub fetch: &'a mut dyn FnMut(&mut Resume) -> Result<(), KernelError>,
}

/// Runs `task(i, thread, strips)` for every `i < tasks`, each once. Those of which `needs_halo` says
/// so come last, when their strips are there.
pub(super) fn run_tasks(
    pool: &ThreadPool,
    tasks: usize,
    input: &ConvInput,
    channels: usize,
    halo: Option<LateStrips>,
    needs_halo: impl Fn(usize, &Margins) -> bool,
    task: impl Fn(usize, usize, Option<&Strips>) + Sync,
) -> Result<(), KernelError> {
    let Some(halo) = halo else {
        for_each(pool, tasks, |i, thread| task(i, thread, None));
        return Ok(());
    };
    let (border, inner): (Vec<usize>, Vec<usize>) =
        (0..tasks).partition(|&i| needs_halo(i, &halo.margins));
    for_each(pool, inner.len(), |i, thread| task(inner[i], thread, None));
    let mut fits = Ok(());
    (halo.fetch)(&mut |strips| {
        fits = check_margins(&halo.margins, &strips.margins)
            .and_then(|()| strips.check(input, channels));
        if fits.is_ok() {
            for_each(pool, border.len(), |i, thread| task(border[i], thread, Some(strips)));
        }
    })?;
    fits
}

fn check_margins(promised: &Margins, came: &Margins) -> Result<(), KernelError> {
    match promised == came {
        true => Ok(()),
        false => Err(KernelError::Shape { reason: "the halo has other margins than promised" }),
    }
}
