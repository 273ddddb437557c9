//! Where the processes meet that a launcher started.

use std::env;
use std::ffi::OsString;

use halovae_tcp::Meeting;

use super::{Launch, number};
use crate::error::Error;

/// Where rank 0 listens without a MASTER_PORT: where PyTorch's ranks meet as well.
const PORT: u16 = 29500;

/// How many processes there are on this machine, as Open MPI and MPICH have it.
const LOCAL_SIZES: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

impl Launch {
    /// Where the `size` processes meet that were started together, this one among them.
    ///
    /// # Errors
    /// [`Error::Usage`] if the environment does not tell.
    pub(crate) fn meeting(&self, size: u32) -> Result<Meeting, Error> {
        self.meet(size, |name| env::var_os(name))
    }

    fn meet(
        &self,
        size: u32,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Meeting, Error> {
        let text = |name| variable(name)?.into_string().ok().filter(|text| !text.is_empty());
        let is_here = LOCAL_SIZES.iter().any(|&name| number(&variable, name) == Some(size))
            || number(&variable, "SLURM_STEP_NUM_NODES") == Some(1);
        let named = text("MASTER_ADDR");
        let host = named.or_else(|| is_here.then(|| "127.0.0.1".into()));
        let host = host.or_else(|| first_host(&text("SLURM_STEP_NODELIST")?));
        let host = host.ok_or_else(|| {
            Error::Usage(
                "the processes do not know where to meet; set MASTER_ADDR to the machine of rank 0, or \
                 give --launcher none if this process is alone"
                    .into(),
            )
        })?;
        let port = match text("MASTER_PORT") {
            None => PORT,
            Some(port) => port.parse().ok().filter(|&port| port > 0).ok_or_else(|| {
                Error::Usage(format!("MASTER_PORT is `{port}`; a port is a number up to 65535"))
            })?,
        };
        // There torchrun itself listens at its port.
        let is_taken = text("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|it| it == "True");
        let port = if is_taken { port.checked_add(1).unwrap_or(PORT) } else { port };
        Ok(Meeting { rank: self.rank, size, host, port })
    }
}

/// The first of Slurm's list of machines: `node[08-11,15],other` has `node08` first.
fn first_host(list: &str) -> Option<String> {
    let end = list.find([',', '[']).unwrap_or(list.len());
    let (name, rest) = list.split_at(end);
    let numbers = rest.strip_prefix('[').unwrap_or("");
    let first = &numbers[..numbers.find([',', '-', ']']).unwrap_or(numbers.len())];
    Some(format!("{name}{first}")).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{Allowed, find};
    use super::*;

    type Set<'a> = &'a [(&'a str, &'a str)];

    fn in_environment<'a>(set: Set<'a>) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    #[test]
    fn a_place_to_meet_is_found() {
        let torch = [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "there")];
        let slurm = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")];
        let open_mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
        let met = |first: Set<'_>, more: Set<'_>| {
            let set = [first, more].concat();
            let meeting =
                find(Allowed::Any, in_environment(&set)).unwrap().meet(2, in_environment(&set));
            let tell = |Meeting { rank, size, host, port }| {
                assert_eq!((rank, size), (1, 2));
                format!("{host}:{port}")
            };
            meeting.map(tell).map_err(|error| error.to_string())
        };
        let found = |first: Set<'_>, more: Set<'_>, place: &str| {
            assert_eq!(met(first, more), Ok(place.into()));
        };
        found(&torch, &[], "there:29500");
        found(&torch, &[("MASTER_PORT", "1234")], "there:1234");
        let agent = ("TORCHELASTIC_USE_AGENT_STORE", "True");
        found(&torch, &[("MASTER_PORT", "1234"), agent], "there:1235");
        found(&slurm, &[("SLURM_STEP_NUM_NODES", "1")], "127.0.0.1:29500");
        found(&slurm, &[("SLURM_STEP_NODELIST", "node[08-11]")], "node08:29500");
        found(&slurm, &[("SLURM_STEP_NODELIST", "n1,n2"), ("MASTER_ADDR", "me")], "me:29500");
        found(&open_mpi, &[("OMPI_COMM_WORLD_LOCAL_SIZE", "2")], "127.0.0.1:29500");
        let missing = met(&open_mpi, &[("OMPI_COMM_WORLD_LOCAL_SIZE", "1")]).unwrap_err();
        assert!(missing.contains("MASTER_ADDR"), "{missing}");
        for port in ["0", "x", "65536", "-1"] {
            let wrong = met(&torch, &[("MASTER_PORT", port)]).unwrap_err();
            assert!(wrong.contains("MASTER_PORT"), "{wrong}");
        }
    }

    #[test]
    fn slurms_lists_have_a_first_machine() {
        let lists = [
            ("one", "one"),
            ("one,two", "one"),
            ("node[08-11,15],other", "node08"),
            ("node[3,5]", "node3"),
            ("node[7]", "node7"),
        ];
        for (list, first) in lists {
            assert_eq!(first_host(list).as_deref(), Some(first), "{list}");
        }
        assert_eq!(first_host(""), None);
    }
}
