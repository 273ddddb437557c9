//! Files that the command line writes: never onto what it reads, refused before a decode if they
//! cannot be, with as many bits and channels as asked for, and gone with a process that is killed.

mod before;
mod inputs;
mod left;
mod modes;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use halovae_tests::binary::{self, Run, listing};
use halovae_tests::disk::{RawFile, copy_checkpoint};
use halovae_tests::golden::Golden;
use tempfile::TempDir;

/// A folder with a copy of a golden model's folder `vae` and its latents `latents.safetensors`.
struct Setup {
    folder: TempDir,
}

impl Setup {
    fn new(name: &str) -> Self {
        let (golden, folder) = (Golden::load(name), tempfile::tempdir().expect("a folder"));
        copy_checkpoint(&golden.folder, &folder.path().join("vae"));
        RawFile::latents(&golden.latents).write(&folder.path().join("latents.safetensors"));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs in the folder, with these words as arguments.
    fn run(&self, line: &str) -> Run {
        let mut command = binary::command(line.split_whitespace());
        command.current_dir(self.folder.path());
        binary::run_command(command)
    }

    /// `decode` of the latents with further flags.
    fn decode(&self, flags: &str) -> Run {
        self.run(&format!("decode --vae vae --latents latents.safetensors {flags}"))
    }

    /// Every file below the folder with its content, and links as such.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut contents = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for name in listing(&folder) {
                let path = folder.join(name);
                let kind = path.symlink_metadata().expect("an entry").file_type();
                let content = if kind.is_symlink() {
                    let to = path.read_link().expect("a link");
                    format!("a link to {}", to.display()).into_bytes()
                } else if kind.is_dir() {
                    folders.push(path.clone());
                    b"a folder".to_vec()
                } else {
                    std::fs::read(&path).expect("a file of the test's own")
                };
                contents.insert(path, content);
            }
        }
        contents
    }

    /// Fails unless the run is refused as bad usage, in one line with these words, and nothing in the
    /// folder changes.
    #[track_caller]
    fn assert_refused(&self, line: &str, words: &[&str]) {
        let before = self.contents();
        let run = self.run(line);
        assert_eq!(run.status.code(), Some(2), "{line}\n{}", run.stderr);
        let errors: Vec<_> =
            run.stderr.lines().filter(|line| line.starts_with("halovae: error: ")).collect();
        assert_eq!(errors.len(), 1, "{line}\n{}", run.stderr);
        for word in words {
            assert!(errors[0].contains(word), "{line}\n{word:?} is not in {}", errors[0]);
        }
        let after = self.contents();
        assert!(before == after, "{line} changed the folder: {:?}", after.keys());
    }

    #[track_caller]
    fn assert_decode_refused(&self, flags: &str, words: &[&str]) {
        let line = format!("decode --vae vae --latents latents.safetensors {flags}");
        self.assert_refused(&line, words);
    }
}
