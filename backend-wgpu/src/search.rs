//! A short measured search for what is the fastest on an adapter, and a file that remembers it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halovae_core::Region;
use halovae_engine::backend::{Backend, BackendError, Operand, Operands, WeightSource};
use halovae_engine::cache;
use halovae_engine::program::{Program, ProgramBuilder, WeightSpec};
use halovae_engine::tensor::{HostTensor, Shape};

use crate::backend::{WgpuBackend, WgpuWeights};
use crate::kernels::{self, GROUP};
use crate::options::Precision;
use crate::shared::Shared;
use crate::store::Value;
use crate::tuning::{Abilities, Tile, Tuning};

/// Sides of the images on which tiles are measured, on GPUs and in software: large enough to tell.
const SIDES: [usize; 2] = [128, 32];
/// Transforms want larger ones by this: they pay when there are many windows for each kernel.
const LARGER: usize = 2;
/// How long the search may go on: software takes seconds to compile a kernel.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often each way is measured. The fewest seconds count: nothing makes a kernel faster than it is.
const ROUNDS: u32 = 5;
/// Channels of the convs that are measured.
const CHANNELS: [u32; 4] = [32, 64, 128, WIDEST];
const WIDEST: u32 = 256;

const ALONE: [[u32; 2]; 3] = [[12, 8], [24, 4], [16, 8]];
const LANES: [[u32; 2]; 3] = [[4, 8], [8, 8], [4, 16]];
const SHARED: [[u32; 2]; 4] = [[4, 1], [8, 1], [4, 2], [8, 2]];

/// Weights, and an input, that are neither zero nor all the same.
struct AnyWeights;

fn any_number(place: usize) -> f32 {
    // Knuth's multiplicative hash, its upper bits.
    ((place as u32).wrapping_mul(2_654_435_761) >> 16) as f32 / 65536.0 - 0.5
}

impl WeightSource for AnyWeights {
    fn load(&self, _: &WeightSpec, out: &mut [f32]) -> Result<(), BackendError> {
        out.iter_mut().enumerate().for_each(|(place, value)| *value = any_number(place) / 8.0);
        Ok(())
    }
}

fn conv(channels: u32) -> Program {
    let mut builder = ProgramBuilder::new(channels).expect("channels");
    let input = builder.latents();
    let output = builder.conv("conv", input, channels, 3).expect("a possible conv");
    builder.finish(output).expect("a whole program")
}

/// A way of computing a 3x3 conv, ready to run.
struct Entrant<'a> {
    backend: &'a WgpuBackend,
    tuning: Tuning,
    program: Program,
    weights: WgpuWeights,
    input: Value,
    /// The fewest seconds of its runs.
    seconds: f64,
}

impl<'a> Entrant<'a> {
    /// Runs it once, for which it is compiled.
    fn new(
        backend: &'a WgpuBackend,
        side: usize,
        channels: u32,
        tuning: Tuning,
    ) -> Result<Self, BackendError> {
        backend.tune(tuning);
        let program = conv(channels);
        let weights = backend.prepare(&program, &AnyWeights)?;
        let shape = Shape::new(1, side, side, channels as usize);
        let numbers = (0..side * side * channels as usize).map(any_number).collect();
        let input = backend.upload(&HostTensor::new(shape, numbers).expect("as many numbers"))?;
        let entrant = Self { backend, tuning, program, weights, input, seconds: f64::INFINITY };
        entrant.output()?;
        Ok(entrant)
    }

    fn output(&self) -> Result<Value, BackendError> {
        self.backend.tune(self.tuning);
        let operands = Operands::new([Operand::Shared(&self.input)]);
        let output =
            self.backend.run(&self.program, &self.program.ops()[0], &self.weights, operands)?;
        self.backend.synchronize()?;
        Ok(output)
    }

    fn first_rows(&self) -> Result<HostTensor, BackendError> {
        let output = self.output()?;
        self.backend.download(&output, Region::new(0, 0, 5, output.shape.width as u32))
    }

    fn run(&mut self) -> Result<(), BackendError> {
        let start = Instant::now();
        self.output()?;
        self.seconds = self.seconds.min(start.elapsed().as_secs_f64());
        Ok(())
    }
}

/// Lets ways of computing a conv with so many channels take turns, so that what else the machine does
/// befalls all of them. As many as can be compiled until the deadline, and at least one.
fn race(
    backend: &WgpuBackend,
    side: usize,
    channels: u32,
    tunings: impl IntoIterator<Item = Tuning>,
    deadline: Instant,
) -> Result<Vec<Entrant<'_>>, BackendError> {
    let mut entrants = Vec::new();
    for tuning in tunings {
        if entrants.is_empty() || Instant::now() < deadline {
            entrants.push(Entrant::new(backend, side, channels, tuning)?);
        }
    }
    for _ in 0..ROUNDS {
        entrants.iter_mut().try_for_each(Entrant::run)?;
    }
    Ok(entrants)
}

/// Whether two ways of computing the same agree, to what their precision allows.
fn agree(precision: Precision, one: &HostTensor, other: &HostTensor) -> bool {
    let allowed = match precision {
        Precision::F32 => 1e-4,
        Precision::F16 => 1e-2,
    };
    let bound = allowed * one.max_abs();
    one.data().iter().zip(other.data()).all(|(a, b)| (a - b).abs() <= bound)
}

/// Tiles that may be the fastest, the most promising first.
fn candidates(backend: &WgpuBackend) -> Vec<Tile> {
    let lanes = backend
        .shared
        .abilities
        .lanes
        .into_iter()
        .flat_map(|lanes| LANES.map(|[rows, columns]| Tile::Lanes { rows, columns, lanes }));
    // llvmpipe runs eight invocations as one vector.
    let group = if backend.shared.abilities.is_software { 8 } else { 64 };
    let alone = ALONE.map(|[rows, columns]| Tile::Alone { rows, columns, group });
    let shared = SHARED.map(|[rows, columns]| Tile::Shared { rows, columns });
    // Barriers cost a CPU more than its caches give: none of these was ever close there.
    let matrices = backend.shared.abilities.matrices.then_some(Tile::Matrices);
    match backend.shared.abilities.is_software {
        true => lanes.chain(alone).collect(),
        false => matrices.into_iter().chain(shared).chain(alone).collect(),
    }
}

/// Measures, as far as it gets in a few seconds.
pub(crate) fn search(backend: &WgpuBackend) -> Result<Tuning, BackendError> {
    let deadline = Instant::now() + PATIENCE;
    let guess = backend.shared.tuning();
    let Abilities { precision, is_software, .. } = backend.shared.abilities;
    let side = SIDES[usize::from(is_software)];
    let direct = |tile| Tuning { tile, winograd: u32::MAX, ..guess };
    let fastest = |entrants: Vec<Entrant<'_>>| {
        let first = entrants.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds));
        first.map(|entrant| entrant.tuning)
    };
    // A way whose results differ is a driver's bug, or ours, and never chosen. The first one is the
    // simplest.
    let plain = Tile::Alone { rows: 2, columns: 4, group: GROUP };
    let tiles = std::iter::once(plain).chain(candidates(backend));
    let entrants = race(backend, side, 128, tiles.map(direct), deadline)?;
    let expected = entrants[0].first_rows()?;
    let mut right = Vec::new();
    for entrant in entrants {
        if agree(precision, &expected, &entrant.first_rows()?) {
            right.push(entrant);
        }
    }
    // A device that makes no numbers at all agrees with nothing; the first decode fails.
    let tile = fastest(right).map_or(plain, |tuning| tuning.tile);

    if Instant::now() > deadline {
        return Ok(Tuning { tile, ..guess });
    }
    let transforms = backend.shared.abilities.transforms().iter();
    let transformed = transforms.map(|&transform| Tuning { tile, transform, winograd: WIDEST });
    let transform = fastest(race(backend, LARGER * side, WIDEST, transformed, deadline)?)
        .map_or(guess.transform, |tuning| tuning.transform);
    let mut tuning = Tuning { transform, ..direct(tile) };
    // From the widest down, as long as Winograd wins.
    for channels in CHANNELS.into_iter().rev() {
        let ways = [direct(tile), Tuning { winograd: channels, ..tuning }];
        // The deadline may have passed; this takes little longer.
        let later = Instant::now() + PATIENCE;
        match fastest(race(backend, LARGER * side, channels, ways, later)?) {
            Some(faster) if faster.winograd == channels => tuning = faster,
            _ => break,
        }
    }
    Ok(tuning)
}

/// Where tunings are remembered: one line for each adapter, driver and precision.
pub(crate) struct Remembered {
    file: PathBuf,
    key: String,
    abilities: Abilities,
}

impl Remembered {
    pub(crate) fn new(folder: &Path, shared: &Shared) -> Self {
        let adapter = &shared.adapter;
        let abilities = shared.abilities;
        let precision = abilities.precision;
        // Other kernels want another search.
        let file = folder.join(format!("wgpu-tuning-{:016x}.txt", kernels::sources_hash()));
        let key = format!("{} | {} | {precision:?}", adapter.name, adapter.driver);
        Self { file, key: key.replace(['\t', '\n'], " "), abilities }
    }

    /// What was found before. A file that is not there or damaged is as none.
    pub(crate) fn read(&self) -> Option<Tuning> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.lines().find_map(|line| {
            let (key, tuning) = line.split_once('\t')?;
            let parsed = || Tuning::parse(tuning, self.abilities);
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
