//! What is left to the control group of this process and to those that it is in, in either version.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Files of one version of control groups.
struct Version {
    /// Where they are mounted.
    root: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The lines of `memory.stat` that count pages of files, which can be had back.
    files: [&'static str; 2],
}

const V2: Version = Version {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    files: ["inactive_file ", "active_file "],
};

const V1: Version = Version {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    files: ["total_inactive_file ", "total_active_file "],
};

/// Bytes; `None` without a limit.
pub(super) fn left() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    let left = groups.lines().filter_map(|line| {
        let (version, path) = group(line)?;
        left_in(&version, Path::new(version.root), path)
    });
    left.min()
}

/// The version and the path in a line such as `4:memory:/user.slice` or `0::/user.slice`.
fn group(line: &str) -> Option<(Version, &str)> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    match (number, controllers) {
        ("0", "") => Some((V2, path)),
        (_, controllers) if controllers.split(',').any(|one| one == "memory") => Some((V1, path)),
        _ => None,
    }
}

/// The least of what is left to a group and to all above it. In a container the root is the
/// container's own group, and the path may lead nowhere.
fn left_in(version: &Version, root: &Path, path: &str) -> Option<u64> {
    let folder: PathBuf = root.join(path.trim_start_matches('/'));
    let above = folder.ancestors().take_while(|folder| folder.starts_with(root));
    above.filter_map(|folder| left_of(version, folder)).min()
}

fn left_of(version: &Version, folder: &Path) -> Option<u64> {
    let number = |name| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(version.limit)?;
    let usage = number(version.usage)?;
    let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let of =
        |name| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let files: u64 = version.files.iter().filter_map(|&name| of(name)).sum();
    Some(limit.saturating_sub(usage.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_their_group() {
        let path = |line| group(line).map(|(version, path)| (version.limit, path.to_owned()));
        assert_eq!(path("0::/a:b/c"), Some(("memory.max", "/a:b/c".into())));
        assert_eq!(path("4:cpu,memory:/a"), Some(("memory.limit_in_bytes", "/a".into())));
        assert_eq!(path("3:cpuset:/a"), None);
        assert_eq!(path("nonsense"), None);
    }

    #[test]
    fn the_narrowest_group_counts() {
        for version in [V1, V2] {
            let root = tempfile::tempdir().unwrap();
            let write = |folder: &str, limit: &str, usage: &str| {
                let folder = root.path().join(folder);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(version.limit), limit).unwrap();
                std::fs::write(folder.join(version.usage), usage).unwrap();
            };
            let left = |path| left_in(&version, root.path(), path);
            assert_eq!(left("/a/b"), None);
            write("a/b", "max\n", "70\n");
            assert_eq!(left("/a/b"), None);
            write("a", "1000\n", "300\n");
            assert_eq!(left("/a/b"), Some(700));
            write("a/b", "500\n", "100\n");
            assert_eq!(left("/a/b"), Some(400));
            assert_eq!(left("/a"), Some(700));
            // Pages of files do not count as used.
            let [inactive, active] = version.files;
            let stat = format!("anon 10\n{inactive}60\n{active}30\n");
            std::fs::write(root.path().join("a/b/memory.stat"), stat).unwrap();
            assert_eq!(left("/a/b"), Some(490));
            // The paths of a container's groups are those outside of it.
            write("", "200\n", "50\n");
            assert_eq!(left("/docker/elsewhere"), Some(150));
        }
    }
}
