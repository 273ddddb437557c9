//! The real cuDNN compiles plans for GPUs that are not there: it takes our graphs, finds engines for
//! them, and gives plans that need no memory.

use std::sync::Once;
use std::time::Instant;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::choice::ENTRANTS;
use super::descriptor::{Descriptor, Kind, attribute};
use super::library::Cudnn;
use super::plan::{Config, candidates, compile, packed};
use super::spec::{Spec, tests::conv};
use super::target::{Target, properties};
use crate::kernels::Element;
use crate::library_files::tests::installed;
use crate::params::Product;
use crate::product::{Right, plain};

/// An A100, an H100 and a B200, by what NVIDIA publishes of them, as cuDNN describes a device.
fn devices() -> [String; 3] {
    let device = |name: &str, version: u32, multiprocessors: u32, shared: u32| {
        format!(
            r#"{{"cudaDeviceId":0,"deviceVer":{version},"driverVer":13000,
            "maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],
            "regsPerBlock":65536,"multiProcessorCount":{multiprocessors},"smCountOrigin":0,
            "warpSize":32,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":{shared},
            "oversizedSharedMemoryPerBlock":0,"reservedSharedMemoryPerBlock":1024,
            "maxRegistersPerSM":65536,"maxCtasPerSM":32,"maxThreadsPerBlock":1024,
            "maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,
            "smClockRateKHz":1410000,"memClockRateKHz":1215000,"memoryBusWidth":5120,
            "l2CacheSize":41943040,"deviceName":"{name}","totalGlobalMem":85000000000}}"#
        )
    };
    [
        device("NVIDIA A100-SXM4-80GB", 800, 108, 166_912),
        device("NVIDIA H100 80GB HBM3", 900, 132, 232_448),
        device("NVIDIA B200", 1000, 148, 232_448),
    ]
}

/// cuDNN's engines name the driver among the libraries that they need.
fn cudnn() -> &'static Cudnn {
    static DRIVER: Once = Once::new();
    DRIVER.call_once(|| {
        // Where there is a GPU there is a driver.
        if halovae_cuda_stand_in::is_real() {
            crate::driver::load().expect("a driver");
            return;
        }
        let file = halovae_cuda_stand_in::driver_for_cudnn();
        // SAFETY: it has nothing to initialise.
        let driver = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) };
        std::mem::forget(driver.expect("it was built for this"));
    });
    installed(Cudnn::load)
}

/// Products of FLUX.1's decoder at 1024 x 1024 that differ in kind.
fn products() -> Vec<(&'static str, Product, Right)> {
    let band = conv([512, 512], [128, 128]);
    let latents = Product {
        offset_y: -1,
        offset_x: -1,
        in_rows: 128,
        in_width: 128,
        ..conv([16, 512], [128, 128])
    };
    // One of four, over an input that is repeated twice; the padding is before it.
    let phase = Product {
        taps: 4,
        taps_x: 2,
        in_rows: 512,
        in_width: 512,
        offset_y: -1,
        out_row: 2 * 1024,
        out_step: 2,
        out_sample: 1024 * 1024,
        ..conv([256, 256], [512, 512])
    };
    let rows =
        |product: Product| Product { left: 1 << 20, right: 2 << 20, out: 3 << 20, ..product };
    let one = Product { taps: 1, taps_x: 1, ..conv([512, 256], [512, 512]) };
    let shortcut = Product { in_rows: 512, in_width: 512, ..one };
    let scores = Product { right_valid: 2048, out_f32: 1, ..rows(plain(4096, 512, 2048)) };
    let values = Product { right_valid: 2048, out_f32: 1, ..rows(plain(4096, 2048, 512)) };
    let more = Product { residual: 5 << 20, decay: 6 << 20, ..values };
    vec![
        ("the latents", latents, Right::ByColumn),
        ("a band", band, Right::ByColumn),
        ("a band with a residual", Product { residual: 5 << 20, ..band }, Right::ByColumn),
        ("a phase of an upsampled input", phase, Right::ByColumn),
        ("a shortcut", shortcut, Right::ByColumn),
        ("the picture", conv([128, 8], [64, 1024]), Right::ByColumn),
        ("scores", scores, Right::ByColumn),
        ("the first values", values, Right::Values),
        ("more values", more, Right::Values),
    ]
}

/// By threads at once, as engines are.
#[test]
fn plans_are_compiled_for_gpus() {
    if halovae_cuda_stand_in::is_real() {
        // Where there is a GPU, cuDNN compiles for no other one; `tests/engines.rs` has plans for that.
        return;
    }
    let cudnn = cudnn();
    for (element, devices) in [(Element::Bf16, &devices()[..]), (Element::F16, &devices()[1..2])] {
        for device in devices {
            std::thread::scope(|scope| {
                for (name, product, right) in products() {
                    let (spec, _) = Spec::of(&product, right, element).expect(name);
                    let what = format!("{name}, {element:?}, {}", &device[..40]);
                    scope.spawn(move || assert_compiles(cudnn, device, &spec, &what));
                }
            });
        }
    }
}

fn assert_compiles(cudnn: &'static Cudnn, device: &str, spec: &Spec, what: &str) {
    let found = candidates(cudnn, Target::There(device), spec);
    let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
    // Some need memory, and are not taken.
    let compiled = |(place, config)| {
        let start = Instant::now();
        let plan = compile(cudnn, Target::There(device), spec, config).ok()?;
        Some((place + 1, config, plan, start.elapsed()))
    };
    let first = found.iter().take(ENTRANTS).enumerate().find_map(compiled);
    let (place, config, plan, time) = first.unwrap_or_else(|| panic!("{what}: no plan"));
    let (count, config) = (found.len(), Config::to_text(config));
    eprintln!("{what}: {count} engines; {place}, {config}: {time:.2?}, {} bytes", plan.len());
    assert!(plan.contains("operationGraph"), "{what}: {plan}");
}

/// A plan's text is all that there is to keep of it; and cuDNN takes addresses as we tell them.
#[test]
fn a_plan_is_made_of_its_text() {
    let (cudnn, device) = (cudnn(), &devices()[1]);
    let target = Target::There(device);
    let (product, right) = (products()[1].1, Right::ByColumn);
    let (spec, at) = Spec::of(&product, right, Element::Bf16).unwrap();
    let text =
        compile(cudnn, target, &spec, &candidates(cudnn, target, &spec).unwrap()[0]).unwrap();
    let load = |text: &str| {
        let plan = Descriptor::new(cudnn, Kind::Plan)?;
        plan.set(attribute::PLAN_JSON_REPRESENTATION, text.as_bytes())?;
        // Instead of a handle, for which there would have to be a GPU.
        plan.set_descriptor(attribute::PLAN_DEVICEPROP, &properties(cudnn, device)?)?;
        plan.finalize()
    };
    let plan = load(&text).unwrap();
    assert_eq!(plan.get::<i64>(attribute::PLAN_WORKSPACE_SIZE), Ok(0));
    assert_eq!(plan.get_text(attribute::PLAN_JSON_REPRESENTATION).unwrap().len(), text.len());
    assert!(load(&text[..text.len() / 2]).is_err(), "half a plan");
    packed(cudnn, at).unwrap();
}

#[test]
fn what_no_engine_does_is_an_error() {
    let (spec, _) = Spec::of(&conv([8, 8], [4, 4]), Right::ByColumn, Element::Bf16).unwrap();
    // Padding that is larger than the kernel.
    let odd = Spec { before: [7, 7], outputs: [11, 11], ..spec };
    let devices = devices();
    let target = Target::There(&devices[1]);
    let error = candidates(cudnn(), target, &odd)
        .and_then(|found| compile(cudnn(), target, &odd, found.first().ok_or("no engine")?));
    let error = error.expect_err("more zeros than taps");
    assert_eq!(error.lines().count(), 1, "{error}");
    let error = candidates(cudnn(), Target::There("{}"), &spec).expect_err("no device");
    assert!(error.contains("maxGridSize"), "{error}");
}
