//! Any numbers: sizes, scales, tilings.

use halovae_core::{AxisTiling, DroppedFrame, Scale, Size, Tiling, TimeLaw, TimeScale, TimeTiling};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// How rows or columns are tiled.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Tiles {
    /// Numbers that agree, as a VAE's config has them.
    Consistent {
        cells: u16,
        overlap: u16,
    },
    Overlap {
        pixels: u32,
        cells: u32,
        factor: f64,
    },
    ConsistentStride {
        cells: u16,
        stride: u16,
    },
    Stride {
        pixels: u32,
        stride: u32,
    },
}

impl Tiles {
    pub(crate) fn tiling(self, scale: u32) -> AxisTiling {
        match self {
            Self::Consistent { cells, overlap } => AxisTiling::Overlap {
                tile_sample_min_size: u32::from(cells).wrapping_mul(scale),
                tile_latent_min_size: cells.into(),
                tile_overlap_factor: f64::from(overlap) / f64::from(cells),
            },
            Self::Overlap { pixels, cells, factor } => AxisTiling::Overlap {
                tile_sample_min_size: pixels,
                tile_latent_min_size: cells,
                tile_overlap_factor: factor,
            },
            Self::ConsistentStride { cells, stride } => AxisTiling::Stride {
                tile_sample_min_size: u32::from(cells).wrapping_mul(scale),
                tile_sample_stride: u32::from(stride).wrapping_mul(scale),
            },
            Self::Stride { pixels, stride } => {
                AxisTiling::Stride { tile_sample_min_size: pixels, tile_sample_stride: stride }
            }
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Extent {
    Small(u8),
    Medium(u16),
    Any(u32),
}

impl Extent {
    pub(crate) fn get(self) -> u32 {
        match self {
            Self::Small(extent) => extent.into(),
            Self::Medium(extent) => extent.into(),
            Self::Any(extent) => extent,
        }
    }
}

/// Frames and what lies on them.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) frames: Extent,
    pub(crate) scale: FrameScale,
    /// The input is as large as the layer of so many latents.
    pub(crate) is_whole: bool,
    pub(crate) tiles: Option<TimeTiles>,
    pub(crate) slices: Extent,
    pub(crate) layer: FrameScale,
    pub(crate) past_and_future: [Extent; 2],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct FrameScale {
    pub(crate) factor: Extent,
    pub(crate) law: u8,
}

impl FrameScale {
    pub(crate) fn get(self) -> TimeScale {
        let laws = [TimeLaw::FirstAlone, TimeLaw::Even, TimeLaw::AfterFirst];
        TimeScale { factor: self.factor.get(), law: laws[usize::from(self.law % 3)] }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct TimeTiles {
    /// Numbers of latent frames, which agree with the scale.
    pub(crate) are_latents: bool,
    pub(crate) frames: Extent,
    pub(crate) stride: Extent,
    pub(crate) drops_last: bool,
}

impl TimeTiles {
    pub(crate) fn tiling(self, factor: u32) -> TimeTiling {
        let factor = if self.are_latents { factor } else { 1 };
        let [tile, stride] = [self.frames, self.stride].map(|n| n.get().wrapping_mul(factor));
        TimeTiling {
            tile_sample_min_num_frames: tile,
            tile_sample_stride_num_frames: stride,
            dropped: if self.drops_last { DroppedFrame::Last } else { DroppedFrame::First },
        }
    }
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    pub(crate) height: Extent,
    pub(crate) width: Extent,
    pub(crate) scale: Extent,
    pub(crate) encode: bool,
    pub(crate) tile_height: Tiles,
    pub(crate) tile_width: Tiles,
    pub(crate) ranks: Extent,
    pub(crate) patch_tile: [Extent; 2],
    pub(crate) patch_overlap: [f64; 2],
    pub(crate) factors: [Extent; 6],
    pub(crate) group: Extent,
    pub(crate) use_tiling: bool,
    pub(crate) parallel_supported: bool,
    pub(crate) flops_per_cell: f64,
    pub(crate) flops_per_cell_pair: f64,
    pub(crate) bytes: [u64; 3],
    pub(crate) at: u64,
    /// Of a video. Behind all others, so that inputs that end before it are images.
    pub(crate) time: Option<Time>,
    pub(crate) first_alone: bool,
    pub(crate) skip: Extent,
    /// Which of the axes are not tiled.
    pub(crate) untiled: [bool; 2],
    pub(crate) chunk: Extent,
}

impl Input {
    pub(crate) fn scale(&self) -> Scale {
        let time = self.time.map_or(TimeScale::SAME, |time| time.scale.get());
        Scale::video(time, self.scale.get())
    }

    /// Of a layer whose cells are no finer than those of the output.
    pub(crate) fn layer_scale(&self) -> Scale {
        let Scale { time: of_output, space } = self.scale();
        let time = self.time.map_or(TimeScale::SAME, |time| time.layer.get());
        let factor = time.factor.min(of_output.factor);
        Scale::video(TimeScale { factor, ..time }, space.min(self.group.get()))
    }

    pub(crate) fn size(&self) -> Size {
        let frames = self.time.map_or(1, |time| time.frames.get());
        let size = Size::video(frames, self.height.get(), self.width.get());
        let is_whole = self.encode && self.time.is_some_and(|time| time.is_whole);
        self.scale().layer(size).filter(|_| is_whole).unwrap_or(size)
    }

    pub(crate) fn tiling(&self) -> Tiling {
        let scale = self.scale();
        let [height, width] =
            [self.tile_height, self.tile_width].map(|axis| axis.tiling(scale.space));
        let cut = |axis, is_whole| if is_whole { AxisTiling::Whole } else { axis };
        let [rows_whole, columns_whole] = self.untiled;
        let tiling = Tiling::new(cut(height, rows_whole), cut(width, columns_whole), scale);
        match self.time.and_then(|time| time.tiles) {
            Some(tiles) => tiling.with_time(tiles.tiling(scale.time.factor)),
            None => tiling,
        }
    }
}
