//! All files that a command writes, held against each other and against those that it reads.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::OutputError;
use crate::identity::Identity;
use crate::place::Places;

/// A file that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The option that names it, as a field: `output`.
    pub option: &'static str,
    /// Its name.
    pub path: PathBuf,
}

impl Written {
    /// The file of that name, which the option asks for.
    pub fn new(option: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { option, path: path.into() }
    }
}

/// Checks that every file can be written, that no two of them are one, and that none of them is one
/// of those that are `read`, whatever names and links lead to it.
///
/// # Errors
/// [`OutputError`].
pub fn check_all(written: &[Written], read: &[PathBuf]) -> Result<(), OutputError> {
    let mut known = HashMap::new();
    for path in read {
        for identity in Identity::all_of(path) {
            known.insert(identity, (None, path));
        }
    }
    let mut places = Places::default();
    for Written { option, path } in written {
        places.check(path)?;
        for identity in Identity::all_of(path) {
            match known.get(&identity) {
                Some(&(None, read)) => {
                    let (path, read) = (path.clone(), read.clone());
                    return Err(OutputError::Read { option, path, read });
                }
                Some(&(Some(other_option), other)) => {
                    let (path, other) = (path.clone(), other.clone());
                    return Err(OutputError::Twice { option, path, other_option, other });
                }
                None => {}
            }
        }
        known.extend(Identity::all_of(path).into_iter().map(|id| (id, (Some(*option), path))));
    }
    Ok(())
}
