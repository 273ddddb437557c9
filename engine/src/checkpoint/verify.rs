//! Whether a checkpoint has the weights that a decoder reads.

use std::collections::BTreeMap;
use std::path::Path;

use super::tensors::Stored;
use crate::files::text;

/// Compares weights by canonical name with the names and shapes that a decoder reads. The error is
/// about no `path` and no config yet.
pub(crate) fn compare<'a>(
    weights: &BTreeMap<String, Stored>,
    expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
) -> Result<(), WeightsError> {
    let expected: BTreeMap<_, _> = expected.into_iter().collect();
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    for (&name, &shape) in &expected {
        match weights.get(name) {
            None => missing.push(name.to_owned()),
            Some(stored) if stored.shape != shape => misshapen.push(Misshapen {
                name: name.into(),
                expected: shape.into(),
                found: stored.shape.clone(),
            }),
            Some(_) => {}
        }
    }
    let unread = weights.iter().filter(|(name, _)| !expected.contains_key(name.as_str()));
    let extra: Vec<_> = unread.map(|(_, stored)| stored.raw_name.clone()).collect();
    if missing.is_empty() && extra.is_empty() && misshapen.is_empty() {
        return Ok(());
    }
    Err(WeightsError {
        path: Path::new("").into(),
        config: "".into(),
        expected: expected.len(),
        missing,
        extra,
        misshapen: misshapen.into(),
        class: None,
    })
}

/// A weight of another shape than its decoder has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// Its canonical name.
    pub name: String,
    /// What the decoder has.
    pub expected: Vec<usize>,
    /// What the checkpoint has.
    pub found: Vec<usize>,
}

impl std::fmt::Display for Misshapen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [found, expected] = [&self.found, &self.expected].map(|extents| text::shape(extents));
        write!(f, "{} is {found}, expected {expected}", text::escaped(&self.name))
    }
}

/// Every difference between the weights of a checkpoint and those that its decoder reads. The
/// message lists twelve of each kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct WeightsError {
    /// The file or folder of the weights.
    pub path: Box<Path>,
    /// Where the config is from, for messages.
    pub config: Box<str>,
    /// How many weights the decoder reads.
    pub expected: usize,
    /// Weights that the decoder reads and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Weights that no part of the decoder reads.
    pub extra: Vec<String>,
    /// Weights of another shape.
    pub misshapen: Box<[Misshapen]>,
    /// The class of diffusers that the config is of, unless it is inferred from the weights.
    pub class: Option<&'static str>,
}

impl WeightsError {
    fn message(&self) -> String {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            let (count, list) = (self.missing.len(), text::names(&self.missing));
            parts.push(format!("{count} of {} weights missing ({list})", self.expected));
        }
        if !self.extra.is_empty() {
            parts.push(format!("{} unexpected ({})", self.extra.len(), text::names(&self.extra)));
        }
        if !self.misshapen.is_empty() {
            let (count, list) = (self.misshapen.len(), text::listed(self.misshapen.iter()));
            parts.push(format!("{count} misshapen ({list})"));
        }
        format!(
            "`{}` does not hold the decoder that {} describes: {}; {}",
            self.path.display(),
            self.config,
            parts.join(", "),
            self.advice()
        )
    }

    fn advice(&self) -> String {
        let incomplete = self.extra.is_empty() && self.misshapen.is_empty();
        match (self.class, incomplete) {
            (None, true) => "the file is incomplete, fetch it again".into(),
            (None, false) => "such a decoder is not supported".into(),
            (Some(_), true) => {
                "fetch the weights again, or give the config that belongs to them".into()
            }
            (Some(class), false) => {
                format!("give the config that belongs to these weights, if they are an {class}'s")
            }
        }
    }
}
