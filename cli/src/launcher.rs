//! What the program that started this process says of it.

mod meeting;

use std::env;
use std::ffi::OsString;

use crate::args::LauncherArg;

/// What started a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Launcher {
    /// `torchrun`, or whatever sets what it does.
    Torch,
    /// One that an MPI library talks to.
    Mpi,
    /// `srun` without anything of MPI.
    Slurm,
}

/// A process among those that were started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) launcher: Launcher,
    /// Which one this is.
    pub(crate) rank: u32,
    /// How many there are; `None` where only an MPI library can tell.
    pub(crate) size: Option<u32>,
}

/// Variables that tell of several processes, without all that makes this one of them: it decodes
/// alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfLaunch {
    /// The variable that tells how many, and the number.
    pub(crate) told: (&'static str, u32),
    /// The variable that says nothing of them, and the one process that it tells of if it is set.
    pub(crate) lacking: (&'static str, Option<u32>),
    /// What starts processes that have all variables.
    pub(crate) starter: &'static str,
}

/// The variables by which a launcher tells a process its place.
struct Variables {
    launcher: Launcher,
    /// What a user types.
    starter: &'static str,
    /// Which process this is.
    rank: &'static str,
    /// How many processes there are.
    size: &'static str,
    /// Without this one, the two above may be of anything.
    also: Option<&'static str>,
    /// How many processes were asked for, where that is told to others than them too.
    asked: &'static [&'static str],
}

const SLURM_STEP: &str = "SLURM_STEP_NUM_TASKS";
/// The last is the one that is named where both say the same.
const SLURM_JOB: &[&str] = &["SLURM_NPROCS", "SLURM_NTASKS"];

/// The launchers. A `torchrun` on each machine may have been started by another one. Open MPI's
/// `mpirun`; MPICH's, Intel's and Slurm's (PMI); `srun --mpi=pmix`, where the size is that of the
/// job step, as with any `srun`. A batch script has a SLURM_PROCID and the job's SLURM_NTASKS too,
/// a shell of `salloc` the latter: neither is a task of a step.
const LAUNCHERS: [Variables; 5] = [
    Variables {
        launcher: Launcher::Torch,
        starter: "torchrun",
        rank: "RANK",
        size: "WORLD_SIZE",
        also: Some("MASTER_ADDR"),
        asked: &[],
    },
    Variables {
        launcher: Launcher::Mpi,
        starter: "mpirun",
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        also: None,
        asked: &[],
    },
    Variables {
        launcher: Launcher::Mpi,
        starter: "mpirun",
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        also: None,
        asked: &[],
    },
    Variables {
        launcher: Launcher::Mpi,
        starter: "srun",
        rank: "PMIX_RANK",
        size: SLURM_STEP,
        also: None,
        asked: SLURM_JOB,
    },
    Variables {
        launcher: Launcher::Slurm,
        starter: "srun",
        rank: "SLURM_PROCID",
        size: SLURM_STEP,
        also: None,
        asked: SLURM_JOB,
    },
];

/// The launchers that may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Any,
    None,
    Only(Launcher),
}

impl From<LauncherArg> for Allowed {
    fn from(arg: LauncherArg) -> Self {
        match arg {
            LauncherArg::Auto => Self::Any,
            LauncherArg::None => Self::None,
            LauncherArg::Torchrun => Self::Only(Launcher::Torch),
            LauncherArg::Mpi => Self::Only(Launcher::Mpi),
            LauncherArg::Slurm => Self::Only(Launcher::Slurm),
        }
    }
}

/// The place that a launcher gave this process; `None` if none started it. A launcher counts if all
/// that it tells its processes is there.
pub(crate) fn launch(allowed: Allowed) -> Option<Launch> {
    find(allowed, |name| env::var_os(name))
}

/// Why the variables of a launcher cannot be used, and are not just those of another program: a launcher
/// that was asked for lacks some; or all are there, and some are no numbers, or the rank is not below the
/// number of ranks.
pub(crate) fn unusable(allowed: Allowed) -> Option<String> {
    find_unusable(allowed, |name| env::var_os(name))
}

/// Whether this process is the one that speaks for all that were started together.
pub(crate) fn speaks(allowed: Allowed) -> bool {
    launch(allowed).is_none_or(|launch| launch.rank == 0)
}

/// Whether stdout is that of `mpirun`, and not of what it writes to, however many processes there are.
pub(crate) fn passes_output_on() -> bool {
    find(Allowed::Only(Launcher::Mpi), |name| env::var_os(name)).is_some()
}

/// What tells of several processes without making this one of them.
pub(crate) fn half_launch(allowed: Allowed) -> Option<HalfLaunch> {
    find_half(allowed, |name| env::var_os(name))
}

impl Variables {
    fn all(&self) -> impl Iterator<Item = &'static str> + Clone {
        [Some(self.rank), Some(self.size), self.also].into_iter().flatten()
    }

    fn launch(&self, variable: &impl Fn(&str) -> Option<OsString>) -> Option<Launch> {
        let Self { launcher, rank, size, also, .. } = *self;
        let (rank, size) =
            (number(variable, rank)?, number(variable, size).filter(|&size| size > 0));
        // An MPI library knows the size itself.
        let is_whole = size.is_some() || (cfg!(feature = "mpi") && launcher == Launcher::Mpi);
        let is_sure = also.is_none_or(|also| is_set(variable, also));
        (is_whole && is_sure).then_some(Launch { launcher, rank, size })
    }

    /// What is wrong where there is no such rank among so many.
    fn rank_beyond_size(&self, variable: &impl Fn(&str) -> Option<OsString>) -> Option<String> {
        let Self { rank: of_rank, size: of_size, .. } = *self;
        let (rank, size) = (number(variable, of_rank)?, number(variable, of_size)?);
        (rank >= size && size > 0).then(|| {
            format!(
                "{of_rank} is {rank} and {of_size} is {size}, expected a rank from 0 to {}; --launcher none \
                 decodes with this process alone",
                size - 1
            )
        })
    }

    /// What is lacking for one of several processes.
    fn half(&self, variable: &impl Fn(&str) -> Option<OsString>) -> Option<HalfLaunch> {
        let Self { starter, rank, size, also, asked, .. } = *self;
        let told = std::iter::once(&size).chain(asked);
        let told = told.filter_map(|&name| Some((name, number(variable, name)?)));
        let told = told.filter(|&(_, count)| count > 1).max_by_key(|&(_, count)| count)?;
        let own_size = number(variable, size);
        let lacking = if own_size.is_none_or(|count| count == 1) {
            (size, own_size)
        } else if number(variable, rank).is_none() {
            (rank, None)
        } else {
            (also.filter(|also| !is_set(variable, also))?, None)
        };
        Some(HalfLaunch { told, lacking, starter })
    }
}

fn number(variable: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<u32> {
    variable(name)?.to_str()?.parse().ok()
}

fn is_set(variable: &impl Fn(&str) -> Option<OsString>, name: &str) -> bool {
    variable(name).is_some_and(|value| !value.is_empty())
}

fn launchers(allowed: Allowed) -> impl DoubleEndedIterator<Item = &'static Variables> {
    LAUNCHERS.iter().filter(move |known| match allowed {
        Allowed::Any => true,
        Allowed::None => false,
        Allowed::Only(launcher) => known.launcher == launcher,
    })
}

fn find(allowed: Allowed, variable: impl Fn(&str) -> Option<OsString>) -> Option<Launch> {
    launchers(allowed).find_map(|known| known.launch(&variable))
}

fn find_unusable(allowed: Allowed, variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    if let Some(known) = launchers(allowed).find(|known| known.launch(&variable).is_some()) {
        return known.rank_beyond_size(&variable);
    }
    let are_set = |known: &&Variables| known.all().all(|name| is_set(&variable, name));
    if let Some(known) = launchers(allowed).find(are_set) {
        // Slurm sets 0 tasks where a job has no step; what a user sets must be right.
        let is_zero_wrong = known.also.is_some();
        let is_wrong = |name: &&str| match number(&variable, name) {
            None => true,
            Some(number) => number == 0 && *name == known.size && is_zero_wrong,
        };
        let wrong = [known.rank, known.size].into_iter().find(is_wrong)?;
        let value = variable(wrong).unwrap_or_default();
        return Some(format!(
            "{wrong} is `{}`, expected a number as {} sets it{}; --launcher none decodes with this \
             process alone",
            value.display(),
            known.starter,
            if wrong == known.size { ", 1 or more" } else { "" },
        ));
    }
    let Allowed::Only(_) = allowed else { return None };
    let known = launchers(allowed).next()?;
    let missing = known.all().find(|name| !is_set(&variable, name))?;
    Some(format!(
        "{missing} is not set, so {} did not start this process; start it so, or leave --launcher out",
        known.starter
    ))
}

fn find_half(allowed: Allowed, variable: impl Fn(&str) -> Option<OsString>) -> Option<HalfLaunch> {
    // Within another launcher's processes, what a job was given says nothing of them.
    match launchers(allowed).find(|known| known.launch(&variable).is_some()) {
        Some(whole) => whole.half(&variable),
        // The last is the plain `srun`, which is what Slurm's variables are of for most.
        None => launchers(allowed).rev().find_map(|known| known.half(&variable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set<'a> = &'a [(&'a str, &'a str)];

    fn in_environment<'a>(set: Set<'a>) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    fn launched(set: Set<'_>) -> Option<Launch> {
        find(Allowed::Any, in_environment(set))
    }

    fn half(set: Set<'_>) -> Option<HalfLaunch> {
        find_half(Allowed::Any, in_environment(set))
    }

    #[test]
    fn each_launcher_is_understood() {
        assert_eq!(launched(&[]), None);
        for Variables { launcher, rank, size, also, .. } in LAUNCHERS {
            let launch = Launch { launcher, rank: 3, size: Some(8) };
            let whole = [(rank, "3"), (size, "8"), (also.unwrap_or("other"), "a")];
            assert_eq!(launched(&whole), Some(launch));
            assert_eq!(half(&whole), None);
            let environment = in_environment(&whole);
            assert_eq!(find(Allowed::Only(launcher), &environment), Some(launch));
            assert_eq!(find(Allowed::None, &environment), None);
            for other in [Launcher::Torch, Launcher::Mpi, Launcher::Slurm] {
                let found = find(Allowed::Only(other), &environment);
                assert_eq!(found.is_some(), other == launcher, "{rank}");
            }
        }
    }

    /// What a launcher tells has to be numbers, and one that was asked for has to be there.
    #[test]
    fn what_cannot_be_used_is_told() {
        let told = |allowed, set: Set<'_>| find_unusable(allowed, in_environment(set));
        let torch = |rank| [("RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")];
        for rank in ["x", "-1", "1.5"] {
            let why = told(Allowed::Any, &torch(rank)).expect("it is no number");
            assert!(why.contains(&format!("RANK is `{rank}`")), "{why}");
            assert_eq!(told(Allowed::None, &torch(rank)), None);
        }
        assert_eq!(told(Allowed::Any, &torch("1")), None);
        for (rank, size) in [("2", "2"), ("7", "2"), ("1", "1")] {
            let set = [("RANK", rank), ("WORLD_SIZE", size), ("MASTER_ADDR", "a")];
            let why = told(Allowed::Any, &set).expect("there is no such rank");
            assert!(why.contains(&format!("RANK is {rank} and WORLD_SIZE is {size}")), "{why}");
            assert_eq!(told(Allowed::None, &set), None);
        }
        for size in ["0", "-1", "4294967296"] {
            let set = [("RANK", "0"), ("WORLD_SIZE", size), ("MASTER_ADDR", "a")];
            let why = told(Allowed::Any, &set).expect("there is no such number");
            assert!(why.contains(&format!("WORLD_SIZE is `{size}`")), "{why}");
            assert!(why.contains("1 or more"), "{why}");
        }
        // A process of one alone, whatever else is set or empty.
        for set in [
            &[("WORLD_SIZE", "1")][..],
            &[("WORLD_SIZE", "1"), ("RANK", ""), ("MASTER_ADDR", "")],
            &[("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "a")],
            &[("RANK", ""), ("WORLD_SIZE", ""), ("MASTER_ADDR", "")],
        ] {
            assert_eq!(told(Allowed::Any, set), None, "{set:?}");
            assert_eq!(half(set), None, "{set:?}");
        }
        // Left over, or of another program.
        assert_eq!(told(Allowed::Any, &torch("")), None);
        assert_eq!(told(Allowed::Any, &[("RANK", "gold")]), None);
        let asked = Allowed::Only(Launcher::Torch);
        assert_eq!(told(asked, &torch("1")), None);
        for (set, missing) in [(&torch("1")[..2], "MASTER_ADDR"), (&[], "RANK")] {
            let why = told(asked, set).expect("it lacks something");
            assert!(why.contains(&format!("{missing} is not set")), "{why}");
        }
    }

    /// Without any one of its variables a launcher does not count, and what is lacking is named if
    /// several processes were told of.
    #[test]
    fn half_a_launcher_is_none() {
        let mpi_tells = |launcher| cfg!(feature = "mpi") && launcher == Launcher::Mpi;
        for Variables { launcher, rank, size, also, asked, .. } in LAUNCHERS {
            for (count, is_several) in [("8", true), ("1", false)] {
                let lacks_size = [(rank, "0"), (also.unwrap_or("other"), "a")];
                for broken in ["", "x", "-1"] {
                    let with = |name| [&lacks_size[..], &[(name, broken)]].concat();
                    assert_eq!(launched(&with(size)).is_some(), mpi_tells(launcher), "{size}");
                    assert_eq!(half(&with(size)), None, "{size}");
                }
                for &asked in asked {
                    let set = [&lacks_size[..], &[(asked, count)]].concat();
                    assert_eq!(launched(&set).is_some(), mpi_tells(launcher), "{asked}");
                    let expected = is_several.then_some(((asked, 8), (size, None)));
                    assert_eq!(half(&set).map(|half| (half.told, half.lacking)), expected);
                }
                let lacks_rank = [(size, count), (also.unwrap_or("other"), "a")];
                assert_eq!(launched(&lacks_rank), None);
                let told = half(&lacks_rank).map(|half| half.told);
                assert_eq!(told, is_several.then_some((size, 8)));
                if let Some(also) = also {
                    for set in [
                        &[(rank, "0"), (size, count)][..],
                        &[(rank, "0"), (size, count), (also, "")],
                    ] {
                        assert_eq!(launched(set), None);
                        let found = half(set).map(|half| (half.told, half.lacking));
                        assert_eq!(found, is_several.then_some(((size, 8), (also, None))));
                    }
                }
            }
        }
    }

    /// What Slurm sets where no `srun` was typed.
    #[test]
    fn slurm_without_srun() {
        let batch_script = [("SLURM_JOB_ID", "7"), ("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0")];
        let job = [("SLURM_NTASKS", "4"), ("SLURM_NPROCS", "4")];
        let lacking = |set: Set<'_>| half(set).map(|half| (half.lacking, half.starter));
        let no_step = Some(((SLURM_STEP, None), "srun"));
        assert_eq!(
            launched(&[&batch_script[..], &job].concat()).map(|launch| launch.launcher),
            None
        );
        assert_eq!(lacking(&[&batch_script[..], &job].concat()), no_step);
        assert_eq!(lacking(&batch_script), None);
        // A shell of `salloc` on the login node, and one that is a step of its own.
        assert_eq!(lacking(&job), no_step);
        let shell = [&batch_script[..], &job, &[(SLURM_STEP, "1")]].concat();
        assert_eq!(launched(&shell).and_then(|launch| launch.size), Some(1));
        assert_eq!(lacking(&shell), Some(((SLURM_STEP, Some(1)), "srun")));
        // `mpirun` in a batch script.
        let mpirun = [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")];
        let mpirun = [&batch_script[..], &job, &mpirun].concat();
        assert_eq!(launched(&mpirun).map(|launch| launch.launcher), Some(Launcher::Mpi));
        assert_eq!(lacking(&mpirun), None);
    }
}
