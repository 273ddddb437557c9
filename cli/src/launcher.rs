//! What the program that started this process says of it.

use std::env;
use std::ffi::OsString;

/// A process among those that were started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Which one this is.
    pub(crate) rank: u32,
    /// How many there are, if the launcher tells.
    pub(crate) size: Option<u32>,
}

/// Rank and size as Open MPI's `mpirun` has them; as MPICH's, Intel's and Slurm's do (PMI); and as
/// `srun --mpi=pmix` does, where the size is that of the job step.
const VARIABLES: [(&str, &str); 3] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
];

/// The place that an MPI launcher gave this process; `None` if none started it.
pub(crate) fn launch() -> Option<Launch> {
    find(|name| env::var_os(name))
}

fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<Launch> {
    let number = |name| variable(name)?.to_str()?.parse().ok();
    VARIABLES
        .iter()
        .find_map(|&(rank, size)| Some(Launch { rank: number(rank)?, size: number(size) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_launcher_is_understood() {
        let with = |set: &[(&str, &str)]| {
            find(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("OMPI_COMM_WORLD_RANK", "x")]), None);
        for (rank, size) in VARIABLES {
            let launch = Launch { rank: 3, size: Some(8) };
            assert_eq!(with(&[(rank, "3"), (size, "8")]), Some(launch));
            assert_eq!(with(&[(rank, "3")]), Some(Launch { rank: 3, size: None }));
        }
    }
}
