//! Typed access to the fields of a config, and the checks that families share.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::config::ConfigError;
use crate::files::text::quoted;

/// Most channels of anything.
pub(crate) const MAX_CHANNELS: u32 = 1 << 16;
/// Scaling and shift beyond this leave nothing of f32 latents.
pub(crate) const MAX_MAGNITUDE: f64 = 1e6;

/// The fields of a config. Every error names the field, which serde's derive does not.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(crate) fn get(self, field: &str) -> Option<&'a Value> {
        self.0.get(field)
    }

    pub(crate) fn count(self, field: &'static str, default: u32) -> Result<u32, ConfigError> {
        self.get(field).map_or(Ok(default), |value| count(field, value))
    }

    pub(crate) fn count_or_null(self, field: &'static str) -> Result<Option<u32>, ConfigError> {
        match self.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => count(field, value).map(Some),
        }
    }

    pub(crate) fn counts(self, field: &'static str) -> Result<Option<Vec<u32>>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let list =
            value.as_array().ok_or_else(|| wrong(field, value, "a list of whole numbers"))?;
        list.iter().map(|value| count(field, value)).collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn counts_or_null(
        self,
        field: &'static str,
    ) -> Result<Option<Vec<u32>>, ConfigError> {
        match self.get(field) {
            Some(Value::Null) => Ok(None),
            _ => self.counts(field),
        }
    }

    pub(crate) fn number(self, field: &'static str) -> Result<Option<f64>, ConfigError> {
        match self.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_f64().map(Some).ok_or_else(|| wrong(field, value, "a number or null"))
            }
        }
    }

    pub(crate) fn numbers(self, field: &'static str) -> Result<Option<Vec<f64>>, ConfigError> {
        let value = match self.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let list =
            value.as_array().ok_or_else(|| wrong(field, value, "a list of numbers or null"))?;
        let numbers = list
            .iter()
            .map(|value| value.as_f64().ok_or_else(|| wrong(field, value, "only numbers in it")));
        numbers.collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn flags(self, field: &'static str) -> Result<Option<Vec<bool>>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let list =
            value.as_array().ok_or_else(|| wrong(field, value, "a list of true and false"))?;
        let flag = |value: &Value| {
            value.as_bool().ok_or_else(|| wrong(field, value, "only true and false in it"))
        };
        list.iter().map(flag).collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn flag(self, field: &'static str, default: bool) -> Result<bool, ConfigError> {
        self.get(field).map_or(Ok(default), |value| {
            value.as_bool().ok_or_else(|| wrong(field, value, "true or false"))
        })
    }
}

pub(crate) fn count(field: &'static str, value: &Value) -> Result<u32, ConfigError> {
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| wrong(field, value, "a whole number below 4294967296"))
}

/// A JSON value for an error message, shortened.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".into(),
    }
}

pub(crate) fn wrong(field: &'static str, value: &Value, expected: &str) -> ConfigError {
    ConfigError::Field { field, found: shown(value), expected: expected.into() }
}

pub(crate) fn ensure(
    holds: bool,
    field: &'static str,
    found: impl Display,
    expected: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Field { field, found: found.to_string(), expected: expected() })
}

pub(crate) fn ensure_within(
    field: &'static str,
    value: u32,
    least: u32,
    most: u32,
) -> Result<(), ConfigError> {
    ensure((least..=most).contains(&value), field, value, || {
        format!("a whole number from {least} to {most}")
    })
}

pub(crate) fn check_magnitude(field: &'static str, value: f64) -> Result<(), ConfigError> {
    ensure(value.abs() <= MAX_MAGNITUDE, field, value, || {
        format!("a number from -{MAX_MAGNITUDE:e} to {MAX_MAGNITUDE:e}")
    })
}

pub(crate) fn check_scaling(field: &'static str, value: f64) -> Result<(), ConfigError> {
    let least = MAX_MAGNITUDE.recip();
    ensure((least..=MAX_MAGNITUDE).contains(&value), field, value, || {
        format!("a number from {least:e} to {MAX_MAGNITUDE:e}")
    })
}

/// Mean and standard deviation of latents of so many channels; the field that says how many is named.
pub(crate) fn check_mean_and_std(
    channels: (&'static str, u32),
    mean: Option<&[f64]>,
    std: Option<&[f64]>,
) -> Result<(), ConfigError> {
    check_per_channel("latents_mean", channels, mean, |_| true)?;
    // Latents are scaled in f32, where the least numbers are 0.
    check_per_channel("latents_std", channels, std, |std| std as f32 > 0.0)
}

fn check_per_channel(
    field: &'static str,
    (of_channels, channels): (&'static str, u32),
    values: Option<&[f64]>,
    accepts: impl Fn(f64) -> bool,
) -> Result<(), ConfigError> {
    let Some(values) = values else { return Ok(()) };
    let found = values.len();
    ensure(found == channels as usize, field, format_args!("a list of {found}"), || {
        format!("{channels} numbers, one for each latent channel (`{of_channels}`)")
    })?;
    for &value in values {
        check_magnitude(field, value)?;
        ensure(accepts(value), field, value, || "numbers above 0".into())?;
    }
    Ok(())
}
