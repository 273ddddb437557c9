//! What an op reads along one axis.

use core::ops::Range;

use crate::PlanError;

/// Which cells of its input an op reads along an axis: the input's cells from `skip` on, each
/// repeated, padded, and read by a kernel at a stride.
///
/// Output `o` reads the repeated cells `o * stride - before .. o * stride - before + kernel`. A
/// conv has a kernel, a nearest upsample repeats, and an op that works cell by cell has the window
/// [`POINT`](Self::POINT).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Window {
    /// Taps.
    pub kernel: u32,
    /// Repeated cells from one output to the next.
    pub stride: u32,
    /// Padding before the first repeated cell.
    pub before: u32,
    /// Padding behind the last repeated cell.
    pub behind: u32,
    /// How often each cell of the input is repeated; 1 for none.
    pub repeat: u32,
    /// Whether the first cell stands alone, and is not repeated.
    pub first_alone: bool,
    /// Cells at the input's beginning that are not read: padding lies in their place.
    pub skip: u32,
}

impl Window {
    /// Each output reads the input's cell of the same place.
    pub const POINT: Self = Self::centred(1);

    /// `kernel` taps, as far before the output's place as behind it, which is where an odd number
    /// of them has its centre; the output is as long as the input.
    pub const fn centred(kernel: u32) -> Self {
        let before = kernel / 2;
        let behind = kernel.saturating_sub(1) / 2;
        Self { kernel, stride: 1, before, behind, repeat: 1, first_alone: false, skip: 0 }
    }

    /// `kernel` taps, of which the last reads the output's own place: nothing that comes later.
    pub const fn causal(kernel: u32) -> Self {
        let before = kernel.saturating_sub(1);
        Self { before, behind: 0, ..Self::centred(kernel) }
    }

    /// Each cell of the input `times` times.
    pub const fn repeated(times: u32) -> Self {
        Self { repeat: times, ..Self::POINT }
    }

    /// How many repeated cells `cells` cells of the input have; saturates.
    const fn unrolled(&self, cells: u64) -> u64 {
        let cells = cells.saturating_sub(self.skip as u64);
        match (self.first_alone, cells) {
            (true, 1..) => (cells - 1).saturating_mul(self.repeat as u64).saturating_add(1),
            _ => cells.saturating_mul(self.repeat as u64),
        }
    }

    /// How many outputs an input of `cells` cells has; 0 without a stride, or for an input that the
    /// kernel does not fit into. Saturates.
    pub const fn outputs(&self, cells: u64) -> u64 {
        let padded = self
            .unrolled(cells)
            .saturating_add(self.before as u64)
            .saturating_add(self.behind as u64);
        match padded.checked_sub(self.kernel as u64) {
            Some(room) if self.stride > 0 => (room / self.stride as u64).saturating_add(1),
            _ => 0,
        }
    }

    /// The repeated cell that the first tap of output `output` reads, from 0 on; before that lies
    /// padding.
    pub const fn first(&self, output: i64) -> i64 {
        output.saturating_mul(self.stride as i64).saturating_sub(self.before as i64)
    }

    /// The input's cell that repeated cell `unrolled` is; before 0 it goes on as if the input did.
    /// Without a repeat there is none, and it gives `skip`.
    pub const fn cell(&self, unrolled: i64) -> i64 {
        let repeat = self.repeat as i64;
        let cell = match (self.first_alone, repeat, unrolled) {
            (_, 0, _) => 0,
            // The first cell stands alone, and those behind it go in groups.
            (true, _, 1..) => (unrolled - 1).div_euclid(repeat).saturating_add(1),
            _ => unrolled.div_euclid(repeat),
        };
        cell.saturating_add(self.skip as i64)
    }

    /// The cells of the input that these outputs read: from a first one, which may lie before the
    /// input's own, to behind a last one, which may lie behind them. Empty if there are no outputs, or
    /// no taps.
    pub const fn cells(&self, outputs: &Range<u64>) -> Range<i64> {
        let first = self.first(signed(outputs.start));
        if outputs.start >= outputs.end || self.kernel == 0 {
            let at = self.cell(first);
            return at..at;
        }
        let last = self.first(signed(outputs.end - 1)).saturating_add(self.kernel as i64 - 1);
        self.cell(first)..self.cell(last).saturating_add(1)
    }

    /// Whether padding that mirrors the input mirrors what the outputs at its ends read anyway, however
    /// few they are. Otherwise a part at an end may lack some of it, even with what
    /// [`reach`](Self::reach) says lies around the part.
    ///
    /// An output at the beginning reads `kernel - before` repeated cells, and `before` cells are
    /// mirrored at the first of them; one at the end reads `stride + before`, and
    /// `kernel - stride - before` are mirrored.
    pub const fn reflects_within(&self) -> bool {
        let [kernel, before] = [self.kernel as u64, self.before as u64];
        kernel > 2 * before && 2 * (self.stride as u64 + before) > kernel
    }

    /// Cells of the input before and behind a part, that the outputs of that part read.
    ///
    /// Output `o` of a part reads the repeated cells `o * stride - before ..` of that part, as many
    /// as the kernel has taps. A part of `n * stride` repeated cells has `n` outputs, so the first
    /// reads `before` cells too far, the last `kernel - stride - before`.
    ///
    /// # Errors
    /// [`PlanError::Zero`], and [`PlanError::NotProportional`] if an input of `n * stride` repeated
    /// cells does not give `n` outputs: then the padding is not in
    /// `kernel - stride ..= kernel - 1`.
    pub const fn reach(&self) -> Result<[u32; 2], PlanError> {
        let Self { kernel, stride, before, behind, repeat, .. } = *self;
        if kernel == 0 {
            return Err(PlanError::Zero { name: "kernel" });
        }
        if stride == 0 {
            return Err(PlanError::Zero { name: "stride" });
        }
        if repeat == 0 {
            return Err(PlanError::Zero { name: "repeat" });
        }
        let padding = before as u64 + behind as u64;
        // n * stride + padding - kernel is in (n - 1) * stride ..= n * stride - 1.
        if padding + (stride as u64) < kernel as u64 || padding >= kernel as u64 {
            return Err(PlanError::NotProportional { kernel, stride, padding });
        }
        let after = kernel.saturating_sub(stride).saturating_sub(before);
        Ok([before.div_ceil(repeat), after.div_ceil(repeat)])
    }
}

/// `place`, or the last one that `i64` has.
const fn signed(place: u64) -> i64 {
    0_i64.saturating_add_unsigned(place)
}
