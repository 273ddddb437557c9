//! A short measured search for what is the fastest on an adapter, and a file that remembers it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halovae_engine::backend::{Backend, BackendError, Operand, Operands, WeightSource};
use halovae_engine::program::{Program, ProgramBuilder, WeightSpec};
use halovae_engine::tensor::{HostTensor, Shape};

use crate::backend::WgpuBackend;
use crate::cache;
use crate::device::Shared;
use crate::tuning::{Tile, Tuning};

/// Sides of the images that are measured, on GPUs and in software: large enough to tell.
const SIDES: [usize; 2] = [128, 32];
/// How long the search may go on: software takes seconds to compile a kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// Channels of the convs that are measured.
const CHANNELS: [u32; 4] = [32, 64, 128, 256];

const ALONE: [[u32; 2]; 4] = [[4, 8], [12, 8], [24, 4], [16, 8]];
const SHARED: [[u32; 2]; 4] = [[4, 1], [8, 1], [4, 2], [8, 2]];

/// Weights that nobody looks at.
struct AnyWeights;

impl WeightSource for AnyWeights {
    fn load(&self, _: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        out.fill(0.01);
        Ok(())
    }
}

fn conv(channels: u32) -> Program {
    let mut builder = ProgramBuilder::new(channels).expect("channels");
    let input = builder.latents();
    let output = builder.conv("conv", input, channels, 3).expect("a possible conv");
    builder.finish(output).expect("a whole program")
}

/// Seconds of a 3x3 conv with so many channels, the fewest of several runs.
fn seconds(backend: &WgpuBackend, channels: u32, tuning: Tuning) -> Result<f64, BackendError> {
    backend.tune(tuning);
    let program = conv(channels);
    let weights = backend.prepare(&program, &AnyWeights)?;
    let side = SIDES[usize::from(backend.is_software())];
    let shape = Shape::new(1, side, side, channels as usize);
    let input = backend.upload(&HostTensor::zeros(shape)?)?;
    let mut fewest = f64::INFINITY;
    // The first run compiles.
    for turn in 0..3 {
        backend.synchronize()?;
        let start = Instant::now();
        let operands = Operands::new([Operand::Shared(&input)]);
        backend.run(&program, &program.ops()[0], &weights, operands)?;
        backend.synchronize()?;
        if turn > 0 {
            fewest = fewest.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(fewest)
}

/// Measures, as far as it gets in a few seconds.
pub(crate) fn search(backend: &WgpuBackend) -> Result<Tuning, BackendError> {
    let start = Instant::now();
    let software = backend.is_software();
    let direct = |tile| Tuning { tile, winograd: u32::MAX };
    // llvmpipe runs eight invocations as one vector.
    let group = if software { 8 } else { 64 };
    let alone = ALONE.map(|[rows, columns]| Tile::Alone { rows, columns, group });
    let shared = SHARED.map(|[rows, columns]| Tile::Shared { rows, columns });
    // Barriers cost a CPU more than its caches give: none of these was ever close there.
    let candidates = match software {
        true => alone.to_vec(),
        false => [&shared[..], &alone[..]].concat(),
    };
    let mut best = (f64::INFINITY, candidates[0]);
    for tile in candidates {
        if start.elapsed() > PATIENCE {
            break;
        }
        let took = seconds(backend, 128, direct(tile))?;
        if took < best.0 {
            best = (took, tile);
        }
    }
    let tile = best.1;
    if start.elapsed() > PATIENCE {
        return Ok(Tuning { tile, ..Tuning::guess(software) });
    }
    let mut tuning = direct(tile);
    // From the widest down, as long as Winograd wins.
    for channels in CHANNELS.into_iter().rev() {
        let winograd = Tuning { tile, winograd: channels };
        if seconds(backend, channels, winograd)? >= seconds(backend, channels, direct(tile))? {
            break;
        }
        tuning = winograd;
    }
    Ok(tuning)
}

/// Where tunings are remembered: one line for each adapter, driver and precision.
pub(crate) struct Remembered {
    file: PathBuf,
    key: String,
}

impl Remembered {
    pub(crate) fn new(folder: &Path, shared: &Shared) -> Self {
        let adapter = &shared.adapter;
        let precision = shared.options.precision;
        // The version of the file is that of the kernels: other ones want another search.
        let file = folder.join(concat!("wgpu-tuning-", env!("CARGO_PKG_VERSION"), ".txt"));
        let key = format!("{} | {} | {precision:?}", adapter.name, adapter.driver);
        Self { file, key: key.replace(['\t', '\n'], " ") }
    }

    /// What was found before. A file that is not there or damaged is as none.
    pub(crate) fn read(&self) -> Option<Tuning> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.lines().find_map(|line| {
            let (key, tuning) = line.split_once('\t')?;
            (key == self.key).then(|| Tuning::parse(tuning)).flatten()
        })
    }

    /// Remembers.
    pub(crate) fn write(&self, tuning: Tuning) {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let own = format!("{}\t{tuning}", self.key);
        let others = text.lines().filter(|line| line.split('\t').next() != Some(&self.key));
        let lines: Vec<&str> = others.chain([own.as_str()]).collect();
        cache::replace(&self.file, (lines.join("\n") + "\n").as_bytes());
    }
}
