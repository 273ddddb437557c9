//! Processes started as `torchrun` starts them: by their environment alone.

use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::binary::{self, Run};

/// Processes of one program, one for each rank.
#[derive(Debug)]
pub struct Ranks(Vec<Child>);

/// A port of this machine without a listener, another one each time. None of those that systems
/// give to connections: one of these might be taken before the ranks listen there.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    const PORTS: RangeInclusive<u16> = 10_000..=29_999;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end() - PORTS.start()) + 1;
    // Tests of another process begin elsewhere, and those of the next one far away.
    let begin = std::process::id().wrapping_mul(7919);
    let ports = std::iter::repeat_with(|| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut ports = ports.map(|at| PORTS.start() + (at % count) as u16).take(count as usize);
    let free = ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    free.expect("a port")
}

impl Ranks {
    /// Starts a process for each list of arguments, to meet at that port.
    ///
    /// # Panics
    /// If one does not start.
    pub fn start(program: &Path, port: u16, arguments: &[Vec<String>]) -> Self {
        Self::start_in(program, port, arguments, |_, _| {})
    }

    /// The same in an environment of their own: `prepare` is given each rank's command.
    ///
    /// # Panics
    /// If one does not start.
    pub fn start_in(
        program: &Path,
        port: u16,
        arguments: &[Vec<String>],
        prepare: impl Fn(usize, &mut Command),
    ) -> Self {
        let size = arguments.len().to_string();
        let start = |(rank, arguments): (usize, &Vec<String>)| {
            let mut command = Command::new(program);
            command
                .args(arguments)
                .env("RANK", rank.to_string())
                .env("LOCAL_RANK", rank.to_string())
                .env("WORLD_SIZE", size.clone())
                .env("MASTER_ADDR", "127.0.0.1")
                .env("MASTER_PORT", port.to_string());
            prepare(rank, &mut command);
            binary::spawn(command)
        };
        Self(arguments.iter().enumerate().map(start).collect())
    }

    /// The process of a rank.
    pub fn pid(&self, rank: usize) -> u32 {
        self.0[rank].id()
    }

    /// The same, as it was started.
    pub fn child(&mut self, rank: usize) -> &mut Child {
        &mut self.0[rank]
    }

    /// Whether none has ended.
    ///
    /// # Panics
    /// If the system does not know.
    pub fn all_run(&mut self) -> bool {
        self.0.iter_mut().all(|child| child.try_wait().expect("a child of this process").is_none())
    }

    /// Waits for all of them.
    ///
    /// # Panics
    /// If one hangs.
    pub fn finish(self) -> Vec<Run> {
        self.0.into_iter().map(binary::finish).collect()
    }

    /// The same where standard output is no text, and one that waits to be read holds up the others.
    ///
    /// # Panics
    /// If one hangs, or the system gives no threads.
    pub fn outputs(self) -> Vec<Output> {
        std::thread::scope(|scope| {
            let ends = self.0.into_iter().map(|child| scope.spawn(|| binary::output(child)));
            let ends: Vec<_> = ends.collect();
            ends.into_iter().map(|end| end.join().expect("no hang")).collect()
        })
    }
}
