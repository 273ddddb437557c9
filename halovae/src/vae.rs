//! An opened VAE.

use std::path::{Path, PathBuf};

use halovae_engine::checkpoint::{Checkpoint, CheckpointError, VaeConfig, read_config};
use halovae_engine::group::Fact;
use halovae_engine::latents::{LatentsFile, LatentsFormat};
use halovae_engine::program::{Program, fold_single_frame};
use halovae_engine::tensor::{HostTensor, Shape};

use crate::decode::{Decoder, facts};
use crate::error::Error;
use crate::latents::{Latents, for_decoder};
use crate::notice::Notice;
use crate::options::{DecodeOptions, LatentsOptions, ModelTiles, OpenOptions};
use crate::plan::Planned;
use crate::recipe::Recipe;

/// A VAE whose checkpoint is open: its config and weights fit each other.
///
/// ```
/// use halovae::{DecodeOptions, LatentsOptions, Vae};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
///
/// let vae = Vae::open("examples/demo-vae/vae")?;
/// let latents =
///     vae.read_latents("examples/demo-vae/latents/china.safetensors", &LatentsOptions::default())?;
/// let picture = vae.decode(&latents.tensor, &DecodeOptions::cpu())?;
/// assert_eq!((picture.shape().height, picture.shape().width), (424, 640));
/// # Ok::<(), halovae::Error>(())
/// ```
#[derive(Debug)]
pub struct Vae {
    checkpoint: Checkpoint,
    program: Program,
    notices: Vec<Notice>,
}

impl Vae {
    /// Opens a folder in diffusers' format (of a VAE, or of a pipeline with a `vae` in it), or a single
    /// file of weights, of a VAE or of a whole model.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::Weights`] and [`Error::Program`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// The same, with a config or weights that are not those that would be taken.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let OpenOptions { config, variant } = options;
        let checkpoint = Checkpoint::open_variant(path, config.as_deref(), variant.as_deref())?;
        let program = decoder(path, checkpoint.config())?;
        let wanted =
            program.weights().iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
        checkpoint.verify(wanted)?;
        let notices = Notice::of_checkpoint(&checkpoint, variant.as_deref());
        Ok(Self { checkpoint, program, notices })
    }

    /// The checkpoint: its files, names and weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The files that were read.
    pub fn sources(&self) -> &[PathBuf] {
        self.checkpoint.sources()
    }

    /// The config.
    pub fn config(&self) -> &dyn VaeConfig {
        self.checkpoint.config()
    }

    /// The decoder, of any number of frames.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What was decided while it was opened.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Reads latents from a `.safetensors`, `.npy` or `.latent` and brings them into the space that the
    /// decoder takes.
    ///
    /// # Errors
    /// [`Error::Latents`]; [`Error::Checkpoint`] for latents of a pipeline where the checkpoint does not tell
    /// how these are scaled.
    pub fn read_latents(
        &self,
        path: impl AsRef<Path>,
        options: &LatentsOptions,
    ) -> Result<Latents, Error> {
        let file = LatentsFile::read(path.as_ref(), options.latents_key.as_deref())?;
        for_decoder(&file, options, &self.checkpoint, &self.program)
    }

    /// The same of the bytes of such a file, as a server or another program has them.
    ///
    /// # Errors
    /// As [`read_latents`](Self::read_latents), with `<memory>` for the file.
    pub fn read_latents_from(
        &self,
        bytes: Vec<u8>,
        format: LatentsFormat,
        options: &LatentsOptions,
    ) -> Result<Latents, Error> {
        let file = LatentsFile::from_bytes(bytes, format, options.latents_key.as_deref())?;
        for_decoder(&file, options, &self.checkpoint, &self.program)
    }

    /// Plans the decode of latents of that shape (`[batch, frames, height, width, channels]`), for a
    /// group of so many ranks if it is known how many there are.
    ///
    /// # Errors
    /// The planner's, and options that do not go together.
    pub fn plan(
        &self,
        latents: Shape,
        options: &DecodeOptions,
        group: Option<u32>,
    ) -> Result<Planned, Error> {
        Recipe::new(self.config(), &self.program).plan(latents, options, group)
    }

    /// Opens the devices and hands them the weights. The decoder takes latents of any size: of images
    /// and of videos, where the VAE has those. For latents of one frame alone
    /// [`decoder_for`](Self::decoder_for) prepares one that computes less.
    ///
    /// # Errors
    /// What a device says; options that do not go together.
    pub fn decoder(&self, options: &DecodeOptions) -> Result<Decoder, Error> {
        let ranks = options.cut.vae_patch_parallel_size.unwrap_or(1);
        Decoder::new(&self.checkpoint, self.program.clone(), options, 0..ranks)
    }

    /// The same for latents like those that were planned: of one frame, or of several; with as many ranks
    /// as these keep busy.
    ///
    /// # Errors
    /// As [`decoder`](Self::decoder).
    pub fn decoder_for(
        &self,
        planned: &Planned,
        options: &DecodeOptions,
    ) -> Result<Decoder, Error> {
        Decoder::new(&self.checkpoint, self.program_for(planned), options, 0..planned.ranks)
    }

    /// The same for one rank of a group of processes, which has the `seat`th of the machine's devices.
    ///
    /// # Errors
    /// As [`decoder`](Self::decoder).
    pub fn decoder_of_rank(
        &self,
        planned: &Planned,
        options: &DecodeOptions,
        seat: u32,
    ) -> Result<Decoder, Error> {
        Decoder::new(&self.checkpoint, self.program_for(planned), options, seat..seat + 1)
    }

    /// Decodes latents (`[batch, frames, height, width, channels]`, as
    /// [`read_latents`](Self::read_latents) gives them) into memory: values as diffusers' VAE gives them,
    /// from -1 to 1 for a picture's.
    ///
    /// # Errors
    /// [`Error`].
    pub fn decode(
        &self,
        latents: &HostTensor,
        options: &DecodeOptions,
    ) -> Result<HostTensor, Error> {
        let planned = self.plan(latents.shape(), options, None)?;
        self.decoder_for(&planned, options)?.decode(latents)
    }

    /// The shape of what latents of that shape decode to by this plan.
    pub fn result(&self, planned: &Planned, latents: Shape) -> Shape {
        Recipe::new(self.config(), &self.program).result(planned, latents.batch)
    }

    /// What is assumed of values beyond the range of a picture, where neither config nor weights tell how
    /// they are written.
    pub fn assumed_range(&self, planned: &Planned) -> Option<Notice> {
        let assumed = self.config().assumed_of_range(planned.plan.strategy());
        assumed.map(|what| Notice::AssumedRange { what })
    }

    /// What processes that decode together must have the same of, as a digest each. Paths are not
    /// among them: files may lie elsewhere on every machine.
    pub fn facts(
        &self,
        latents: &HostTensor,
        planned: &Planned,
        options: &DecodeOptions,
    ) -> Vec<Fact> {
        facts(options, &self.checkpoint, &self.program_for(planned), latents, planned)
    }

    fn program_for(&self, planned: &Planned) -> Program {
        for_frames(self.program.clone(), planned.plan.input().frames)
    }
}

/// The decoder for latents of that many frames: of a single one there is less to compute.
pub(crate) fn for_frames(program: Program, frames: u32) -> Program {
    match frames {
        1 => fold_single_frame(&program),
        _ => program,
    }
}

/// What can be planned for.
pub(crate) struct Plannable {
    /// The tiles of its own.
    pub(crate) tiles: ModelTiles,
    /// Whether it decodes videos.
    pub(crate) is_video: bool,
    pub(crate) program: Program,
    /// What is to be told of it.
    pub(crate) notices: Vec<Notice>,
    /// The files that were read.
    pub(crate) sources: Vec<PathBuf>,
}

impl Plannable {
    pub(crate) fn of(vae: &Vae) -> Self {
        let Vae { checkpoint, program, notices } = vae;
        Self {
            tiles: ModelTiles::of(checkpoint.config()),
            is_video: checkpoint.config().is_video(),
            program: program.clone(),
            notices: notices.clone(),
            sources: checkpoint.sources().to_vec(),
        }
    }
}

/// Opens what can be planned for. Weights must fit the decoder if there are any; a folder with nothing
/// but a config will do.
pub(crate) fn open_config(path: &Path, options: &OpenOptions) -> Result<Plannable, Error> {
    match Vae::open_with(path, options) {
        Ok(vae) => Ok(Plannable::of(&vae)),
        Err(Error::Checkpoint(CheckpointError::NoWeights {
            config: Some(own),
            mut sources,
            ..
        })) => {
            sources.extend(options.config.clone());
            let config = read_config(options.config.as_ref().unwrap_or(&own))?;
            let program = decoder(path, &*config)?;
            Ok(Plannable {
                tiles: ModelTiles::of(&*config),
                is_video: config.is_video(),
                program,
                notices: Vec::new(),
                sources,
            })
        }
        Err(error) => Err(error),
    }
}

fn decoder(path: &Path, config: &dyn VaeConfig) -> Result<Program, Error> {
    config.decoder().map_err(|source| Error::Program { path: path.into(), source: source.into() })
}
