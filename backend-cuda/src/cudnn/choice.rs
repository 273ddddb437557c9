//! Which engine does a product: decided once for all ranks of a process, and kept in the cache folder for
//! those of others, since engines differ in the last bits and the bytes of a picture must not depend on
//! who computed what.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use halovae_engine::backend::BackendError;
use twox_hash::XxHash3_128;

use super::library::Cudnn;
use super::plan::{Config, Plan, candidates, compile};
use super::spec::Spec;
use super::target::{Handle, Target, describe};
use super::trial::{Failure, LONGEST, Trial, trial};
use crate::cache;
use crate::error::OpenError;
use crate::kernels;
use crate::params::Product;
use crate::product::Right;
use crate::shared::Shared;
use crate::store::Store;

/// Engines that are compiled and tried for a kind of product.
pub(super) const ENTRANTS: usize = 8;

/// What an engine's time has to be of our own kernel's: less is within what trials differ by, and costs a plan.
const WORTH: f64 = 0.95;

/// What stands in a file where our own kernel does it.
const OWN: &str = "own";

/// What is chosen for a device and all others of its kind.
#[derive(Debug)]
pub(crate) struct Choices {
    cudnn: &'static Cudnn,
    /// What is the same for all devices and programs that choose together.
    name: String,
    folder: Option<PathBuf>,
    known: Arc<Known>,
}

/// What was decided in this process.
#[derive(Debug, Default)]
struct Known {
    /// The engine for a kind of product; `None` where our own kernel does it.
    engines: Mutex<HashMap<Spec, Arc<OnceLock<Option<Config>>>>>,
    plans: Mutex<HashMap<Spec, Arc<OnceLock<Option<String>>>>>,
    /// Whether an engine that was tried does not come to an end.
    is_stuck: AtomicBool,
}

/// Locks a map, each entry of which is written once.
fn locked<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Devices of the same name decide together.
fn known(name: &str, folder: Option<&Path>) -> Arc<Known> {
    type All = BTreeMap<(String, Option<PathBuf>), Arc<Known>>;
    static ALL: Mutex<All> = Mutex::new(BTreeMap::new());
    locked(&ALL).entry((name.to_owned(), folder.map(Path::to_owned))).or_default().clone()
}

impl Choices {
    /// For the device in whose context this thread is.
    ///
    /// # Errors
    /// That there is no cuDNN, or none that knows the device.
    pub(crate) fn new(device: u32, folder: Option<&Path>) -> Result<Self, OpenError> {
        let cudnn = Cudnn::load()?;
        let bad = |message| OpenError::Library { file: cudnn.file().to_owned(), message };
        let device = describe(cudnn, device).and_then(|described| {
            // One that makes no handle is of no use.
            let handle = cudnn.create()?;
            // SAFETY: created above.
            unsafe { cudnn.destroy(handle) };
            Ok(described)
        });
        let device = device.map_err(bad)?;
        let versions = [&cudnn.version_text(), env!("CARGO_PKG_VERSION")].join(", ");
        let name = [alike(&device), versions].join(", ");
        let known = known(&name, folder);
        Ok(Self { cudnn, name, folder: folder.map(Path::to_owned), known })
    }

    pub(crate) fn cudnn(&self) -> &'static Cudnn {
        self.cudnn
    }

    /// The plan for a spec, or `None` where our own kernel does it. All ranks get the same answer; the
    /// first one finds it.
    fn plan(&self, shared: &Arc<Shared>, of: &Trial<'_>) -> Option<String> {
        let once = locked(&self.known.plans).entry(*of.spec).or_default().clone();
        once.get_or_init(|| self.find_plan(shared, of)).clone()
    }

    fn find_plan(&self, shared: &Arc<Shared>, of: &Trial<'_>) -> Option<String> {
        let spec = of.spec;
        let file = self.file("plan", spec);
        if let Some(text) = file.as_deref().and_then(read) {
            return (text != OWN).then_some(text);
        }
        let mut made = None;
        let kind = spec.kind();
        let once = locked(&self.known.engines).entry(kind).or_default().clone();
        let engine = once.get_or_init(|| self.find_engine(shared, of, &mut made)).clone()?;
        let plan = match made {
            Some(plan) => plan,
            None => {
                let plan = self.compile(shared, spec, &engine);
                let of = Trial { timed: false, ..*of };
                let fits = |plan: &String| {
                    trial(self.cudnn, shared, &of, &[plan]).map(|times| times.plans[0].is_some())
                };
                match plan.as_ref().map(fits) {
                    Some(Ok(true)) => plan,
                    Some(Ok(false)) | None => None,
                    Some(Err(Failure::Stuck)) => {
                        self.known.is_stuck.store(true, Ordering::Relaxed);
                        None
                    }
                    // For want of room, say: another time it may do.
                    Some(Err(Failure::Backend)) => return None,
                }
            }
        };
        let stands = settle(file.as_deref(), plan.unwrap_or_else(|| OWN.to_owned()));
        (stands != OWN).then_some(stands)
    }

    /// A plan for the device in whose context this thread comes to be.
    fn compile(&self, shared: &Arc<Shared>, spec: &Spec, engine: &Config) -> Option<String> {
        let handle = Handle::new(self.cudnn, Store::new(shared.clone()).ok()?).ok()?;
        compile(self.cudnn, Target::Here(&handle), spec, engine).ok()
    }

    /// The plan for a spec, compiled for this very device: one of another device need not load.
    fn compiled_anew(&self, shared: &Arc<Shared>, spec: &Spec) -> Option<String> {
        let file = self.file("engine", &spec.kind());
        let known = locked(&self.known.engines).get(&spec.kind()).cloned();
        let known = known.and_then(|once| once.get().cloned().flatten());
        let kept = || Config::of_text(&file.as_deref().and_then(read)?);
        self.compile(shared, spec, &known.or_else(kept)?)
    }

    /// The engine for a kind of product, from a trial on one of its specs; and the plan that this made.
    fn find_engine(
        &self,
        shared: &Arc<Shared>,
        of: &Trial<'_>,
        made: &mut Option<Option<String>>,
    ) -> Option<Config> {
        let spec = of.spec;
        let file = self.file("engine", &spec.kind());
        if let Some(text) = file.as_deref().and_then(read) {
            return Config::of_text(&text);
        }
        let entrants = self.entrants(shared, spec);
        let plans: Vec<&str> = entrants.iter().map(|(_, plan)| plan.as_str()).collect();
        let times = match trial(self.cudnn, shared, of, &plans) {
            Ok(times) => times,
            Err(Failure::Backend) => return None,
            Err(Failure::Stuck) => {
                // So that a later trial does without.
                settle(file.as_deref(), OWN.to_owned());
                self.known.is_stuck.store(true, Ordering::Relaxed);
                return None;
            }
        };
        let limit = WORTH * times.own;
        let timed = entrants.iter().zip(times.plans);
        let best = timed
            .filter_map(|(entrant, time)| Some((entrant, time.filter(|&time| time < limit)?)))
            .min_by(|(_, one), (_, other)| one.total_cmp(other));
        let engine = best.map_or(OWN.to_owned(), |((config, _), _)| config.to_text());
        let stands = settle(file.as_deref(), engine.clone());
        if stands == engine {
            *made = Some(best.map(|((_, plan), _)| plan.clone()));
        }
        Config::of_text(&stands)
    }

    /// Engines and plans that can be made, each by a thread: compiling one takes some tenths of a second.
    fn entrants(&self, shared: &Arc<Shared>, spec: &Spec) -> Vec<(Config, String)> {
        let store = Store::new(shared.clone());
        let Some(handle) = store.and_then(|store| Handle::new(self.cudnn, store)).ok() else {
            return Vec::new();
        };
        let configs = candidates(self.cudnn, Target::Here(&handle), spec);
        let mut configs = configs.unwrap_or_default();
        configs.truncate(ENTRANTS);
        std::thread::scope(|scope| {
            let threads: Vec<_> = configs
                .into_iter()
                .map(|config| {
                    scope.spawn(|| {
                        let plan = self.compile(shared, spec, &config)?;
                        Some((config, plan))
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
        })
    }

    fn file(&self, what: &str, spec: &Spec) -> Option<PathBuf> {
        // What was compared with other kernels of ours is not to be found any more.
        let key = format!("{}\0{spec:?}\0{:032x}", self.name, kernels::version());
        let hash = XxHash3_128::oneshot(key.as_bytes());
        Some(self.folder.as_ref()?.join(format!("cudnn-{hash:032x}.{what}")))
    }
}

/// A description without what tells one device from others of its kind.
fn alike(device: &str) -> String {
    let differs = |field: &&str| field.contains("cudaDeviceId") || field.contains("pciDeviceId");
    device.split_inclusive(',').filter(|field| !differs(field)).collect()
}

fn read(file: &Path) -> Option<String> {
    String::from_utf8(cache::read(file)?).ok()
}

/// Writes what was decided, unless another process was faster: then what that one did stands.
fn settle(file: Option<&Path>, decided: String) -> String {
    let Some(file) = file else { return decided };
    cache::write_first(file, decided.as_bytes());
    read(file).unwrap_or(decided)
}

/// The engines of one rank: plans that are loaded for its stream.
#[derive(Debug)]
pub(crate) struct Engines {
    choices: Arc<Choices>,
    store: Arc<Store>,
    loaded: Mutex<Loaded>,
    /// Spent on choosing and compiling, in nanoseconds; ranks that wait for another one count too.
    spent: AtomicU64,
}

#[derive(Debug, Default)]
struct Loaded {
    /// Dropped before what it was loaded with.
    plans: HashMap<Spec, Option<Plan>>,
    /// Made when it is first needed: it takes time, and memory of the device.
    handle: Option<Handle>,
}

impl Engines {
    pub(crate) fn new(choices: Arc<Choices>, store: Arc<Store>) -> Self {
        Self { choices, store, loaded: Mutex::default(), spent: AtomicU64::new(0) }
    }

    /// The library.
    pub(crate) fn cudnn(&self) -> &'static Cudnn {
        self.choices.cudnn
    }

    /// Time that went into choosing and compiling.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed))
    }

    /// Queues a product, or gives `false` if our own kernel is to do it.
    ///
    /// # Errors
    /// [`BackendError::Device`] with what cuDNN says.
    pub(crate) fn run(&self, product: &Product, right: Right) -> Result<bool, BackendError> {
        let Some((spec, at)) = Spec::of(product, right, self.store.element()) else {
            return Ok(false);
        };
        let shared = &self.store.shared;
        if spec.multiplications() < shared.options.limits.engines_from {
            return Ok(false);
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let Loaded { plans, handle } = &mut *loaded;
        let plan = match plans.entry(spec) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let of = Trial { product, spec: &spec, left: at.left, timed: true };
                let start = Instant::now();
                let text = self.choices.plan(shared, &of);
                let spent = start.elapsed().as_nanos() as u64;
                self.spent.fetch_add(spent, Ordering::Relaxed);
                if self.choices.known.is_stuck.load(Ordering::Relaxed) {
                    return Err(self.stuck());
                }
                let load = |text: String| {
                    let handle = match &mut *handle {
                        Some(handle) => handle,
                        none => none.insert(Handle::new(self.choices.cudnn, self.store.clone())?),
                    };
                    let loaded = Plan::load(handle, &text);
                    let anew = || self.choices.compiled_anew(shared, &spec);
                    let anew = || Plan::load(handle, &anew()?).ok();
                    loaded.or_else(|error| anew().ok_or(error))
                };
                unknown.insert(text.map(load).transpose()?)
            }
        };
        match (plan, handle) {
            (Some(plan), Some(handle)) => plan.run(handle, at).map(|()| true),
            _ => Ok(false),
        }
    }
}

impl Engines {
    fn stuck(&self) -> BackendError {
        let limit = LONGEST.as_secs();
        BackendError::Device {
            device: self.store.shared.entry.name.clone(),
            message: format!(
                "an engine of cuDNN's did not end within {limit} s, and the device may be busy with it until \
                 this process ends; it is not tried again: run this once more, or without cuDNN"
            ),
        }
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        // What is queued runs code of the plans. That it fails changes nothing any more.
        let _ = self.store.synchronize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_kind_are_alike() {
        let device = |id: u32, processors: u32| {
            format!(
                r#"{{"deviceName":"A","cudaDeviceId":{id},"pciDeviceId": {id},"multiProcessorCount":{processors}}}"#
            )
        };
        assert_eq!(alike(&device(0, 132)), alike(&device(3, 132)));
        assert_ne!(alike(&device(0, 132)), alike(&device(0, 114)));
    }
}
