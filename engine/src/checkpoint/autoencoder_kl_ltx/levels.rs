//! What an LTX decoder's levels are made of.

use crate::checkpoint::config::ConfigError;
use crate::checkpoint::fields::ensure;

/// A level: perhaps a resnet that changes channels, perhaps an upsampler, then resnets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LtxLevel {
    /// Channels that it hands on.
    pub channels: u32,
    /// By what its upsampler divides channels.
    pub factor: u32,
    /// Resnets behind the upsampler.
    pub resnets: u32,
    /// The upsampler.
    pub upsampler: Option<LtxUpsampler>,
}

/// A conv, and cells that come out of its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LtxUpsampler {
    /// What it doubles.
    pub doubles: UpsampleType,
    /// Whether there is a shortcut around it, of channels that are repeated.
    pub has_shortcut: bool,
}

/// What an upsampler doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpsampleType {
    /// Rows and columns.
    Spatial,
    /// Frames but the first.
    Temporal,
    /// Both.
    Spatiotemporal,
}

impl UpsampleType {
    pub(super) const ALL: [Self; 3] = [Self::Spatial, Self::Temporal, Self::Spatiotemporal];

    /// As configs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spatial => "spatial",
            Self::Temporal => "temporal",
            Self::Spatiotemporal => "spatiotemporal",
        }
    }

    /// Frames that it makes of each but the first.
    pub const fn frames(self) -> u32 {
        match self {
            Self::Spatial => 1,
            Self::Temporal | Self::Spatiotemporal => 2,
        }
    }

    /// Rows, and columns, that it makes of each.
    pub const fn side(self) -> u32 {
        match self {
            Self::Temporal => 1,
            Self::Spatial | Self::Spatiotemporal => 2,
        }
    }

    /// Cells that it makes of each.
    pub const fn cells(self) -> u32 {
        self.frames() * self.side() * self.side()
    }
}

/// Whether the channels of each level, the deepest of which has `deepest`, follow from those before it.
pub(super) fn validate_channels(
    deepest: u32,
    levels: impl Iterator<Item = LtxLevel>,
) -> Result<(), ConfigError> {
    let mut before = deepest;
    for (index, LtxLevel { channels, factor, upsampler, .. }) in levels.enumerate() {
        let field = "upsample_factor";
        // Where channels are changed by a resnet, the upsampler finds the level's own.
        let fits = match upsampler {
            Some(_) => factor == 1 || u64::from(channels) * u64::from(factor) == u64::from(before),
            None => factor == 1,
        };
        let of_level = format_args!("{factor} for level {index} of {channels} channels");
        ensure(fits && channels > 0, field, of_level, || match upsampler {
            Some(_) => format!("1, or {before} channels, those before it, over its own"),
            None => "1, for a level without an upsampler".into(),
        })?;
        if let Some(LtxUpsampler { doubles, has_shortcut: true }) = upsampler {
            let cells = doubles.cells();
            let input = channels.saturating_mul(factor);
            let is_whole = input.is_multiple_of(cells) && cells.is_multiple_of(factor);
            let found = format_args!("true for level {index} of {input} channels");
            ensure(is_whole, "upsample_residual", found, || {
                format!(
                    "channels of whole blocks of {cells} cells, which an `upsample_factor` of {factor} \
                     repeats whole"
                )
            })?;
        }
        before = channels;
    }
    Ok(())
}
