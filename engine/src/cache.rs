//! Files of the user's cache folder: what backends found out or compiled once and need not again.

use std::path::{Path, PathBuf};

/// Where programs of this user keep what they can make again: `halovae` in the system's folder for
/// that, if there is one.
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_CACHE_HOME").or_else(|| match std::env::consts::OS {
        "windows" => variable("LOCALAPPDATA"),
        "macos" => variable("HOME").map(|home| home.join("Library/Caches")),
        _ => variable("HOME").map(|home| home.join(".cache")),
    });
    Some(folder?.join("halovae"))
}

/// Writes a file that another process never reads half of. That it cannot be written only means that
/// it is made again next time.
pub fn replace(file: &Path, content: &[u8]) {
    let half = file.with_extension(format!("{}.tmp", std::process::id()));
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder
        .and_then(|()| std::fs::write(&half, content))
        .and_then(|()| std::fs::rename(&half, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/inside/file.txt");
        for content in ["one", "another one"] {
            replace(&file, content.as_bytes());
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        }
        let below_a_file = file.join("file.txt");
        replace(&below_a_file, b"nowhere");
        let left = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing is left behind");
    }
}
