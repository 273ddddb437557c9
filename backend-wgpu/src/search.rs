//! A short measured search for what is the fastest on an adapter, and a file that remembers it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halovae_engine::backend::{Backend, BackendError, Operand, Operands, WeightSource};
use halovae_engine::program::{Program, ProgramBuilder, WeightSpec};
use halovae_engine::tensor::{HostTensor, Shape};

use crate::backend::WgpuBackend;
use crate::cache;
use crate::device::{Precision, Shared};
use crate::tuning::{Tile, Tuning, transforms};

/// Sides of the images that are measured, on GPUs and in software: large enough to tell.
const SIDES: [usize; 2] = [128, 32];
/// How long the search may go on: software takes seconds to compile a kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// Channels of the convs that are measured.
const CHANNELS: [u32; 4] = [32, 64, 128, WIDEST];
const WIDEST: u32 = 256;

const ALONE: [[u32; 2]; 3] = [[12, 8], [24, 4], [16, 8]];
const LANES: [[u32; 2]; 3] = [[4, 8], [8, 8], [4, 16]];
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
    let side = SIDES[usize::from(backend.shared.adapter.is_software())];
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

/// Tiles that may be the fastest, the most promising first.
fn candidates(backend: &WgpuBackend) -> Vec<Tile> {
    let lanes = backend
        .shared
        .lanes
        .into_iter()
        .flat_map(|lanes| LANES.map(|[rows, columns]| Tile::Lanes { rows, columns, lanes }));
    // llvmpipe runs eight invocations as one vector.
    let group = if backend.shared.adapter.is_software() { 8 } else { 64 };
    let alone = ALONE.map(|[rows, columns]| Tile::Alone { rows, columns, group });
    let shared = SHARED.map(|[rows, columns]| Tile::Shared { rows, columns });
    // Barriers cost a CPU more than its caches give: none of these was ever close there.
    match backend.shared.adapter.is_software() {
        true => lanes.chain(alone).collect(),
        false => shared.into_iter().chain(alone).collect(),
    }
}

/// Measures, as far as it gets in a few seconds.
pub(crate) fn search(backend: &WgpuBackend) -> Result<Tuning, BackendError> {
    let start = Instant::now();
    let guess = backend.shared.tuning();
    let direct = |tile| Tuning { tile, winograd: u32::MAX, ..guess };
    let mut best = (f64::INFINITY, guess.tile);
    for tile in candidates(backend) {
        if start.elapsed() > PATIENCE {
            break;
        }
        let took = seconds(backend, 128, direct(tile))?;
        if took < best.0 {
            best = (took, tile);
        }
    }
    let tile = best.1;
    let mut fastest = (f64::INFINITY, guess.transform);
    for &transform in transforms(backend.shared.options.precision) {
        if start.elapsed() > PATIENCE {
            return Ok(Tuning { tile, ..guess });
        }
        let took = seconds(backend, WIDEST, Tuning { tile, transform, winograd: WIDEST })?;
        if took < fastest.0 {
            fastest = (took, transform);
        }
    }
    let transform = fastest.1;
    let mut tuning = Tuning { transform, ..direct(tile) };
    // From the widest down, as long as Winograd wins.
    for channels in CHANNELS.into_iter().rev() {
        let winograd = Tuning { winograd: channels, ..tuning };
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
    lanes: Option<u32>,
    precision: Precision,
}

impl Remembered {
    pub(crate) fn new(folder: &Path, shared: &Shared) -> Self {
        let adapter = &shared.adapter;
        let precision = shared.options.precision;
        let lanes = shared.lanes;
        // The version of the file is that of the kernels: other ones want another search.
        let file = folder.join(concat!("wgpu-tuning-", env!("CARGO_PKG_VERSION"), ".txt"));
        let key = format!("{} | {} | {precision:?}", adapter.name, adapter.driver);
        Self { file, key: key.replace(['\t', '\n'], " "), lanes, precision }
    }

    /// What was found before. A file that is not there or damaged is as none.
    pub(crate) fn read(&self) -> Option<Tuning> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.lines().find_map(|line| {
            let (key, tuning) = line.split_once('\t')?;
            let parsed = || Tuning::parse(tuning, self.lanes, self.precision);
            (key == self.key).then(parsed).flatten()
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
