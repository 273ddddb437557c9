//! The families that are decoded, and which of them a config or a file is of.

use serde_json::{Map, Value};

use super::autoencoder_kl::AutoencoderKl;
use super::autoencoder_kl_flux2::AutoencoderKlFlux2;
use super::autoencoder_kl_hunyuan_image::AutoencoderKlHunyuanImage;
use super::autoencoder_kl_ltx::{AutoencoderKlLtx2Video, AutoencoderKlLtxVideo};
use super::autoencoder_kl_wan::{
    AutoencoderKlQwenImage, AutoencoderKlQwenImage21, AutoencoderKlWan,
};
use super::config::{ConfigError, MAX_JSON_BYTES, VaeConfig};
use super::families::{self, UnsupportedFamily};
use super::family::{Family, Released};
use super::fields::{Fields, shown};
use super::signs::witness;
use crate::files::sniff::{FileKind, NotJson, parse_json};
use crate::files::text::listed;

/// Every family that is decoded, those before others whose evidence they have as well. The first is that
/// of configs without a class and of files without evidence for any other, supported or not.
const FAMILIES: &[&dyn Family] = &[
    &AutoencoderKl,
    &AutoencoderKlFlux2,
    &AutoencoderKlHunyuanImage,
    &AutoencoderKlQwenImage21,
    &AutoencoderKlWan,
    &AutoencoderKlQwenImage,
    &AutoencoderKlLtx2Video,
    &AutoencoderKlLtxVideo,
];

/// What the tensors of a file are evidence of, and the name of the tensor that tells it.
pub(crate) enum Evidence<'a> {
    /// No tensor tells the first of all families where nothing is left of it.
    Family(&'static dyn Family, Option<&'a str>),
    Unsupported(&'static UnsupportedFamily, &'a str),
}

/// Reads and validates the text of a `config.json`, of any family that is decoded. Absent fields take
/// the defaults of diffusers' class; unknown ones are ignored. Without a class it is that of the family whose
/// own fields are there, else an `AutoencoderKL`'s.
///
/// # Errors
/// [`ConfigError`] names the first thing that cannot be: no JSON, another class, fields that several classes
/// have where none is named, a field.
pub fn parse_config(json: &[u8]) -> Result<Box<dyn VaeConfig>, ConfigError> {
    match ConfigText::parse(json)? {
        ConfigText::Of(config) => Ok(config),
        ConfigText::OfNoClass(fields) => fields.alone(),
    }
}

/// What the text of a config tells.
pub(crate) enum ConfigText {
    Of(Box<dyn VaeConfig>),
    OfNoClass(ClasslessFields),
}

/// The fields of a config that names no class.
pub(crate) struct ClasslessFields(Map<String, Value>);

impl ConfigText {
    /// Reads and validates a config whose class is told.
    ///
    /// # Errors
    /// As [`parse_config`].
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let map = object(json)?;
        let fields = Fields(&map);
        let Some(class) = fields.get(CLASS_NAME) else {
            return Ok(Self::OfNoClass(ClasslessFields(map)));
        };
        let family = class.as_str().and_then(of_class);
        let family = family.ok_or_else(|| unsupported_class(shown(class)))?;
        family.parse(fields).map(Self::Of)
    }
}

impl ClasslessFields {
    /// The config beside weights that are evidence of a family; of the first one where there is none.
    ///
    /// # Errors
    /// As [`parse_config`].
    pub(crate) fn beside(&self, told: &dyn Family) -> Result<Box<dyn VaeConfig>, ConfigError> {
        match told.about().class() == FAMILIES[0].about().class() {
            true => self.alone(),
            false => told.parse_without_class(Fields(&self.0)),
        }
    }

    /// The config without weights: that of the family whose fields these are, else of the first one.
    fn alone(&self) -> Result<Box<dyn VaeConfig>, ConfigError> {
        let fields = Fields(&self.0);
        let known = |field: &&&'static str| fields.get(field).is_some();
        let own = |family: &&'static dyn Family| family.about().own_fields.iter().find(known);
        let mut told = FAMILIES.iter().filter_map(|family| Some((*family, *own(family)?)));
        match (told.next(), told.next()) {
            (None, _) => FAMILIES[0].parse(fields),
            (Some((family, _)), None) => family.parse(fields),
            (Some((_, field)), Some(_)) => {
                let has = |family: &&&dyn Family| family.about().own_fields.contains(&field);
                let of = FAMILIES.iter().filter(has).map(|family| family.about().class());
                Err(ConfigError::NoClass { field, classes: listed(of) })
            }
        }
    }
}

/// What names the class in a config.
const CLASS_NAME: &str = "_class_name";

fn object(json: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    if json.len() > MAX_JSON_BYTES {
        return Err(ConfigError::TooLarge { limit: MAX_JSON_BYTES });
    }
    let value = parse_json(json, &FileKind::Json).map_err(|error| match error {
        NotJson::Syntax(error) => ConfigError::Json(error),
        NotJson::Other(found) => ConfigError::OtherFormat { found },
    })?;
    match value {
        Value::Object(map) => Ok(map),
        value => Err(ConfigError::NotAnObject { found: shown(&value) }),
    }
}

/// Released models whose VAEs are decoded, family by family.
pub fn released() -> Vec<Released> {
    FAMILIES.iter().flat_map(|family| family.released()).collect()
}

/// The family of a config.
///
/// # Errors
/// [`ConfigError::Class`] where there is none.
pub(crate) fn of_config(config: &dyn VaeConfig) -> Result<&'static dyn Family, ConfigError> {
    let class = config.class();
    of_class(class).ok_or_else(|| unsupported_class(format!("\"{class}\"")))
}

/// The family that tensors, by name without prefix and shape, are of.
pub(crate) fn of_tensors<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
) -> Evidence<'a> {
    let told = |family: &dyn Family| witness(family.about().evidence, tensors.clone());
    let [first, others @ ..] = FAMILIES else { unreachable!("there is a family") };
    let other = others.iter().find_map(|&family| Some((family, told(family)?)));
    if let Some((family, witness)) = other {
        return Evidence::Family(family, Some(witness));
    }
    match families::of_tensors(tensors.clone()) {
        Some((family, evidence)) => Evidence::Unsupported(family, evidence),
        None => Evidence::Family(*first, told(*first)),
    }
}

/// Whether tensors, by name without prefix and shape, may be those of a family.
pub(crate) fn may_be<'a>(
    family: &dyn Family,
    tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
) -> bool {
    witness(family.about().evidence, tensors).is_some()
}

/// The weights by which the prefix of a VAE is found.
pub(crate) fn anchors() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.about().anchors).copied()
}

/// Whether this is the beginning of a config that is decoded.
pub(crate) fn is_named_in(json: &str) -> bool {
    let names = |family: &&dyn Family| json.contains(&format!("\"{}\"", family.about().class()));
    FAMILIES.iter().any(names)
}

/// The classes that are decoded, with their verb.
pub(crate) fn classes_are() -> String {
    let classes: Vec<_> = FAMILIES.iter().map(|family| family.about().class()).collect();
    match classes.split_last() {
        Some((last, [])) => format!("{last} is"),
        Some((last, others)) => format!("{} and {last} are", others.join(", ")),
        None => unreachable!("there is a family"),
    }
}

/// The models whose VAEs are decoded.
pub(crate) fn models() -> String {
    let models: Vec<_> = FAMILIES.iter().map(|family| family.about().models).collect();
    models.join("; ")
}

fn of_class(class: &str) -> Option<&'static dyn Family> {
    FAMILIES.iter().copied().find(|family| family.about().classes.contains(&class))
}

fn unsupported_class(quoted: String) -> ConfigError {
    let what = families::apposition(&quoted);
    ConfigError::Class { found: quoted, what, supported: classes_are() }
}
