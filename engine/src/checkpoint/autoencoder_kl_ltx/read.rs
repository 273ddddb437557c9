//! Configs out of the fields of a file, and the defaults of the classes.

use serde_json::Value;

use super::config::{AutoencoderKlLtxConfig, LtxClass, PADDING_MODES};
use super::levels::UpsampleType;
use crate::checkpoint::config::{ConfigError, VaeConfig};
use crate::checkpoint::fields::{Fields, ensure, wrong};
use crate::program::Edge;

impl AutoencoderKlLtxConfig {
    /// The defaults of the class.
    pub(super) fn default_of(class: LtxClass) -> Self {
        let of_both = Self {
            class,
            out_channels: 3,
            latent_channels: 128,
            decoder_block_out_channels: vec![256, 512, 1024],
            decoder_layers_per_block: vec![5; 4],
            decoder_spatio_temporal_scaling: vec![true; 3],
            upsample_type: vec![UpsampleType::Spatiotemporal; 3],
            upsample_residual: vec![true; 3],
            upsample_factor: vec![2; 3],
            patch_size: 4,
            resnet_norm_eps: 1e-6,
            scaling_factor: 1.0,
            decoder_causal: true,
            decoder_spatial_padding_mode: Edge::Reflect,
            statistics: None,
        };
        match class {
            LtxClass::Ltx2 => of_both,
            LtxClass::Ltx => Self {
                decoder_block_out_channels: vec![128, 256, 512, 512],
                decoder_layers_per_block: vec![4, 3, 3, 3, 4],
                decoder_spatio_temporal_scaling: vec![true, true, true, false],
                upsample_type: vec![UpsampleType::Spatiotemporal; 4],
                upsample_residual: vec![false; 4],
                upsample_factor: vec![1; 4],
                decoder_causal: false,
                decoder_spatial_padding_mode: Edge::Zeros,
                ..of_both
            },
        }
    }

    /// That of LTX-2.0.
    pub(super) fn of_ltx_2_0() -> Self {
        Self { decoder_causal: false, ..Self::default_of(LtxClass::Ltx2) }
    }

    /// That of LTX-2.3 and of LTX-2.5's decoder of convs.
    pub(super) fn of_ltx_2_3() -> Self {
        use UpsampleType::{Spatial, Spatiotemporal, Temporal};
        Self {
            decoder_block_out_channels: vec![256, 512, 512, 1024],
            decoder_layers_per_block: vec![4, 6, 4, 2, 2],
            decoder_spatio_temporal_scaling: vec![true; 4],
            upsample_type: vec![Spatiotemporal, Spatiotemporal, Temporal, Spatial],
            upsample_residual: vec![false; 4],
            upsample_factor: vec![2, 2, 1, 2],
            decoder_spatial_padding_mode: Edge::Zeros,
            ..Self::of_ltx_2_0()
        }
    }

    /// Absent fields take the defaults of the class; unknown ones are ignored.
    pub(super) fn from_fields(fields: Fields<'_>, class: LtxClass) -> Result<Self, ConfigError> {
        let default = Self::default_of(class);
        let channels = fields
            .counts("decoder_block_out_channels")?
            .unwrap_or(default.decoder_block_out_channels);
        let levels = channels.len();
        let layers =
            fields.counts("decoder_layers_per_block")?.unwrap_or(default.decoder_layers_per_block);
        let of_levels = |field, default: Vec<bool>| {
            Ok::<_, ConfigError>(flags(fields, field, levels)?.unwrap_or(default))
        };
        let is_ltx2 = class == LtxClass::Ltx2;
        let upsample_type = match is_ltx2 {
            true => upsample_types(fields)?.unwrap_or(default.upsample_type),
            false => vec![UpsampleType::Spatiotemporal; levels],
        };
        let decoder_spatial_padding_mode = match is_ltx2 {
            true => padding_mode(fields)?.unwrap_or(default.decoder_spatial_padding_mode),
            false => Edge::Zeros,
        };
        let config = Self {
            class,
            out_channels: fields.count("out_channels", default.out_channels)?,
            latent_channels: fields.count("latent_channels", default.latent_channels)?,
            decoder_block_out_channels: channels,
            decoder_layers_per_block: layers,
            decoder_spatio_temporal_scaling: of_levels(
                "decoder_spatio_temporal_scaling",
                default.decoder_spatio_temporal_scaling,
            )?,
            upsample_type,
            upsample_residual: of_levels("upsample_residual", default.upsample_residual)?,
            upsample_factor: fields.counts("upsample_factor")?.unwrap_or(default.upsample_factor),
            patch_size: fields.count("patch_size", default.patch_size)?,
            resnet_norm_eps: fields.number("resnet_norm_eps")?.unwrap_or(default.resnet_norm_eps),
            scaling_factor: fields.number("scaling_factor")?.unwrap_or(default.scaling_factor),
            decoder_causal: fields.flag("decoder_causal", default.decoder_causal)?,
            decoder_spatial_padding_mode,
            statistics: None,
        };
        refuse_what_is_not_decoded(fields, levels + 1)?;
        config.validate()?;
        let [temporal, spatial] = config.scales();
        for (field, ratio) in
            [("temporal_compression_ratio", temporal), ("spatial_compression_ratio", spatial)]
        {
            // Without one, diffusers takes another number for tiles, which the encoder's levels come to.
            let told = fields.count_or_null(field)?.unwrap_or(ratio);
            ensure(told == ratio, field, told, || {
                format!("{ratio}, which the decoder's levels come to")
            })?;
        }
        Ok(config)
    }
}

/// What makes decodes differ from one another, or needs more than latents.
fn refuse_what_is_not_decoded(fields: Fields<'_>, blocks: usize) -> Result<(), ConfigError> {
    let noise = "decoder_inject_noise";
    let injects = flags(fields, noise, blocks)?.unwrap_or_default().contains(&true);
    ensure(!injects, noise, "true for some levels", || {
        "false: such decoders add noise of no seed, and no two decodes are alike".into()
    })?;
    let field = "timestep_conditioning";
    ensure(!fields.flag(field, false)?, field, true, || {
        "false: decoders that denoise latents at a timestep are not supported".into()
    })?;
    let field = "patch_size_t";
    let frames = fields.count(field, 1)?;
    ensure(frames == 1, field, frames, || "1: frames that lie in channels are not supported".into())
}

/// A flag for each of so many entries, of which all may be told by one.
fn flags(
    fields: Fields<'_>,
    field: &'static str,
    entries: usize,
) -> Result<Option<Vec<bool>>, ConfigError> {
    match fields.get(field) {
        Some(&Value::Bool(all)) => Ok(Some(vec![all; entries])),
        _ => fields.flags(field),
    }
}

fn upsample_types(fields: Fields<'_>) -> Result<Option<Vec<UpsampleType>>, ConfigError> {
    const FIELD: &str = "upsample_type";
    const EXPECTED: &str = "a list of \"spatial\", \"temporal\" and \"spatiotemporal\"";
    let Some(value) = fields.get(FIELD) else { return Ok(None) };
    let list = value.as_array().ok_or_else(|| wrong(FIELD, value, EXPECTED))?;
    let of_name = |value: &Value| {
        let named = |doubles: &UpsampleType| value.as_str() == Some(doubles.name());
        let found = UpsampleType::ALL.into_iter().find(named);
        found.ok_or_else(|| wrong(FIELD, value, EXPECTED))
    };
    list.iter().map(of_name).collect::<Result<_, _>>().map(Some)
}

fn padding_mode(fields: Fields<'_>) -> Result<Option<Edge>, ConfigError> {
    const FIELD: &str = "decoder_spatial_padding_mode";
    let Some(value) = fields.get(FIELD) else { return Ok(None) };
    let found = PADDING_MODES.iter().find(|(name, _)| value.as_str() == Some(name));
    let expected = "\"zeros\", \"reflect\" or \"replicate\"";
    found.map(|&(_, edge)| Some(edge)).ok_or_else(|| wrong(FIELD, value, expected))
}
