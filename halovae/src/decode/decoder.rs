//! Devices with a VAE's weights on them.

use std::num::NonZeroU32;
use std::ops::Range;

use halovae_core::PlanError;
use halovae_engine::backend::Backend;
use halovae_engine::checkpoint::Checkpoint;
use halovae_engine::decode;
use halovae_engine::program::Program;
use halovae_engine::sink::{MemorySink, Sink};
use halovae_engine::tensor::{HostTensor, Shape};
use halovae_engine::wrap::Traced;

use super::control::{Control, Together};
use super::job::{Done, Job};
use super::run::Run;
use crate::devices::{self, BoxedLinks, Devices};
use crate::error::Error;
use crate::notice::Notice;
use crate::options::DecodeOptions;
use crate::plan::{Planned, threads};
use crate::recipe::Recipe;

/// Devices with a VAE's weights on them: decodes any number of latents, one after the other.
///
/// It holds neither the checkpoint nor its files.
pub struct Decoder {
    run: Box<dyn Run>,
    recipe: Recipe,
    options: DecodeOptions,
    threads: u32,
    notices: Vec<Notice>,
}

impl Decoder {
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        program: Program,
        options: &DecodeOptions,
        seats: Range<u32>,
    ) -> Result<Self, Error> {
        if seats.is_empty() {
            return Err(PlanError::Zero { name: "vae_patch_parallel_size" }.into());
        }
        let mut notices = Vec::new();
        let threads = threads(options.devices.threads);
        let devices = devices::open(&options.devices, threads, seats, &program, &mut notices)?;
        let recipe = Recipe::new(checkpoint.config(), &program);
        let load = Load { checkpoint, program, trace: options.trace };
        let run = match devices {
            Devices::Cpu(backends) => load.on(backends, None)?,
            #[cfg(feature = "cuda")]
            Devices::Cuda(backends) => {
                let links = devices::cuda::links(&backends, options.devices.exchange)?;
                load.on(backends, links)?
            }
            #[cfg(feature = "wgpu")]
            Devices::Wgpu(backends) => load.on(backends, None)?,
        };
        Ok(Self { run, recipe, options: options.clone(), threads, notices })
    }

    /// What decodes, in words: the device and its type of values.
    pub fn description(&self) -> String {
        self.run.description()
    }

    /// How many ranks it has.
    pub fn rank_count(&self) -> u32 {
        self.run.rank_count()
    }

    /// CPU threads over all ranks of this process.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// What was decided while devices were opened.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// How many frames of its videos make a second, where its models have such a custom.
    pub fn frames_per_second(&self) -> Option<NonZeroU32> {
        self.recipe.frames_per_second
    }

    /// Plans the decode of latents of that shape.
    ///
    /// # Errors
    /// The planner's, and options that do not go together.
    pub fn plan(&self, latents: Shape) -> Result<Planned, Error> {
        self.recipe.plan(latents, &self.options, None)
    }

    /// A decode by that plan of latents of that shape, ready to run: what of its memory is chosen once the
    /// weights are on the devices is chosen, with all ranks where processes decode together.
    ///
    /// # Errors
    /// That the memory that is allowed is too little, and what other processes fail with.
    pub fn job<'a>(
        &'a self,
        planned: Planned,
        latents: Shape,
        together: Option<Together<'a>>,
    ) -> Result<Job<'a>, Error> {
        Job::new(&*self.run, &self.recipe, &self.options, planned, latents, together)
    }

    /// Decodes into memory. Latents are `[batch, frames, height, width, channels]`; so is the result.
    ///
    /// # Errors
    /// [`Error`].
    pub fn decode(&self, latents: &HostTensor) -> Result<HostTensor, Error> {
        let mut sink = MemorySink::default();
        self.decode_into(latents, &mut sink, &Control::default())?;
        Ok(sink.into_picture().expect("a decode that succeeds begins"))
    }

    /// Decodes, and gives rows to `sink` as they are finished: frame by frame, from top to bottom.
    ///
    /// # Errors
    /// [`Error`]; the sink may have taken rows by then. The decoder can be used again.
    pub fn decode_into(
        &self,
        latents: &HostTensor,
        sink: &mut dyn Sink,
        control: &Control<'_>,
    ) -> Result<Done, Error> {
        let planned = self.plan(latents.shape())?;
        self.job(planned, latents.shape(), None)?.run(latents, Some(sink), control)
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ranks = self.rank_count();
        f.debug_struct("Decoder").field("ranks", &ranks).finish_non_exhaustive()
    }
}

/// What goes onto devices.
struct Load<'a> {
    checkpoint: &'a Checkpoint,
    program: Program,
    /// Whether the time of every op is taken.
    trace: bool,
}

impl Load<'_> {
    fn on<B: Backend + 'static>(
        self,
        backends: Vec<B>,
        links: Option<BoxedLinks<B>>,
    ) -> Result<Box<dyn Run>, Error> {
        let Self { checkpoint, program, trace } = self;
        let backends = backends.into_iter().map(|backend| Traced::new(backend, trace));
        let backends = backends.collect::<Result<Vec<_>, _>>()?;
        let decoder =
            decode::Decoder::new(&program, checkpoint, backends).map_err(Error::prepare)?;
        Ok(match links {
            Some(links) => Box::new(decoder.linked(links)),
            None => Box::new(decoder),
        })
    }
}
