//! Tiles, from options and from what the model says.

use halovae_core::{AxisTiling, DroppedFrame, PlanError, Tiling, TimeScale, TimeTiling};
use halovae_engine::checkpoint::VaeConfig;

use super::error::OptionError;
use crate::error::Error;

/// Of every model whose tiles are given by an overlap factor, and where there is no model.
const DEFAULT_OVERLAP_FACTOR: f64 = 0.25;

/// Tiles that are not the model's own: height and width, and frames. Names are those of diffusers'
/// attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TileOptions {
    /// A tile's sides in pixels.
    pub tile_sample_min_size: Option<[u32; 2]>,
    /// A tile's sides in latent cells, in place of pixels.
    pub tile_latent_min_size: Option<[u32; 2]>,
    /// The part of a tile that the next one overlaps, from 0 to below 1.
    pub tile_overlap_factor: Option<[f64; 2]>,
    /// Pixels from one tile to the next, in place of a factor.
    pub tile_sample_stride: Option<[u32; 2]>,
    /// A tile's frames of the video.
    pub tile_sample_min_frames: Option<u32>,
    /// Frames of the video from one tile to the next.
    pub tile_sample_stride_frames: Option<u32>,
}

/// The tiles of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelTiles {
    /// Those that it takes where no options are given.
    pub(crate) tiling: Tiling,
    /// Those of frames that it takes where such are asked for.
    pub(crate) time: Option<TimeTiling>,
}

impl ModelTiles {
    /// Those of a config's class.
    pub(crate) fn of(config: &dyn VaeConfig) -> Self {
        let tiling = config.tiling();
        Self { tiling, time: tiling.time.or(config.time_tiling()) }
    }
}

impl TileOptions {
    /// Whether anything is not as the model has it.
    pub(crate) fn is_given(&self) -> bool {
        self.tile_sample_min_size.is_some()
            || self.tile_latent_min_size.is_some()
            || self.is_more_than_a_size()
    }

    /// Whether more is given than the size, which a plan without a model needs in any case.
    pub(crate) fn is_more_than_a_size(&self) -> bool {
        self.tile_overlap_factor.is_some()
            || self.tile_sample_stride.is_some()
            || self.time_option().is_some()
    }

    /// The first option about tiles of frames that is given.
    pub(crate) fn time_option(&self) -> Option<&'static str> {
        let options = [
            (self.tile_sample_min_frames, MIN_FRAMES),
            (self.tile_sample_stride_frames, STRIDE_FRAMES),
        ];
        options.into_iter().find_map(|(value, option)| value.map(|_| option))
    }

    /// Refuses tiles of frames where there is one frame.
    ///
    /// # Errors
    /// [`OptionError::FramesOfImages`].
    pub(crate) fn check_image(&self) -> Result<(), Error> {
        let refused = |option| Err(OptionError::FramesOfImages { option }.into());
        self.time_option().map_or(Ok(()), refused)
    }

    /// The tiles: options first, then the model's own.
    ///
    /// # Errors
    /// [`OptionError`] for a tile of less than a latent cell, or without any size.
    pub(crate) fn tiling(&self, own: Option<&ModelTiles>, scale: u32) -> Result<Tiling, Error> {
        let asked = own.and_then(|own| own.time);
        let own = own.map(|own| &own.tiling);
        if scale == 0 {
            return Err(PlanError::Zero { name: "scale" }.into());
        }
        for (given, option) in
            [(self.tile_sample_min_size, MIN_SIZE), (self.tile_sample_stride, "tile_sample_stride")]
        {
            if let Some(sides) = given.filter(|sides| sides.iter().any(|&side| side < scale)) {
                return Err(OptionError::LessThanCell { option, sides, scale }.into());
            }
        }
        let height = AxisOptions {
            sample_min_size: self.tile_sample_min_size.map(|sides| sides[0]),
            latent_min_size: self.tile_latent_min_size.map(|sides| sides[0]),
            overlap_factor: self.tile_overlap_factor.map(|sides| sides[0]),
            sample_stride: self.tile_sample_stride.map(|sides| sides[0]),
        };
        let width = AxisOptions {
            sample_min_size: self.tile_sample_min_size.map(|sides| sides[1]),
            latent_min_size: self.tile_latent_min_size.map(|sides| sides[1]),
            overlap_factor: self.tile_overlap_factor.map(|sides| sides[1]),
            sample_stride: self.tile_sample_stride.map(|sides| sides[1]),
        };
        let height = height.tiling(own.map(|own| own.height), scale)?;
        let width = width.tiling(own.map(|own| own.width), scale)?;
        let mut tiling = own.copied().unwrap_or_else(|| Tiling::new(height, width, scale));
        (tiling.height, tiling.width) = (height, width);
        if self.time_option().is_some() {
            tiling.time = self.time(tiling.time.or(asked), tiling.scale.time)?;
        }
        Ok(tiling)
    }

    /// Tiles of frames that are asked for: options first, then the model's own.
    fn time(&self, own: Option<TimeTiling>, scale: TimeScale) -> Result<Option<TimeTiling>, Error> {
        let Some(option) = self.time_option() else { return Ok(None) };
        let Some(tile) =
            self.tile_sample_min_frames.or(own.map(|own| own.tile_sample_min_num_frames))
        else {
            let option = Some(option);
            return Err(OptionError::TileSizeMissing { option, missing: MIN_FRAMES }.into());
        };
        let factor = scale.factor;
        for (given, option) in [
            (self.tile_sample_min_frames, MIN_FRAMES),
            (self.tile_sample_stride_frames, STRIDE_FRAMES),
        ] {
            if let Some(frames) = given.filter(|&frames| frames < factor.max(1)) {
                return Err(OptionError::LessThanFrame { option, frames, factor }.into());
            }
        }
        // Of classes that have none, the overlap that those have that do.
        let own_stride = own.map_or((4, 3), |own| {
            (own.tile_sample_min_num_frames, own.tile_sample_stride_num_frames)
        });
        let stride = self.tile_sample_stride_frames.unwrap_or_else(|| match own {
            Some(own) if tile >= own.tile_sample_min_num_frames => {
                own.tile_sample_stride_num_frames
            }
            Some(_) | None => same_part(tile, own_stride, factor),
        });
        Ok(Some(TimeTiling {
            tile_sample_min_num_frames: tile,
            tile_sample_stride_num_frames: stride,
            dropped: own.map_or(DroppedFrame::First, |own| own.dropped),
        }))
    }
}

const MIN_SIZE: &str = "tile_sample_min_size";
const MIN_FRAMES: &str = "tile_sample_min_frames";
const STRIDE_FRAMES: &str = "tile_sample_stride_frames";

/// A stride that is the same part of `tile` as of the tile that it belongs to, in multiples of the
/// scale.
fn same_part(tile: u32, (own_tile, own_stride): (u32, u32), scale: u32) -> u32 {
    let part = u64::from(tile) * u64::from(own_stride) / u64::from(own_tile.max(1));
    // A stride is at most its tile, which is u32.
    (part as u32).checked_div(scale).map_or(0, |cells| (cells * scale).max(scale))
}

/// Tiles along one axis as asked for.
struct AxisOptions {
    sample_min_size: Option<u32>,
    latent_min_size: Option<u32>,
    overlap_factor: Option<f64>,
    sample_stride: Option<u32>,
}

impl AxisOptions {
    fn tiling(self, own: Option<AxisTiling>, scale: u32) -> Result<AxisTiling, Error> {
        let (own_sample, own_latent, own_factor, own_stride) = match own {
            None | Some(AxisTiling::Whole) => (None, None, None, None),
            Some(AxisTiling::Overlap {
                tile_sample_min_size: sample,
                tile_latent_min_size: latent,
                tile_overlap_factor: factor,
            }) => (Some(sample), Some(latent), Some(factor), None),
            Some(AxisTiling::Stride { tile_sample_min_size: sample, tile_sample_stride }) => {
                (Some(sample), None, None, Some(tile_sample_stride))
            }
        };
        let Self { sample_min_size, latent_min_size, overlap_factor, sample_stride } = self;
        let is_given = sample_min_size.or(latent_min_size).is_some();
        if let Some(whole @ AxisTiling::Whole) = own.filter(|_| !is_given) {
            return Ok(whole);
        }
        let no_size = || OptionError::TileSizeMissing { option: None, missing: MIN_SIZE };
        let tile_sample_min_size = sample_min_size
            .or(latent_min_size.map(|cells| cells.saturating_mul(scale)))
            .or(own_sample)
            .ok_or_else(no_size)?;
        // The stride that the model stores stays where only the size is given, as in diffusers. Where
        // that would leave gaps, tiles overlap by the part by which the model's own do.
        let kept = |own: u32| match tile_sample_min_size < own {
            false => own,
            true => same_part(tile_sample_min_size, (own_sample.unwrap_or(own), own), scale),
        };
        let stride = sample_stride.or(own_stride.filter(|_| overlap_factor.is_none()).map(kept));
        if let Some(tile_sample_stride) = stride {
            return Ok(AxisTiling::Stride { tile_sample_min_size, tile_sample_stride });
        }
        // The model's own tile in cells is not always that in pixels over the scale, so it counts
        // only as long as neither is changed.
        let tile_latent_min_size = latent_min_size
            .or(sample_min_size.map(|pixels| pixels / scale))
            .or(own_latent)
            .unwrap_or(tile_sample_min_size / scale);
        let tile_overlap_factor = overlap_factor.or(own_factor).unwrap_or(DEFAULT_OVERLAP_FACTOR);
        Ok(AxisTiling::Overlap { tile_sample_min_size, tile_latent_min_size, tile_overlap_factor })
    }
}

/// A tile in pixels, along one axis, where there are tiles.
pub(crate) fn tile_pixels(axis: AxisTiling) -> Option<u32> {
    match axis {
        AxisTiling::Overlap { tile_sample_min_size, .. }
        | AxisTiling::Stride { tile_sample_min_size, .. } => Some(tile_sample_min_size),
        AxisTiling::Whole => None,
    }
}

#[cfg(test)]
mod tests {
    use halovae_core::Scale;

    use super::*;

    #[test]
    fn a_changed_tile_in_pixels_changes_the_one_in_cells() {
        let axis = AxisTiling::Overlap {
            tile_sample_min_size: 100,
            tile_latent_min_size: 12,
            tile_overlap_factor: 0.5,
        };
        let own = Tiling::new(axis, axis, 8);
        let latent = |options: TileOptions| match options.tiling(Some(&of(own)), 8).unwrap().height
        {
            AxisTiling::Overlap {
                tile_latent_min_size,
                tile_sample_min_size,
                tile_overlap_factor,
            } => {
                assert_eq!(tile_overlap_factor, 0.5);
                (tile_sample_min_size, tile_latent_min_size)
            }
            AxisTiling::Stride { .. } | AxisTiling::Whole => unreachable!("no stride was given"),
        };
        assert_eq!(latent(TileOptions::default()), (100, 12));
        let sample = TileOptions { tile_sample_min_size: pair(256), ..TileOptions::default() };
        assert_eq!(latent(sample), (256, 32));
        let cells = TileOptions { tile_latent_min_size: pair(16), ..TileOptions::default() };
        assert_eq!(latent(cells), (128, 16));
    }

    #[test]
    fn a_stored_stride_stays_until_the_overlap_is_given() {
        let stride = |tile_sample_min_size, tile_sample_stride| AxisTiling::Stride {
            tile_sample_min_size,
            tile_sample_stride,
        };
        let own = Tiling::new(stride(256, 192), stride(256, 128), 8);
        let axes = |options: TileOptions| {
            let tiling = options.tiling(Some(&of(own)), 8).unwrap();
            [tiling.height, tiling.width]
        };
        assert_eq!(axes(TileOptions::default()), [own.height, own.width]);
        let sample = TileOptions { tile_sample_min_size: pair(512), ..TileOptions::default() };
        assert_eq!(axes(sample), [stride(512, 192), stride(512, 128)]);
        let sample = TileOptions { tile_sample_min_size: pair(152), ..TileOptions::default() };
        assert_eq!(axes(sample), [stride(152, 112), stride(152, 128)]);
        let given = TileOptions { tile_sample_stride: pair(64), ..TileOptions::default() };
        assert_eq!(axes(given), [stride(256, 64); 2]);
        let factor = Some([0.5; 2]);
        let factor = TileOptions { tile_overlap_factor: factor, ..TileOptions::default() };
        let overlap = AxisTiling::Overlap {
            tile_sample_min_size: 256,
            tile_latent_min_size: 32,
            tile_overlap_factor: 0.5,
        };
        assert_eq!(axes(factor), [overlap; 2]);
    }

    #[test]
    fn tiles_of_frames_are_the_models_until_they_are_given() {
        let axis = AxisTiling::Whole;
        let none = Tiling::new(axis, axis, Scale::video(TimeScale::first_alone(4), 8));
        let own = none.with_time(TimeTiling {
            tile_sample_min_num_frames: 16,
            tile_sample_stride_num_frames: 8,
            dropped: DroppedFrame::Last,
        });
        let [none, own] = [none, own].map(of);
        let frames = |own: &ModelTiles, tile, stride| {
            let options = TileOptions {
                tile_sample_min_frames: tile,
                tile_sample_stride_frames: stride,
                ..TileOptions::default()
            };
            let time = options.tiling(Some(own), 8)?.time;
            Ok::<_, Error>(time.map(|time| {
                let TimeTiling { tile_sample_min_num_frames: tile, dropped, .. } = time;
                (tile, time.tile_sample_stride_num_frames, dropped)
            }))
        };
        let first = DroppedFrame::First;
        let last = DroppedFrame::Last;
        assert_eq!(frames(&none, None, None).unwrap(), None);
        assert_eq!(frames(&none, Some(16), None).unwrap(), Some((16, 12, first)));
        assert_eq!(frames(&none, Some(4), None).unwrap(), Some((4, 4, first)));
        assert_eq!(frames(&none, Some(16), Some(4)).unwrap(), Some((16, 4, first)));
        assert_eq!(frames(&own, None, None).unwrap(), Some((16, 8, last)));
        assert_eq!(frames(&own, Some(32), None).unwrap(), Some((32, 8, last)));
        assert_eq!(frames(&own, Some(8), None).unwrap(), Some((8, 4, last)));
        assert_eq!(frames(&own, None, Some(12)).unwrap(), Some((16, 12, last)));
        // Of a model that takes none, and has some where they are asked for.
        let asked = ModelTiles { time: own.tiling.time, ..none };
        assert_eq!(frames(&asked, None, None).unwrap(), None);
        assert_eq!(frames(&asked, Some(16), None).unwrap(), Some((16, 8, last)));
        assert_eq!(frames(&asked, None, Some(4)).unwrap(), Some((16, 4, last)));
        for (tile, stride) in [(None, Some(4)), (Some(3), None), (Some(16), Some(0))] {
            assert!(matches!(frames(&none, tile, stride), Err(Error::Option(_))), "{tile:?}");
        }
    }

    /// Tiles of a model that has no others.
    fn of(tiling: Tiling) -> ModelTiles {
        ModelTiles { tiling, time: tiling.time }
    }

    fn pair(value: u32) -> Option<[u32; 2]> {
        Some([value; 2])
    }
}
