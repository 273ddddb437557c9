//! Files of the user's cache folder: what was compiled once and need not be again.

use std::path::Path;

use halovae_engine::cache;
use twox_hash::XxHash3_64;

/// Writes a file that another process never reads half of, with a hash that tells damage. That it cannot
/// be written only means that it is made again next time.
pub(crate) fn write(file: &Path, content: &[u8]) {
    let mut whole = XxHash3_64::oneshot(content).to_le_bytes().to_vec();
    whole.extend_from_slice(content);
    cache::replace(file, &whole);
}

/// The same, but what another process wrote before stays, unless it is damaged.
pub(crate) fn write_first(file: &Path, content: &[u8]) {
    let half = file.with_extension(format!("{}.first", std::process::id()));
    write(&half, content);
    // Unlike a renaming, a link does not replace what is there; not all file systems have links.
    if std::fs::hard_link(&half, file).is_err() && read(file).is_none() {
        let _ = std::fs::rename(&half, file);
    }
    let _ = std::fs::remove_file(&half);
}

/// What [`write`] wrote; nothing if the file is not there or damaged.
pub(crate) fn read(file: &Path) -> Option<Vec<u8>> {
    let whole = std::fs::read(file).ok()?;
    let (hash, content) = whole.split_first_chunk::<8>()?;
    (XxHash3_64::oneshot(content).to_le_bytes() == *hash).then(|| content.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/inside/file.cubin");
        assert_eq!(read(&file), None);
        for content in [b"one".as_slice(), b"another one"] {
            write(&file, content);
            assert_eq!(read(&file).as_deref(), Some(content));
        }
        write_first(&file, b"too late");
        assert_eq!(read(&file).as_deref(), Some(b"another one".as_slice()));
        let first = file.with_extension("first");
        write_first(&first, b"in time");
        assert_eq!(read(&first).as_deref(), Some(b"in time".as_slice()));
        std::fs::remove_file(first).unwrap();
        let mut damaged = std::fs::read(&file).unwrap();
        damaged[10] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        assert_eq!(read(&file), None);
        write_first(&file, b"again");
        assert_eq!(read(&file).as_deref(), Some(b"again".as_slice()));
        std::fs::write(&file, b"short").unwrap();
        assert_eq!(read(&file), None);
        let below_a_file = file.join("file.cubin");
        write(&below_a_file, b"nowhere");
        let left = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing is left behind");
    }
}
