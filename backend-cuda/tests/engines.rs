//! Engines of cuDNN's: what is chosen, what is kept, and that a decode is the same whichever process chose.

mod common;
mod small;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use halovae_cuda::{CudaDevice, DeviceChoice, Limits, Options, Precision};
use halovae_engine::backend::Backend;
use halovae_engine::tensor::HostTensor;
use small::{Small, latents};

/// Every product by an engine, however small; what is chosen is kept in `folder`.
fn options(precision: Precision, folder: &Path) -> Options {
    let limits = Limits { engines_from: 0, ..Limits::default() };
    Options { precision, limits, cache_folder: Some(folder.to_owned()), ..Options::default() }
}

/// A folder with compiled kernels and no choices.
fn fresh_folder(precision: Precision) -> tempfile::TempDir {
    drop(common::device(Options { precision, ..Options::default() }));
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(halovae_cuda_stand_in::cache()).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "cubin") {
            std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    folder
}

fn open(options: Options) -> CudaDevice {
    CudaDevice::open(&DeviceChoice::Auto, options).unwrap()
}

/// A decoder's picture.
fn picture(device: &CudaDevice) -> HostTensor {
    Small::new(device).picture(&latents(9, 8, 7))
}

/// What is kept of choices and plans: the names of files, and what they hold behind their hashes.
fn kept(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = files.filter(|file| file.file_name().unwrap().to_str().unwrap().contains("cudnn-"));
    let read = |file: std::path::PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(&file).unwrap().split_off(8))
    };
    kept.map(read).collect()
}

fn engines(folder: &Path) -> Vec<String> {
    let kept = kept(folder);
    let engines = kept.into_iter().filter(|(name, _)| name.ends_with(".engine"));
    engines.map(|(_, text)| String::from_utf8(text).unwrap()).collect()
}

#[test]
fn engines_give_what_our_kernel_does() {
    for precision in [Precision::F16, Precision::Bf16] {
        let folder = fresh_folder(precision);
        let options = options(precision, folder.path());
        let own = picture(&open(Options { without_cudnn: true, ..options.clone() }));
        let device = open(options);
        assert!(device.cudnn().unwrap_or_else(|error| panic!("{error}")).is_some());
        let by_engines = picture(&device);
        let square = |value: f32| f64::from(value) * f64::from(value);
        let pairs = own.data().iter().zip(by_engines.data());
        let error: f64 = pairs.map(|(one, other)| square(one - other)).sum();
        let error = (error / own.data().iter().map(|&value| square(value)).sum::<f64>()).sqrt();
        let bound = if precision == Precision::F16 { 2e-3 } else { 2e-2 };
        assert!(error < bound, "{precision}: differs by {error}");
        // Captured from the second decode on.
        let again = Small::new(&device);
        for round in 0..4 {
            let latents = latents(9, 8, 7);
            assert_eq!(again.picture(&latents), by_engines, "{precision}, decode {round}");
        }
        assert_eq!(again.backend.graphs(), 1, "{precision}");
        let engines = engines(folder.path());
        // On a GPU our own kernel may be the fastest everywhere.
        if !halovae_cuda_stand_in::is_real() {
            assert!(
                engines.iter().any(|engine| engine != "own"),
                "{precision}: no engine was chosen"
            );
            // The others are wrong, need memory, or make no plan (`stand-in/cpp/cudnn.cpp`).
            let good = |engine: &String| ["own", "0", "1 24 3"].contains(&engine.as_str());
            assert!(engines.iter().all(good), "{precision}: {engines:?}");
        }
    }
}

/// What another process, which `HALOVAE_STAND_IN_CUDNN` is set for, writes.
fn output_of_another(folder: &Path, cudnn: &str) -> [String; 2] {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process", "--ignored", "--nocapture"])
        .env("HALOVAE_TEST_FOLDER", folder)
        .env("HALOVAE_STAND_IN_CUDNN", cudnn)
        .output()
        .unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
}

/// Its picture.
fn picture_of_another(folder: &Path, cudnn: &str) -> String {
    let [text, errors] = output_of_another(folder, cudnn);
    let line = text.lines().find_map(|line| line.split_once("picture: "));
    let line = line.unwrap_or_else(|| panic!("{text}{errors}"));
    line.1.to_owned()
}

#[test]
#[ignore = "run by `what_was_chosen_stays` and others, in a process of its own"]
#[allow(clippy::print_stdout, reason = "its result")]
fn another_process() {
    let folder = std::env::var_os("HALOVAE_TEST_FOLDER").expect("set by the test that runs this");
    let options = options(Precision::Bf16, Path::new(&folder));
    drop(common::device(Options::default()));
    println!("picture: {}", bits(&picture(&open(options))));
}

fn bits(picture: &HostTensor) -> String {
    picture.data().iter().map(|value| format!("{:x}.", value.to_bits())).collect()
}

#[test]
fn what_was_chosen_stays() {
    let folder = fresh_folder(Precision::Bf16);
    let first = picture_of_another(folder.path(), "");
    let kept_first = kept(folder.path());
    // On a GPU our own kernel may be the fastest everywhere.
    let is_chosen = engines(folder.path()).iter().any(|engine| engine != "own");
    assert!(is_chosen || halovae_cuda_stand_in::is_real());
    // Engines that are slow now would not be chosen; and plans that do not load are compiled anew.
    for cudnn in ["slow", "no_loading"] {
        assert_eq!(picture_of_another(folder.path(), cudnn), first, "{cudnn}");
        assert!(kept(folder.path()) == kept_first, "{cudnn}: what was kept has changed");
    }
    // Half a file is none.
    let plan = kept_first.keys().find(|name| name.ends_with(".plan")).unwrap();
    std::fs::write(folder.path().join(plan), b"half").unwrap();
    assert_eq!(picture_of_another(folder.path(), ""), first);
    let again = &kept(folder.path())[plan];
    assert!(again.len() > 20, "the plan is not whole again: {again:?}");
}

#[test]
fn our_kernel_does_what_engines_do_not() {
    if halovae_cuda_stand_in::is_real() {
        return;
    }
    let own = {
        let folder = fresh_folder(Precision::Bf16);
        let options = options(Precision::Bf16, folder.path());
        bits(&picture(&open(Options { without_cudnn: true, ..options })))
    };
    for cudnn in ["slow", "refuses", "no_handle"] {
        let folder = fresh_folder(Precision::Bf16);
        assert_eq!(picture_of_another(folder.path(), cudnn), own, "{cudnn}");
        let engines = engines(folder.path());
        assert!(engines.iter().all(|engine| engine == "own"), "{cudnn}: {engines:?}");
    }
}

/// It is told, and the next process does without the engine.
#[test]
fn an_engine_that_does_not_end_is_not_tried_again() {
    if halovae_cuda_stand_in::is_real() {
        return;
    }
    let folder = fresh_folder(Precision::Bf16);
    let mut tried = 0;
    while let [_, errors] = output_of_another(folder.path(), "stuck")
        && errors.contains("an engine of cuDNN's did not end within 10 s")
    {
        tried += 1;
        assert_eq!(engines(folder.path()), vec!["own"; tried], "{errors}");
        if tried == 2 {
            break;
        }
    }
    assert_eq!(tried, 2);
    // What was not tried yet is by engines.
    picture_of_another(folder.path(), "");
    let engines = engines(folder.path());
    assert!(engines.iter().filter(|engine| *engine == "own").count() >= 2, "{engines:?}");
    assert!(engines.iter().any(|engine| engine != "own"), "{engines:?}");
}

#[test]
fn time_of_choosing_is_told() {
    let folder = fresh_folder(Precision::Bf16);
    let device = open(options(Precision::Bf16, folder.path()));
    let [first, second] = [(); 2].map(|()| Small::new(&device));
    first.picture(&latents(9, 8, 7));
    second.picture(&latents(9, 8, 7));
    let times = [first.backend.tuning(), second.backend.tuning()];
    // The second one finds what the first has chosen.
    assert!(5 * times[1] < times[0], "{times:?}");
}

#[test]
fn f32_is_not_multiplied_in_fewer_bits() {
    let device = common::device(options(Precision::F32, &halovae_cuda_stand_in::cache()));
    assert_eq!(device.cudnn(), Ok(None));
}
