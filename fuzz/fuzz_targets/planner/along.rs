//! What is arithmetic along one axis: windows, frames and chunks.

use halovae_core::{Chunks, TimeScale, Window};

use crate::LOOKED_AT;
use crate::input::{Extent, Input};

/// What an op reads: as far as its padding, in order, and inside its input.
pub(crate) fn window(input: &Input) {
    let [before, behind, repeat, _, kernel, stride] = input.factors.map(Extent::get);
    let skip = input.skip.get();
    let first_alone = input.first_alone;
    let window = Window { kernel, stride, before, behind, repeat, first_alone, skip };
    if let Ok([past, future]) = window.reach() {
        assert!(past <= before && future < kernel);
    }
    let cells = u64::from(input.height.get());
    let outputs = window.outputs(cells);
    assert!(outputs <= window.outputs(cells + 1));
    let look_ahead = Window { behind: behind.saturating_add(1), ..window };
    assert!(outputs <= look_ahead.outputs(cells));
    let at = input.at.min(u64::MAX - 2);
    let [one, next, both] = [at..at + 1, at + 1..at + 2, at..at + 2].map(|of| window.cells(&of));
    assert!(one.start <= one.end && one.start <= next.start && one.end <= next.end);
    assert!(both == (one.start..next.end) || kernel == 0);
    assert!(window.cells(&(at..at)).is_empty());
    // The last output reads no further than what is padded behind the input.
    let places = outputs.checked_mul(stride.into()).and_then(|places| i64::try_from(places).ok());
    if let (Some(_), Some(last)) = (places, outputs.checked_sub(1)) {
        let tap = window.first(last as i64) + i64::from(kernel) - 1 - i64::from(behind);
        assert!(tap < 0 || window.cell(tap) < cells as i64, "{window:?} over {cells} cells");
    }
}

/// A frame belongs to the latents whose frames begin at or before it, and not to the next.
pub(crate) fn time_scale(time: TimeScale, frame: u32) {
    let Some(latent) = time.latent(frame) else {
        assert!(time.factor <= 1);
        return;
    };
    if time.factor > 0 {
        assert!(time.at(latent).is_some_and(|first| first <= frame));
        let next = latent.checked_add(1).and_then(|next| time.at(next));
        assert!(next.is_none_or(|next| frame < next));
    }
}

/// Chunks follow each other without gaps, and so do the frames that lie on them.
pub(crate) fn chunks(frames: u32, time: TimeScale, input: &Input) {
    let [each, fixed, limit] = input.bytes;
    let bytes = |frames: u32| u64::from(frames).saturating_mul(each).saturating_add(fixed);
    let fit = Chunks::fit(frames, limit, bytes);
    if let Ok(chunks) = fit {
        let longest = chunks.longest();
        assert!(bytes(longest) <= limit && (longest == frames || bytes(longest + 1) > limit));
    } else {
        assert!(frames == 0 || bytes(1) > limit);
    }
    for chunks in [fit, Chunks::new(frames, input.chunk.get())] {
        let Ok(chunks) = chunks else { continue };
        assert!(chunks.frames() == frames && (1..=frames).contains(&chunks.longest()));
        let count = chunks.len();
        assert_eq!((chunks.get(count), chunks.get(u32::MAX)), (None, None));
        let looked_at = LOOKED_AT as u32;
        for from in [0, count.saturating_sub(looked_at)] {
            let mut before = chunks.get(from).expect("an index below the count").start;
            let mut finished = time.at(before);
            for index in from..count.min(from + looked_at) {
                let chunk = chunks.get(index).expect("an index below the count");
                assert!(chunk.start == before && chunk.end > before, "{chunks:?}");
                before = chunk.end;
                let output = chunks.finished(index, time);
                assert!(output.as_ref().is_none_or(|output| finished == Some(output.start)));
                finished = output.map(|output| output.end);
            }
            assert!(from + looked_at < count || (before, finished) == (frames, time.at(frames)));
        }
    }
}
