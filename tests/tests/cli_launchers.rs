//! The binary where a launcher's variables are set, but not by a launcher of this process.

use halovae_tests::binary;
use halovae_tests::golden::Golden;
use tempfile::TempDir;

type Set<'a> = &'a [(&'a str, &'a str)];

/// Decodes alone in such an environment, and gives what was said.
fn decode_alone(set: Set<'_>, flags: &[&str]) -> String {
    let golden = Golden::load("f2-complete");
    let folder = TempDir::new().expect("a temporary folder");
    let output = folder.path().join("picture.png");
    let mut command = binary::command(["decode"]);
    command.arg("--vae").arg(&golden.folder).arg("--latents").arg(golden.latents_file());
    command.arg("--output").arg(&output).args(flags);
    command.envs(set.iter().copied());
    let run = binary::run_command(command).expect_success();
    assert!(output.exists(), "{set:?}");
    run.stderr
}

/// A process that is none of several decodes alone, and names the variable that is lacking if there
/// are to be several.
#[test]
fn half_a_launcher() {
    let batch_script = [("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0"), ("SLURM_JOB_ID", "7")];
    let tasks = [("SLURM_NTASKS", "4"), ("SLURM_NPROCS", "4")];
    let of_batch_script = [&batch_script[..], &tasks].concat();
    let of_shell = [&of_batch_script[..], &[("SLURM_STEP_NUM_TASKS", "1")]].concat();
    let cases: [(Set<'_>, &[&str]); 12] = [
        (&[("WORLD_SIZE", "1")], &[]),
        (&[("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1")], &[]),
        (&[("RANK", ""), ("WORLD_SIZE", ""), ("MASTER_ADDR", "")], &[]),
        (&of_batch_script, &["SLURM_NTASKS is 4", "SLURM_STEP_NUM_TASKS is not set", "srun"]),
        (&tasks, &["SLURM_NTASKS is 4", "SLURM_STEP_NUM_TASKS is not set", "srun"]),
        (&of_shell, &["SLURM_NTASKS is 4", "SLURM_STEP_NUM_TASKS is 1", "srun"]),
        (&batch_script, &[]),
        (&[("RANK", "1"), ("WORLD_SIZE", "2")], &["WORLD_SIZE is 2", "MASTER_ADDR", "torchrun"]),
        (&[("WORLD_SIZE", "2"), ("MASTER_ADDR", "a")], &["WORLD_SIZE is 2", "RANK is not set"]),
        (&[("OMPI_COMM_WORLD_SIZE", "2")], &["OMPI_COMM_WORLD_RANK is not set", "mpirun"]),
        (&[("PMI_RANK", "1")], &[]),
        (&[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "0")], &[]),
    ];
    for (set, words) in cases {
        let said = decode_alone(set, &[]);
        assert_eq!(said.lines().count(), usize::from(!words.is_empty()), "{set:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{set:?}: `{word}` is not in: {said}");
        }
        assert_eq!(decode_alone(set, &["--quiet"]), "", "{set:?}");
    }
}

/// A program that a launcher started can start a decode of its own: `--launcher` says so.
#[test]
fn variables_of_a_parent() {
    let torch = [("RANK", "1"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "192.0.2.1")];
    let mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
    for set in [&torch[..], &mpi] {
        assert_eq!(decode_alone(set, &["--launcher", "none"]), "");
    }
    let said = decode_alone(&torch, &["--launcher", "none", "-v"]);
    assert!(said.contains("picture.png"), "the process of rank 1 speaks for itself: {said}");
}

/// A process of any rank says why it does not come together with others, and commands that are not
/// done together speak whatever is set.
#[test]
fn every_rank_alone_is_heard() {
    let golden = Golden::load("f2-complete");
    let folder = TempDir::new().expect("a temporary folder");
    let alone = |rank, size| [("RANK", rank), ("WORLD_SIZE", size), ("MASTER_ADDR", "127.0.0.1")];
    let torch = |rank| alone(rank, "2");
    // A launcher that is asked for has to be there, and tells numbers.
    for (set, flags, words) in [
        (torch("0"), "slurm", "SLURM_PROCID is not set"),
        (torch("first"), "auto", "RANK is `first`"),
        (torch("5"), "auto", "RANK is 5 and WORLD_SIZE is 2"),
        (alone("3", "1"), "auto", "RANK is 3 and WORLD_SIZE is 1"),
        (alone("0", "0"), "auto", "WORLD_SIZE is `0`"),
    ] {
        let mut command = binary::command(["decode", "--launcher", flags]);
        command.arg("--vae").arg(&golden.folder).arg("--latents").arg(golden.latents_file());
        command.arg("--output").arg(folder.path().join("picture.png")).envs(set);
        let run = binary::run_command(command);
        assert_eq!((run.status.code(), run.stderr.lines().count()), (Some(2), 1), "{run:?}");
        assert!(run.stderr.contains(words), "{run:?}");
    }
    let mut command = binary::command(["decode", "--no-such-flag"]);
    command.envs(torch("1"));
    let run = binary::run_command(command);
    assert_eq!(run.status.code(), Some(2), "{run:?}");
    assert!(run.stderr.contains("--no-such-flag"), "{run:?}");
    let mut command = binary::command(["inspect", "--vae", "nowhere"]);
    command.envs(torch("1"));
    let run = binary::run_command(command);
    assert_eq!((run.status.code(), run.stderr.lines().count()), (Some(1), 1), "{run:?}");
    assert!(run.stderr.contains("nowhere"), "{run:?}");
}

/// Without the others there is one line, with a way out that works.
#[test]
fn the_way_out_is_told() {
    let golden = Golden::load("f2-complete");
    let folder = TempDir::new().expect("a temporary folder");
    let mut command = binary::command(["decode"]);
    command.arg("--vae").arg(&golden.folder).arg("--latents").arg(golden.latents_file());
    command.arg("--output").arg(folder.path().join("picture.png"));
    // What a program sees that was started by rank 0 of another world.
    command.envs([("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "2")]);
    let run = binary::run_command(command);
    assert_eq!((run.status.code(), run.stderr.lines().count()), (Some(2), 1), "{run:?}");
    assert!(run.stderr.contains("--launcher none"), "{run:?}");
}
