//! The kernels: their sources, how they are compiled, and where what was compiled is kept.

use std::path::Path;

use twox_hash::XxHash3_128;

use crate::cache;
use crate::nvrtc::{Nvrtc, Source};
use crate::params;

/// What values and kernels of convs are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
        }
    }

    /// The type's name in `kernels/common.cuh`.
    fn name(self) -> &'static str {
        match self {
            Element::F32 => "float",
            Element::F16 => "F16",
            Element::Bf16 => "BF16",
        }
    }
}

macro_rules! headers {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("kernels/", $file)))),*]
    };
}

const SOURCE: Source = Source {
    name: "all.cu",
    text: include_str!("kernels/all.cu"),
    headers: headers![
        "attention.cuh",
        "common.cuh",
        "elementwise.cuh",
        "hopper.cuh",
        "product.cuh",
        "product_f32.cuh",
        "product_half.cuh",
        "product_hopper.cuh",
        "ptx.cuh",
        "stage.cuh",
        "stats.cuh",
        "transfer.cuh",
        "trial.cuh",
        "hopper_epilogue.cuh",
    ],
};

macro_rules! kernels {
    ($($name:ident: $function:literal,)*) => {
        /// The functions of the compiled module.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Kernel {
            $($name,)*
        }

        impl Kernel {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $function,)*
                }
            }
        }
    };
}

kernels! {
    Affine: "affine",
    Attended: "attended",
    CopyRows: "copy_rows",
    Deviation: "deviation",
    Elementwise: "elementwise",
    Narrow3: "narrow_3",
    Noise: "noise",
    Pack: "pack",
    Product32: "product_32",
    Product128: "product_128",
    Reorder: "reorder",
    Scores: "scores",
    Softmax: "softmax",
    SoftmaxHopper: "softmax_hopper",
    Stage: "stage",
    StatsJoin: "stats_join",
    StatsMerge: "stats_merge",
    StatsPart: "stats_part",
    Transpose: "transpose",
    Unpack: "unpack",
    Upsample: "upsample",
    Values32: "values_32",
    Values128: "values_128",
    Hopper1: "hopper_1",
    Hopper2: "hopper_2",
    Hopper3: "hopper_3",
}

/// Threads of a block of every kernel but Hopper's products.
pub(crate) const THREADS: u32 = 256;

/// Threads of a block of those: four warps more, one of which loads what the others multiply. Registers are
/// shared out by fours.
const THREADS_HOPPER: u32 = THREADS + 128;

/// Rows of a block of a product, and its columns where there are many.
pub(crate) const PRODUCT_ROWS: usize = 128;
pub(crate) const PRODUCT_COLUMNS: usize = 128;

/// The same of a product on Hopper.
pub(crate) const HOPPER_ROWS: usize = 256;
pub(crate) const HOPPER_COLUMNS: usize = 128;

/// Whether there are kernels for Hopper's way to multiply matrices, which no other architecture has.
pub(crate) fn has_hopper(element: Element, arch: u32) -> bool {
    arch == 90 && element != Element::F32
}

/// Cells of the left side that a block has in its memory at once for so many taps in a row, in two boxes.
pub(crate) fn hopper_cells(taps: u32) -> u32 {
    HOPPER_ROWS as u32 + if taps == 1 { 0 } else { 16 }
}

/// Bytes of a block's memory for a product on Hopper with so many taps in a row: `TileHopper`.
fn hopper_shared(taps: u32, columns: u32) -> u32 {
    let (lefts, rights) = if taps == 1 { (4, 4) } else { (3, 5) };
    let sides = (lefts * hopper_cells(taps) + rights * columns) * 128;
    let barriers = (lefts + rights) * 2 * 8;
    (sides + THREADS / 32 * 8 * (columns + 8) * 4 + barriers).next_multiple_of(16)
}

/// Bytes of a block's memory for both sides of a product with so many columns: what `TileF32` and
/// `TileHalf` are, which the kernels compare when they are compiled.
fn product_shared(element: Element, columns: u32) -> u32 {
    match element {
        // Two halves of 8 channels.
        Element::F32 => 2 * 8 * (128 + 4 + columns + 4) * 4,
        // Three stages of 32 channels.
        Element::F16 | Element::Bf16 => 3 * (128 + columns) * (32 + 8) * 2,
    }
}

/// The same where the right side is attention's values.
fn values_shared(element: Element, columns: u32) -> u32 {
    match element {
        Element::F32 => product_shared(element, columns),
        Element::F16 | Element::Bf16 => 3 * (128 * (32 + 8) + 32 * (columns + 8)) * 2,
    }
}

impl Kernel {
    /// Those that are compiled for an element and an architecture.
    pub(crate) fn compiled(element: Element, arch: u32) -> impl Iterator<Item = Self> {
        let of_hopper = |kernel: &Self| kernel.is_hopper() || *kernel == Self::SoftmaxHopper;
        let is_compiled = move |kernel: &Self| !of_hopper(kernel) || has_hopper(element, arch);
        Self::ALL.iter().copied().filter(is_compiled)
    }

    /// Whether it is a product in Hopper's way.
    fn is_hopper(self) -> bool {
        matches!(self, Self::Narrow3 | Self::Scores | Self::Hopper1 | Self::Hopper2 | Self::Hopper3)
    }

    /// Threads of a block.
    pub(crate) fn threads(self) -> u32 {
        if self.is_hopper() { THREADS_HOPPER } else { THREADS }
    }

    /// Bytes of memory that a block is launched with.
    pub(crate) fn shared_bytes(self, element: Element) -> u32 {
        match self {
            Kernel::Product32 => product_shared(element, 32),
            Kernel::Product128 => product_shared(element, 128),
            Kernel::StatsMerge | Kernel::Deviation => THREADS / 32 * 4,
            // Moments of eight channels of each thread.
            Kernel::StatsPart => THREADS * 17 * 4,
            Kernel::Values32 => values_shared(element, 32),
            Kernel::Values128 => values_shared(element, 128),
            Kernel::Narrow3 => hopper_shared(3, 8),
            Kernel::Scores | Kernel::Hopper1 => hopper_shared(1, 128),
            Kernel::Hopper2 => hopper_shared(2, 128),
            Kernel::Hopper3 => hopper_shared(3, 128),
            _ => 0,
        }
    }
}

fn options(element: Element, arch: u32) -> Vec<String> {
    let hopper = has_hopper(element, arch);
    let mut options = vec![
        // Hopper's own instructions are in nothing that other GPUs can run.
        format!("--gpu-architecture=sm_{arch}{}", if hopper { "a" } else { "" }),
        "--std=c++17".into(),
        "--ptxas-options=-v".into(),
        format!("-DELEMENT={}", element.name()),
        format!("-DHALF={}", u32::from(element != Element::F32)),
        format!("-DSHARED_PRODUCT_32={}", product_shared(element, 32)),
        format!("-DSHARED_PRODUCT_128={}", product_shared(element, 128)),
        format!("-DSHARED_VALUES_32={}", values_shared(element, 32)),
        format!("-DSHARED_VALUES_128={}", values_shared(element, 128)),
        format!("-DHOPPER={}", u32::from(hopper)),
        format!("-DTHREADS_HOPPER={THREADS_HOPPER}"),
        format!("-DSHARED_NARROW_3={}", hopper_shared(3, 8)),
        format!("-DSHARED_HOPPER_1={}", hopper_shared(1, 128)),
        format!("-DSHARED_HOPPER_2={}", hopper_shared(2, 128)),
        format!("-DSHARED_HOPPER_3={}", hopper_shared(3, 128)),
    ];
    options.extend(params::SIZES.iter().map(|(name, bytes)| format!("-DBYTES_{name}={bytes}")));
    options
}

/// Compiles all kernels for an element and an architecture (80, 90, ...). Gives also what the compiler
/// said.
///
/// # Errors
/// What the compiler said.
fn compile(nvrtc: &Nvrtc, element: Element, arch: u32) -> Result<(Vec<u8>, String), String> {
    nvrtc.compile(&SOURCE, &options(element, arch))
}

/// The same, from a file of `folder` if it was compiled before.
///
/// # Errors
/// What the compiler said.
pub(crate) fn cubin(
    nvrtc: &Nvrtc,
    element: Element,
    arch: u32,
    folder: Option<&Path>,
) -> Result<Vec<u8>, String> {
    let Some(folder) = folder else { return Ok(compile(nvrtc, element, arch)?.0) };
    let file = folder.join(format!("cuda-{:032x}.cubin", key(nvrtc, element, arch)));
    if let Some(cubin) = cache::read(&file) {
        return Ok(cubin);
    }
    let (cubin, _) = compile(nvrtc, element, arch)?;
    cache::write(&file, &cubin);
    Ok(cubin)
}

/// Tells these sources from others.
pub(crate) fn version() -> u128 {
    let mut hasher = XxHash3_128::with_seed(0);
    let mut add = |text: &str| {
        hasher.write(text.as_bytes());
        hasher.write(&[0]);
    };
    add(SOURCE.text);
    SOURCE.headers.iter().for_each(|(name, text)| {
        add(name);
        add(text);
    });
    hasher.finish_128()
}

/// Everything that the code depends on.
fn key(nvrtc: &Nvrtc, element: Element, arch: u32) -> u128 {
    let mut hasher = XxHash3_128::with_seed(0);
    let mut add = |text: &str| {
        hasher.write(text.as_bytes());
        hasher.write(&[0]);
    };
    add(&format!("{:032x}", version()));
    options(element, arch).iter().for_each(|option| add(option));
    add(&format!("{:?} {}", nvrtc.version(), nvrtc.file().display()));
    hasher.finish_128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library_files::tests::installed;

    /// Bytes that a kernel may spill for want of registers: none do, but two blocks of the product in f32
    /// leave 128 to a thread, and another compiler may be a handful short.
    const SPILLED: u32 = 16;

    /// Every kernel for every element and the architectures of A100, H100 and B200, with registers
    /// enough.
    #[test]
    fn compile_for_gpus() {
        let nvrtc = installed(Nvrtc::load);
        // Where there is a GPU, its own: NVRTC is then any that is there.
        let arch =
            |of: &crate::DeviceEntry| of.compute_capability[0] * 10 + of.compute_capability[1];
        let archs = match halovae_cuda_stand_in::is_real() {
            true => crate::devices().expect("a driver").iter().map(arch).collect(),
            false => vec![80, 90, 100],
        };
        for element in [Element::F32, Element::F16, Element::Bf16] {
            for &arch in &archs {
                let what = format!("{element:?}, sm_{arch}");
                let (cubin, log) =
                    compile(nvrtc, element, arch).unwrap_or_else(|error| panic!("{what}: {error}"));
                eprintln!("{what}: {} bytes\n{log}", cubin.len());
                assert!(cubin.starts_with(b"\x7fELF"), "{what}: no cubin");
                for kernel in Kernel::compiled(element, arch) {
                    let name = kernel.name().as_bytes();
                    let found = cubin.windows(name.len()).any(|part| part == name);
                    assert!(found, "{what}: no {}", kernel.name());
                }
                for line in log.lines().filter(|line| line.contains(" bytes spill stores")) {
                    let before = line.split(" bytes spill stores").next().unwrap();
                    let spilled: u32 = before.rsplit(' ').next().unwrap().parse().unwrap();
                    assert!(spilled <= SPILLED, "{what}: {line}");
                }
                // Where NVRTC keeps what it compiled before, nothing is told a second time.
                let is_kept = halovae_cuda_stand_in::is_real() && log.is_empty();
                assert!(is_kept || log.contains("registers"), "{what}: no registers in: {log}");
                // It is mentioned where the compiler waits for a product that it was not told to wait for.
                assert!(!log.contains("wgmma"), "{what}: {log}");
            }
        }
    }
}
