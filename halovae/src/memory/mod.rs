//! What the system says about memory; `None` where it has no `/proc`.

mod control_group;

use std::fs::read_to_string;

/// The most bytes of physical memory that this process has had.
pub fn process_peak() -> Option<u64> {
    field(&read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Bytes that the machine has.
pub fn total() -> Option<u64> {
    field(&read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Bytes that this process can still have: the least of what the machine has free, what is left to
/// its control group, and what is left of its own limits (`ulimit -v`, `ulimit -d`).
pub fn available() -> Option<u64> {
    available_to_each(1)
}

/// The same for each of so many processes of this machine, and of one control group, that take as
/// much.
pub fn available_to_each(processes: u32) -> Option<u64> {
    let own =
        read_to_string("/proc/self/limits").ok().zip(read_to_string("/proc/self/status").ok());
    let own = own.and_then(|(limits, status)| left_of_limits(&limits, &status));
    let machine =
        read_to_string("/proc/meminfo").ok().and_then(|meminfo| left_of_machine(&meminfo));
    let shared = [machine, control_group::left()].into_iter().flatten();
    shared.map(|bytes| bytes / u64::from(processes.max(1))).chain(own).min()
}

/// Whether the address space of this process is limited.
pub fn is_address_space_limited() -> bool {
    let limits = read_to_string("/proc/self/limits");
    limits.is_ok_and(|limits| limit(&limits, ADDRESS_SPACE).is_some())
}

const ADDRESS_SPACE: &str = "Max address space";
const DATA: &str = "Max data size";

/// What a machine has free without swapping, or may promise where it promises no more than it has.
fn left_of_machine(meminfo: &str) -> Option<u64> {
    let strict =
        read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() == "2");
    let promised =
        || Some(field(meminfo, "CommitLimit:")?.saturating_sub(field(meminfo, "Committed_AS:")?));
    let free = field(meminfo, "MemAvailable:");
    [free, strict.then(promised).flatten()].into_iter().flatten().min()
}

/// What is left of a process's own limits, if it has any.
fn left_of_limits(limits: &str, status: &str) -> Option<u64> {
    let left = |name, used| Some(limit(limits, name)?.saturating_sub(field(status, used)?));
    [left(ADDRESS_SPACE, "VmSize:"), left(DATA, "VmData:")].into_iter().flatten().min()
}

/// The soft limit of that name, in bytes, unless there is none.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The bytes in a line such as `VmHWM:     1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "Name:\thalovae\nVmPeak:\t  20 kB\nVmHWM:\t   12 kB\n";
        assert_eq!(field(text, "VmHWM:"), Some(12 * 1024));
        assert_eq!(field(text, "VmRSS:"), None);
        assert_eq!(field("VmHWM: many kB", "VmHWM:"), None);
    }

    #[test]
    fn the_narrower_limit_counts() {
        let limits = |space, data| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max data size             {data}            unlimited            bytes     \n\
                 Max stack size            8388608              unlimited            bytes     \n\
                 Max address space         {space}            unlimited            bytes     \n"
            )
        };
        let status = "VmSize:\t  100 kB\nVmData:\t   10 kB\n";
        let left = |space, data| left_of_limits(&limits(space, data), status);
        assert_eq!(left("unlimited", "unlimited"), None);
        assert_eq!(left("307200", "unlimited"), Some(200 * 1024));
        assert_eq!(left("307200", "20480"), Some(10 * 1024));
        assert_eq!(left("unlimited", "20480"), Some(10 * 1024));
        assert_eq!(left("1024", "unlimited"), Some(0));
        assert_eq!(left_of_limits("", status), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_all_of_them() {
        assert!(process_peak().is_some_and(|bytes| bytes > 0));
        assert!(available().unwrap_or(0) <= total().unwrap_or(0));
    }
}
