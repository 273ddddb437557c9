//! `halovae devices`: what can decode here.

use halovae_cpu::kernels::Level;
use halovae_engine::backend::Backend;
use halovae_engine::format_bytes;

use crate::backend::{cuda, gpus};
use crate::console::emit;
use crate::error::Error;
use crate::{backend, memory};

/// Prints the devices.
///
/// # Errors
/// What a backend says; that stdout takes nothing.
pub(crate) fn run() -> Result<(), Error> {
    let threads = backend::threads(None);
    let cpu = backend::cpu(threads)?;
    let mut text = format!("{}  {}\n", cpu.name(), cpu.description());
    let mut line = |name: &str, value: &str| text.push_str(&format!("     {name:<10}{value}\n"));
    line("model", &cpu_model().unwrap_or_else(|| std::env::consts::ARCH.into()));
    line("threads", &threads.to_string());
    line("vectors", level(Level::detect()));
    if let Some(total) = memory::total() {
        let available = memory::available().unwrap_or(total);
        line("memory", &format!("{}, {} free", format_bytes(total), format_bytes(available)));
    }
    text.push_str(&cuda::describe());
    text.push_str(&gpus::describe());
    emit(text.as_bytes(), None)
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
