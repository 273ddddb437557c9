//! The files of a folder, and which of them are its weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::index;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::file_names::{self as names, Form, Shard};
use crate::files::storage::broken_link;
use crate::files::text::{escaped, listed};

const CONFIG: &str = "config.json";
/// Variants that are the plain weights in another type, the most exact first. Others are other
/// weights.
const TYPES: [&str; 3] = ["fp32", "fp16", "bf16"];

/// Whether a variant is the plain weights in another type.
pub(crate) fn is_type(variant: &str) -> bool {
    TYPES.contains(&variant) || variant.starts_with("fp8")
}

/// What lies in a folder.
pub(super) struct Listing {
    pub(super) folder: PathBuf,
    /// Names of files and of broken links, sorted.
    pub(super) files: Vec<String>,
    /// Names of folders, sorted.
    pub(super) folders: Vec<String>,
}

/// The weights that were chosen.
pub(super) struct Chosen {
    /// Empty for the plain ones.
    pub(super) variant: String,
    pub(super) source: Source,
}

pub(super) enum Source {
    Whole(PathBuf),
    Index(PathBuf),
    Shards(Vec<PathBuf>),
}

/// The files of one variant, by name.
#[derive(Default)]
struct Set<'a> {
    whole: Option<&'a str>,
    index: Option<&'a str>,
    shard: Option<Shard<'a>>,
}

impl Listing {
    pub(super) fn read(folder: &Path) -> Result<Self, CheckpointError> {
        let entries =
            std::fs::read_dir(folder).map_err(|source| CheckpointError::io(folder, source))?;
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for entry in entries {
            let entry = entry.map_err(|source| CheckpointError::io(folder, source))?;
            // No name that we look for is not UTF-8.
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.path().is_dir() {
                true => folders.push(name),
                false => files.push(name),
            }
        }
        files.sort();
        folders.sort();
        Ok(Self { folder: folder.into(), files, folders })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The config in the folder.
    pub(super) fn config(&self) -> Option<PathBuf> {
        self.files.iter().any(|name| name == CONFIG).then(|| self.path(CONFIG))
    }

    /// The only safetensors file that has another name than diffusers gives.
    pub(super) fn only_file(&self) -> Option<PathBuf> {
        let mut named = self.files.iter().filter(|name| name.ends_with(".safetensors"));
        let only = named.next()?;
        named.next().is_none().then(|| self.path(only)).filter(|path| path.is_file())
    }

    /// Whether there are weights under names that diffusers gives.
    pub(super) fn has_weights(&self) -> bool {
        self.files.iter().any(|name| names::weights(name).is_some())
    }

    fn sets(&self) -> BTreeMap<&str, Set<'_>> {
        let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
        for name in &self.files {
            let Some((variant, form)) = names::weights(name) else { continue };
            let set = sets.entry(variant).or_default();
            match form {
                Form::Whole => set.whole = Some(name),
                // Sorted names put today's after the older one.
                Form::Index => set.index = Some(name),
                Form::Shard(shard) => set.shard = Some(shard),
            }
        }
        sets
    }

    /// The weights of that variant, or else the plain ones, else those in another type, else the
    /// only ones; `None` if there are none at all.
    ///
    /// # Errors
    /// That the variant is not there or cannot be told, and files of it that are missing.
    pub(super) fn choose(&self, wanted: Option<&str>) -> Result<Option<Chosen>, CheckpointError> {
        let sets = self.sets();
        if sets.is_empty() {
            return Ok(None);
        }
        let there = |apart_from: Option<&str>| {
            let others = sets.keys().filter(|&&variant| Some(variant) != apart_from);
            listed(others.map(|variant| match *variant {
                "" => "the plain one without a name".into(),
                variant => escaped(variant),
            }))
        };
        let refuse =
            |problem: String| Err(CheckpointError::Variant { path: self.folder.clone(), problem });
        let mut preferred = std::iter::once("").chain(TYPES);
        let variant = match wanted {
            Some(wanted) if sets.contains_key(wanted) => wanted,
            Some(wanted) => {
                let (wanted, there) = (escaped(wanted), there(None));
                return refuse(format!("has no variant {wanted} of its weights; it has {there}"));
            }
            None => match preferred.find(|variant| sets.contains_key(variant)) {
                Some(variant) => variant,
                None if sets.len() > 1 => {
                    let there = there(None);
                    return refuse(format!(
                        "has several variants of its weights, which are not the same: {there}; \
                         choose one"
                    ));
                }
                None => sets.keys().next().copied().unwrap_or_default(),
            },
        };
        let source = self.source(&sets[variant]).map_err(|problem| {
            let others = match sets.len() {
                1 => String::new(),
                _ => format!("; it also has the variant(s) {}", there(Some(variant))),
            };
            let found = format!(" that can be read: {problem}{others}");
            CheckpointError::no_weights(&self.folder, self.config(), found)
        })?;
        Ok(Some(Chosen { variant: variant.into(), source }))
    }

    fn source(&self, set: &Set<'_>) -> Result<Source, String> {
        let there = |name: &str| match broken_link(&self.path(name)) {
            Some(problem) => Err(format!("`{}`: {problem}", escaped(name))),
            None => Ok(self.path(name)),
        };
        match set {
            Set { whole: Some(name), .. } => there(name).map(Source::Whole),
            Set { index: Some(name), .. } => there(name).map(Source::Index),
            Set { shard: Some(shard), .. } => shards(&self.folder, *shard).map(Source::Shards),
            Set { .. } => Err("nothing of it is there".into()),
        }
    }
}

/// All shards of the set of one, which lie in `folder`.
///
/// # Errors
/// The first that is missing.
pub(super) fn shards(folder: &Path, shard: Shard<'_>) -> Result<Vec<PathBuf>, String> {
    let files = shard.siblings().map(|name| {
        let file = folder.join(&name);
        match index::missing(&file) {
            Some(missing) => Err(format!("shard `{}` {missing}", escaped(&name))),
            None => Ok(file),
        }
    });
    files.collect()
}
