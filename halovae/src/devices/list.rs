//! What can decode on this machine.

use halovae_cpu::kernels::Level;
use halovae_engine::backend::Backend;
use halovae_engine::format_bytes;

use super::device::Device;
use super::set::cpu;
use super::{cuda, gpus};
use crate::error::Error;
use crate::memory;
use crate::plan::threads;

/// All of them: the CPU, NVIDIA's GPUs, those of any vendor.
///
/// # Errors
/// That the system gives no threads.
pub fn list() -> Result<Vec<Device>, Error> {
    let threads = threads(None);
    let device = cpu(threads)?;
    let cpu = Device::new(device.name(), device.description())
        .with("model", cpu_model().unwrap_or_else(|| std::env::consts::ARCH.into()))
        .with("threads", threads.to_string())
        .with("vectors", level(Level::detect()));
    let cpu = match memory::total() {
        None => cpu,
        Some(total) => {
            let free = memory::available().unwrap_or(total);
            let memory = format!("{}, {} free", format_bytes(total), format_bytes(free));
            Device { memory_bytes: Some(total), ..cpu.with("memory", memory) }
        }
    };
    Ok([vec![cpu], cuda::list(), gpus::list()].concat())
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Portable => "as compiled (no AVX2)",
        Level::Avx2 => "AVX2 and FMA",
        Level::Avx512 => "AVX-512",
    }
}

/// What Linux calls the processor.
fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
