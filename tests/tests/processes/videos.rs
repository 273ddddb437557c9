//! Videos of processes, over TCP and over MPI, are those of one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use halovae_tests::binary;
use halovae_tests::compare::assert_f32_close;
use halovae_tests::golden::Golden;
use halovae_tests::torchrun::{Ranks, free_port};
use halovae_tests::{mpirun, npy, tensors};

use crate::{Folder, decode};

const OUTPUTS: [&str; 4] = ["a.npy", "a.y4m", "%05d.png", "-"];

/// Flags of each strategy; so many tiles that each of three ranks has several.
pub(crate) const WHOLE: &[&str] = &["--backend", "cpu", "--strategy", "whole"];
pub(crate) const SHARDED: &[&str] = &["--backend", "cpu", "--strategy", "sharded"];
/// Halos in time, and shards that take turns in little memory.
const SLICED: &[&str] = &["--backend", "cpu", "--strategy", "sharded", "--shard-grid", "2x1x1"];
const IN_TURNS: &[&str] =
    &["--backend", "cpu", "--strategy", "sharded", "--shard-grid", "2x2", "--max-memory", "80MiB"];
pub(crate) const TILED: &[&str] = &[
    "--backend",
    "cpu",
    "--strategy",
    "tiled",
    "--tile-sample-min-size",
    "64",
    "--tile-sample-stride",
    "48",
];

/// How processes talk to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Mpi,
}

impl Over {
    /// Runs so many processes to their end; `mpirun` is one that ends for all.
    pub(crate) fn run(self, ranks: u32, arguments: &[String]) -> Vec<Output> {
        match self {
            Self::Tcp => {
                let arguments = vec![arguments.to_vec(); ranks as usize];
                Ranks::start(binary::path(), free_port(), &arguments).outputs()
            }
            Self::Mpi => {
                let _alone = mpirun::alone();
                let mut command = mpirun::command(ranks, binary::path_with_mpi());
                command.args(arguments);
                vec![binary::output(binary::spawn(command))]
            }
        }
    }
}

/// All files of a decode by their names, and its standard output as `-` if it has one.
type Written = BTreeMap<String, Vec<u8>>;

/// What a decode writes that says nothing.
fn written(
    golden: &Golden,
    output: &str,
    flags: &[&str],
    run: impl FnOnce(&[String]) -> Vec<Output>,
) -> Written {
    let folder = Folder::new();
    let output = if output == "-" { "-".into() } else { folder.path(output) };
    let arguments = decode(&golden.folder, &golden.latents_file(), Path::new(&output), flags);
    let mut written = Written::new();
    for Output { status, stdout, stderr } in run(&arguments) {
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success() && stderr.is_empty(), "{arguments:?}: {status}\n{stderr}");
        if !stdout.is_empty() {
            let another = written.insert("-".into(), stdout);
            assert!(another.is_none(), "{arguments:?}: two ranks write to standard output");
        }
    }
    written.extend(folder.listing().into_iter().map(|name| (name.clone(), folder.read(&name))));
    written
}

fn by_threads(golden: &Golden, output: &str, flags: &[&str]) -> Written {
    let run = |arguments: &[String]| {
        vec![binary::output(binary::command(arguments).spawn().expect("a process"))]
    };
    written(golden, output, flags, run)
}

/// Every strategy and number of ranks with two kinds of output, so that each strategy sees all.
fn same_as_one_process(over: Over) {
    let golden = Golden::load("wan");
    let mut outputs = OUTPUTS.iter().cycle();
    for flags in [WHOLE, TILED, SHARDED, SLICED, IN_TURNS] {
        let has_grid = flags.contains(&"--shard-grid");
        for ranks in if has_grid { 2..=2 } else { 2..=3 } {
            for output in outputs.by_ref().take(2) {
                let what = format!("{output}: {flags:?} on {ranks} ranks over {over:?}");
                let count = if flags.contains(&"sharded") { ranks } else { 1 }.to_string();
                let threads = [flags, &["--vae-patch-parallel-size", &count]].concat();
                let expected = by_threads(&golden, output, &threads);
                let got = written(&golden, output, flags, |arguments| over.run(ranks, arguments));
                assert!(got.keys().eq(expected.keys()), "{what}: {:?}", got.keys());
                assert!(got == expected, "{what}: other bytes");
                if let (true, Some(bytes)) = (flags.contains(&"sharded"), got.get("a.npy")) {
                    let whole = &by_threads(&golden, output, WHOLE)["a.npy"];
                    let [got, whole] = [bytes, whole].map(|bytes| {
                        let (values, shape) = npy::read(bytes);
                        let &[n, c, t, h, w] = &shape[..] else { panic!("{what}: {shape:?}") };
                        tensors::channels_last(&values, [n, c, t * h, w])
                    });
                    assert_f32_close(&what, &got, &whole);
                }
            }
        }
    }
}

#[test]
fn over_tcp() {
    same_as_one_process(Over::Tcp);
}

#[test]
fn over_mpi() {
    same_as_one_process(Over::Mpi);
}
