//! What the readers of checkpoints ask of a family of VAEs.

use std::collections::BTreeMap;

use super::config::{ConfigError, VaeConfig};
use super::fields::Fields;
use super::keys::Names;
use super::signs::Sign;
use super::tensors::{RawTensor, Stored};
use crate::files::storage::Storage;

/// A family of VAEs: how its files are known, and how they become a config and weights.
///
/// Each has a folder beside this file; [`super::registry`] lists them.
pub(crate) trait Family: Sync {
    fn about(&self) -> &'static About;

    /// The config in these fields, validated. Absent fields take the defaults of diffusers' class.
    ///
    /// # Errors
    /// The first field that cannot be.
    fn parse(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError>;

    /// As [`parse`](Self::parse), of fields without a class, beside weights that are of this family.
    ///
    /// # Errors
    /// As there.
    fn parse_without_class(&self, fields: Fields<'_>) -> Result<Box<dyn VaeConfig>, ConfigError> {
        self.parse(fields)
    }

    /// Released models that have it, with what matters for their latents: one of each kind.
    fn released(&self) -> Vec<Released>;

    /// How a file with these names is to be read; they are those under the VAE's prefix, without it.
    fn names(&self, names: &mut dyn Iterator<Item = &str>) -> Box<dyn Names>;

    /// The config with what the files beside it say.
    ///
    /// # Errors
    /// What of them is damaged or of another VAE, as the end of a sentence.
    fn complete(
        &self,
        config: Box<dyn VaeConfig>,
        _found: &Found<'_>,
    ) -> Result<Box<dyn VaeConfig>, String> {
        Ok(config)
    }

    /// The config that weights without one belong to. Not yet validated.
    ///
    /// # Errors
    /// What is missing or odd, as the end of a sentence.
    fn infer(&self, found: &Found<'_>) -> Result<Inferred, String>;
}

/// What is always the same of a family.
pub(crate) struct About {
    /// Classes of diffusers. The first is its own, the others' configs have the same fields.
    pub(crate) classes: &'static [&'static str],
    /// Models that have it, for messages.
    pub(crate) models: &'static str,
    /// A weight of every decoder of this family, under each of its names.
    pub(crate) anchors: &'static [&'static str],
    /// As [`super::signs::witness`] reads it.
    pub(crate) evidence: &'static [&'static [Sign]],
    /// Tensors beside the decoder's that tell the space of a pipeline's latents, where the config does
    /// not.
    pub(crate) space: &'static [&'static str],
    /// Fields of its configs that those of the first of all families lack.
    pub(crate) own_fields: &'static [&'static str],
}

impl About {
    /// Its class in diffusers.
    pub(crate) fn class(&self) -> &'static str {
        self.classes[0]
    }
}

/// Models with VAEs of one shape.
#[derive(Debug)]
#[non_exhaustive]
pub struct Released {
    /// Their names.
    pub models: &'static str,
    /// The config that their VAEs have.
    pub config: Box<dyn VaeConfig>,
}

/// What there is of a VAE beside its config.
pub(crate) struct Found<'a> {
    /// The decoder's weights by canonical name.
    pub(crate) weights: &'a BTreeMap<String, Stored>,
    /// All tensors of the files, those of other models included, as they are named there.
    pub(crate) tensors: &'a [RawTensor],
    pub(crate) files: &'a [Storage],
    /// What precedes the names of the VAE.
    pub(crate) prefix: &'a str,
    /// The class of the pipeline whose folder the VAE's lies in.
    pub(crate) pipeline: Option<&'a str>,
}

impl Found<'_> {
    /// The values of a vector among the VAE's tensors, if it is there in a type that is read.
    pub(crate) fn vector(&self, name: &str) -> Option<Vec<f32>> {
        let find = |tensor: &&RawTensor| tensor.name.strip_prefix(self.prefix) == Some(name);
        self.tensors.iter().find(find)?.vector(self.files)
    }
}

/// A config from weights, and what of it they do not tell.
#[derive(Debug)]
pub(crate) struct Inferred {
    pub(crate) config: Box<dyn VaeConfig>,
    /// The model that the VAE is part of, if that is told.
    pub(crate) model: Option<&'static str>,
    /// Fields that nothing tells, but for those of the latents' space.
    pub(crate) guessed: Vec<&'static str>,
    /// Where nothing tells the latents' space.
    pub(crate) untold: Option<UntoldSpace>,
}

impl Inferred {
    /// Nothing had to be inferred.
    pub(crate) fn given(config: Box<dyn VaeConfig>) -> Self {
        Self { config, model: None, guessed: Vec::new(), untold: None }
    }
}

/// Why it is not known how latents of a pipeline become what the decoder takes.
#[derive(Clone, Debug)]
pub(crate) struct UntoldSpace {
    /// The fields of the config that are guessed in its place.
    pub(crate) fields: &'static [&'static str],
    /// Models whose parts the file has, and of which no VAE is a part at once.
    pub(crate) contradicting: Vec<&'static str>,
    /// What makes a guess useless, as the end of a sentence.
    pub(crate) reason: &'static str,
}
