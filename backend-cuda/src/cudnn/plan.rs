//! Engines for a spec, compiled plans, and running them.

use std::ffi::c_void;
use std::fmt::Write;

use halovae_engine::backend::BackendError;

use super::descriptor::{Descriptor, HeuristicsMode, Kind, KnobType, NumericalNote, attribute};
use super::graph::{BIAS, DECAY, Graph, LEFT, OUT, RESIDUAL, RIGHT};
use super::library::Cudnn;
use super::spec::{Pointers, Spec};
use super::target::{Handle, Target, failed};

/// The heuristics that know most, `CUDNN_HEUR_MODE_A`.
const MODE_A: HeuristicsMode = HeuristicsMode(3);

/// Tensor cores, and NaNs that stay: all that an engine may note. Others round operands or sums, change
/// their order from run to run, or transform them (Winograd, FFT), which costs digits that f16 and bf16
/// do not have.
const HARMLESS: [NumericalNote; 2] = [NumericalNote(0), NumericalNote(9)];

/// The most of what cuDNN is asked for: it proposes some twenty engines, of which those that follow are
/// hardly better, and has 46 knobs and ten notes.
const PROPOSALS: usize = 32;
const KNOBS: usize = 64;
const NOTES: usize = 16;

/// An engine of cuDNN's and what is set of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    engine: i64,
    /// Types of knobs, and what they are set to.
    knobs: Vec<(i32, i64)>,
}

impl Config {
    /// As numbers: the engine, then types and values of knobs.
    pub(super) fn to_text(&self) -> String {
        let mut text = self.engine.to_string();
        for (kind, value) in &self.knobs {
            // Writing into a String cannot fail.
            let _ = write!(text, " {kind} {value}");
        }
        text
    }

    pub(super) fn of_text(text: &str) -> Option<Self> {
        let numbers: Result<Vec<i64>, _> = text.split_whitespace().map(str::parse).collect();
        let numbers = numbers.ok()?;
        let (&engine, knobs) = numbers.split_first()?;
        let (knobs, rest) = knobs.as_chunks::<2>();
        let knobs = knobs.iter().map(|&[kind, value]| Some((i32::try_from(kind).ok()?, value)));
        rest.is_empty().then_some(Self { engine, knobs: knobs.collect::<Option<_>>()? })
    }
}

/// Engines for a spec, the most promising first.
///
/// # Errors
/// What cuDNN says, of a spec that none of its engines takes.
pub(super) fn candidates(
    cudnn: &'static Cudnn,
    target: Target<'_>,
    spec: &Spec,
) -> Result<Vec<Config>, String> {
    let graph = Graph::new(cudnn, target, spec)?;
    let heuristics = Descriptor::new(cudnn, Kind::Heuristics)?;
    heuristics.set_descriptor(attribute::ENGINEHEUR_OPERATION_GRAPH, &graph.graph)?;
    heuristics.set(attribute::ENGINEHEUR_MODE, &[MODE_A])?;
    #[cfg(test)]
    target.set_device(&heuristics, attribute::ENGINEHEUR_DEVICEPROP)?;
    let results = attribute::ENGINEHEUR_RESULTS;
    let configs = heuristics.finalize()?.get_descriptors(results, Kind::EngineConfig, PROPOSALS)?;
    let mut found = Vec::new();
    for config in configs {
        let engines = config.get_descriptors(attribute::ENGINECFG_ENGINE, Kind::Engine, 1)?;
        let Some(engine) = engines.first() else { continue };
        let notes = engine.get_up_to::<NumericalNote>(attribute::ENGINE_NUMERICAL_NOTE, NOTES)?;
        if !notes.iter().all(|note| HARMLESS.contains(note)) {
            continue;
        }
        let knobs =
            config.get_descriptors(attribute::ENGINECFG_KNOB_CHOICES, Kind::KnobChoice, KNOBS)?;
        let knobs = knobs.iter().map(|knob| {
            let KnobType(kind) = knob.get(attribute::KNOB_CHOICE_KNOB_TYPE)?;
            Ok((kind, knob.get(attribute::KNOB_CHOICE_KNOB_VALUE)?))
        });
        let knobs = knobs.collect::<Result<_, String>>()?;
        let config = Config { engine: engine.get(attribute::ENGINE_GLOBAL_INDEX)?, knobs };
        if !found.contains(&config) {
            found.push(config);
        }
    }
    Ok(found)
}

/// A plan for a spec: as text, to be [loaded](Plan::load).
///
/// # Errors
/// What cuDNN says; or that the engine needs memory, which the estimate of a decode does not have.
pub(super) fn compile(
    cudnn: &'static Cudnn,
    target: Target<'_>,
    spec: &Spec,
    config: &Config,
) -> Result<String, String> {
    let graph = Graph::new(cudnn, target, spec)?;
    let engine = Descriptor::new(cudnn, Kind::Engine)?;
    engine.set_descriptor(attribute::ENGINE_OPERATION_GRAPH, &graph.graph)?;
    engine.set(attribute::ENGINE_GLOBAL_INDEX, &[config.engine])?;
    #[cfg(test)]
    target.set_device(&engine, attribute::ENGINE_DEVICEPROP)?;
    let engine = engine.finalize()?;
    let knobs = config.knobs.iter().map(|&(kind, value)| {
        let knob = Descriptor::new(cudnn, Kind::KnobChoice)?;
        knob.set(attribute::KNOB_CHOICE_KNOB_TYPE, &[KnobType(kind)])?;
        knob.set(attribute::KNOB_CHOICE_KNOB_VALUE, &[value])?;
        knob.finalize()
    });
    let knobs: Vec<Descriptor> = knobs.collect::<Result<_, String>>()?;
    let choice = Descriptor::new(cudnn, Kind::EngineConfig)?;
    choice.set_descriptor(attribute::ENGINECFG_ENGINE, &engine)?;
    if !knobs.is_empty() {
        let knobs: Vec<&Descriptor> = knobs.iter().collect();
        choice.set_descriptors(attribute::ENGINECFG_KNOB_CHOICES, &knobs)?;
    }
    let choice = choice.finalize()?;
    let plan = Descriptor::new(cudnn, Kind::Plan)?;
    plan.set_descriptor(attribute::PLAN_ENGINE_CONFIG, &choice)?;
    target.set_handle(&plan, attribute::PLAN_HANDLE)?;
    #[cfg(test)]
    target.set_device(&plan, attribute::PLAN_DEVICEPROP)?;
    let plan = plan.finalize()?;
    let bytes = plan.get::<i64>(attribute::PLAN_WORKSPACE_SIZE)?;
    if bytes != 0 {
        return Err(format!("the engine needs {bytes} bytes"));
    }
    plan.get_text(attribute::PLAN_JSON_REPRESENTATION)
}

/// A plan that is loaded on a device.
#[derive(Debug)]
pub(crate) struct Plan {
    plan: Descriptor,
}

impl Plan {
    /// # Errors
    /// [`BackendError::Device`] with what cuDNN says.
    pub(crate) fn load(handle: &Handle, text: &str) -> Result<Self, BackendError> {
        handle.store.shared.enter()?;
        let load = || {
            let plan = Descriptor::new(handle.cudnn, Kind::Plan)?;
            plan.set(attribute::PLAN_JSON_REPRESENTATION, text.as_bytes())?;
            // SAFETY: the caller that runs the plan has the handle.
            unsafe { plan.set_handle(attribute::PLAN_HANDLE, handle.raw) }?;
            plan.finalize()
        };
        match load() {
            Ok(plan) => Ok(Self { plan }),
            Err(message) => Err(failed(&handle.store, &message)),
        }
    }

    /// Queues it, on memory that stays until the stream has done it. The handle is the one that it was
    /// loaded with.
    ///
    /// # Errors
    /// [`BackendError::Device`] with what cuDNN says.
    pub(crate) fn run(&self, handle: &Handle, at: Pointers) -> Result<(), BackendError> {
        handle.store.shared.enter()?;
        let run = || {
            let pack = packed(handle.cudnn, at)?;
            // SAFETY: all live; the pointers are those of the spec's tensors, by the caller.
            unsafe { handle.cudnn.execute(handle.raw, self.plan.raw(), pack.raw()) }
        };
        run().map_err(|message| failed(&handle.store, &message))
    }
}

/// What cuDNN is told of tensors' addresses.
pub(super) fn packed(cudnn: &'static Cudnn, at: Pointers) -> Result<Descriptor, String> {
    let Pointers { left, right, out, bias, residual, decay } = at;
    let tensors = [
        (LEFT, left),
        (RIGHT, right),
        (OUT, out),
        (BIAS, bias),
        (RESIDUAL, residual),
        (DECAY, decay),
    ];
    let present: Vec<_> = tensors.into_iter().filter(|&(_, pointer)| pointer != 0).collect();
    let numbers: Vec<i64> = present.iter().map(|&(number, _)| number).collect();
    let pointers: Vec<_> = present.iter().map(|&(_, pointer)| pointer as *mut c_void).collect();
    let pack = Descriptor::new(cudnn, Kind::VariantPack)?;
    pack.set(attribute::VARIANT_PACK_UNIQUE_IDS, &numbers)?;
    pack.set_pointers(attribute::VARIANT_PACK_DATA_POINTERS, &pointers)?;
    pack.set_pointers(attribute::VARIANT_PACK_WORKSPACE, &[std::ptr::null_mut()])?;
    pack.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_read_as_it_was_written() {
        for knobs in [vec![], vec![(24, 3)], vec![(24, 3), (2, -1)]] {
            let config = Config { engine: 4, knobs };
            assert_eq!(Config::of_text(&config.to_text()), Some(config));
        }
        for bad in ["", "own", "4 24", "4 24 x", "4 99999999999 1"] {
            assert_eq!(Config::of_text(bad), None, "{bad}");
        }
    }
}
