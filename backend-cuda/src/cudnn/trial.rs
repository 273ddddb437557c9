//! Our own kernel and plans of cuDNN's, taking turns on made-up numbers.
//!
//! A stream and memory of its own: it waits for nothing that other ranks have still to send, so that
//! a rank that needs the outcome can wait for it. Nothing of it stays.

use std::mem::forget;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::sys::CUdeviceptr;
use halovae_engine::backend::BackendError;

use super::library::Cudnn;
use super::plan::Plan;
use super::spec::{Pointers, Spec};
use super::target::Handle;
use crate::kernels::{Element, Kernel, THREADS};
use crate::params::{Deviation, Noise, Product};
use crate::shared::Shared;
use crate::store::{Block, Store};
use crate::stream::Event;

const WHAT: &str = "a trial of engines";

/// The least of so many runs counts: others may use the device meanwhile.
const ROUNDS: usize = 5;

/// What a run may take; those that count take a thousandth of it.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

/// The most blocks that compare results.
const BLOCKS: u64 = 1024;

/// Why there is no outcome.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no room, or the device fails, which comes up again.
    Backend,
    /// A plan does not come to an end.
    Stuck,
}

impl From<BackendError> for Failure {
    fn from(_: BackendError) -> Self {
        Self::Backend
    }
}

/// Seconds that each one took.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) own: f64,
    /// `None` of a plan that does not run, or whose result is another.
    pub(super) plans: Vec<Option<f64>>,
}

/// What is tried: a product, and the spec of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial<'a> {
    pub(super) product: &'a Product,
    pub(super) spec: &'a Spec,
    /// Where its input begins, behind cells that are skipped.
    pub(super) left: CUdeviceptr,
    /// Whether times are of interest.
    pub(super) timed: bool,
}

/// Runs our own kernel and plans for a spec.
///
/// # Errors
/// [`Failure`]. What a plan that is stuck was run with stays until the process ends: to drop it would be to
/// wait for that plan.
pub(super) fn trial(
    cudnn: &'static Cudnn,
    shared: &Arc<Shared>,
    of: &Trial<'_>,
    plans: &[&str],
) -> Result<Times, Failure> {
    let store = Store::new(shared.clone())?;
    let bench = Bench::new(store.clone(), of)?;
    let handle = Handle::new(cudnn, store.clone())?;
    bench.own(bench.expected.pointer())?;
    let texts = plans;
    let mut plans = Vec::with_capacity(texts.len());
    for text in texts {
        let Ok(plan) = Plan::load(&handle, text) else {
            plans.push(None);
            continue;
        };
        match bench.gives_the_same(&handle, &plan) {
            Ok(same) => plans.push(same.then_some(plan)),
            Err(Failure::Stuck) => {
                forget((plan, plans, handle, store));
                return Err(Failure::Stuck);
            }
            Err(other) => return Err(other),
        }
    }
    let fits = |plan: &Option<Plan>| plan.as_ref().map(|_| f64::INFINITY);
    let mut times = Times { own: f64::INFINITY, plans: plans.iter().map(fits).collect() };
    for _ in 0..if of.timed { ROUNDS } else { 0 } {
        let seconds = bench.seconds(|| bench.run_own(bench.out.pointer()))?;
        times.own = times.own.min(seconds);
        for (plan, time) in plans.iter().zip(&mut times.plans) {
            let Some(plan) = plan else { continue };
            let at = bench.pointers(bench.out.pointer());
            let seconds = bench.seconds(|| plan.run(&handle, at))?;
            *time = time.map(|time| time.min(seconds));
        }
    }
    Ok(times)
}

/// A spec's tensors, filled.
struct Bench<'a> {
    store: Arc<Store>,
    of: &'a Trial<'a>,
    left: Block,
    right: Block,
    bias: Option<Block>,
    decay: Option<Block>,
    /// What our own kernel gives, and what others do.
    expected: Block,
    out: Block,
    out_elements: u64,
}

impl<'a> Bench<'a> {
    fn new(store: Arc<Store>, of: &'a Trial<'a>) -> Result<Self, BackendError> {
        let (spec, p) = (of.spec, of.product);
        let [right, out] = spec.extents();
        let cells = u64::from(p.in_rows) * u64::from(p.in_width);
        let left = u64::from(spec.samples - 1) * p.left_sample + cells * u64::from(p.channels);
        let bytes = spec.element.bytes();
        let block = |bytes: u64| store.block(WHAT, bytes);
        let of_f32 = |is: bool, elements: u32| {
            is.then(|| block(u64::from(elements).next_multiple_of(8) * 4)).transpose()
        };
        let bench = Self {
            left: block(left * bytes)?,
            right: block(right * bytes)?,
            bias: of_f32(spec.bias, spec.columns)?,
            decay: of_f32(spec.decay, spec.outputs[1])?,
            expected: block(out * spec.out_bytes())?,
            out: block(out * spec.out_bytes())?,
            out_elements: out,
            store: store.clone(),
            of,
        };
        // Results are then about as large as what is added to them.
        let sums = u64::from(spec.taps[0] * spec.taps[1]) * u64::from(spec.inner);
        bench.fill(&bench.left, left, 1, 1.0, false)?;
        bench.fill(&bench.right, right, 2, 1.0 / (sums as f32).sqrt(), false)?;
        for (at, block) in [&bench.bias, &bench.decay].into_iter().enumerate() {
            if let Some(block) = block {
                bench.fill(block, block.bytes() / 4, 3 + at as u32, 1.0, true)?;
            }
        }
        Ok(bench)
    }

    fn fill(
        &self,
        block: &Block,
        elements: u64,
        seed: u32,
        scale: f32,
        out_f32: bool,
    ) -> Result<(), BackendError> {
        let count = elements.div_ceil(8);
        let noise = Noise {
            out: block.pointer(),
            count: count as u32,
            seed,
            scale,
            out_f32: out_f32.into(),
        };
        self.store.over(Kernel::Noise, &noise, count)
    }

    /// With the result where what is added was before, as a decode has it where it can.
    fn pointers(&self, out: u64) -> Pointers {
        let pointer = |block: &Option<Block>| block.as_ref().map_or(0, Block::pointer);
        Pointers {
            left: self.left.at(self.of.left - self.of.product.left),
            right: self.right.pointer(),
            out,
            bias: pointer(&self.bias),
            residual: if self.of.spec.residual { out } else { 0 },
            decay: pointer(&self.decay),
        }
    }

    fn run_own(&self, out: u64) -> Result<(), BackendError> {
        let Pointers { right, bias, residual, decay, .. } = self.pointers(out);
        let left = self.left.pointer();
        let product = Product { left, right, out, bias, residual, decay, ..*self.of.product };
        self.store.product(product, self.of.spec.right)
    }

    fn own(&self, out: u64) -> Result<(), BackendError> {
        self.fill(&self.expected, self.out_elements, 5, 1.0, self.of.spec.out_f32)?;
        self.run_own(out)
    }

    /// Whether a plan gives what our own kernel does, to what the stored numbers allow, and leaves alone
    /// what lies between its results.
    fn gives_the_same(&self, handle: &Handle, plan: &Plan) -> Result<bool, Failure> {
        self.fill(&self.out, self.out_elements, 5, 1.0, self.of.spec.out_f32)?;
        if plan.run(handle, self.pointers(self.out.pointer())).is_err() {
            return Ok(false);
        }
        if !self.ends()? {
            return Err(Failure::Stuck);
        }
        let count = self.out_elements.div_ceil(8);
        let blocks = count.div_ceil(THREADS.into()).min(BLOCKS);
        let sums = self.store.block(WHAT, blocks * 16)?;
        let deviation = Deviation {
            one: self.expected.pointer(),
            other: self.out.pointer(),
            out: sums.pointer(),
            count: count as u32,
            blocks: blocks as u32,
            of_f32: self.of.spec.out_f32.into(),
        };
        self.store.launch(Kernel::Deviation, &deviation, blocks)?;
        let mut told = vec![0.0; blocks as usize * 4];
        self.store.read(sums.pointer(), &mut told)?;
        Ok(is_close(&told, self.of.spec))
    }

    /// Waits for what is queued, but not for ever.
    fn ends(&self) -> Result<bool, BackendError> {
        let (event, start) = (Event::new(self.store.shared.clone())?, Instant::now());
        event.record(&self.store.stream)?;
        while !event.has_passed()? {
            if start.elapsed() > LONGEST {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(true)
    }

    fn seconds(&self, run: impl Fn() -> Result<(), BackendError>) -> Result<f64, BackendError> {
        let shared = &self.store.shared;
        let [start, end] = [Event::timed(shared.clone())?, Event::timed(shared.clone())?];
        start.record(&self.store.stream)?;
        run()?;
        end.record(&self.store.stream)?;
        end.seconds_since(&start)
    }
}

/// Whether two results are the same but for roundings. NaNs never are.
fn is_close(told: &[f32], spec: &Spec) -> bool {
    let (parts, _) = told.as_chunks::<4>();
    let sum = |at: usize| parts.iter().map(|part| f64::from(part[at])).sum::<f64>().sqrt();
    let most = |at: usize| parts.iter().fold(0.0, |most, part| part[at].max(most));
    // Half a unit in the last place, of what is stored; sums in f32 come in another order.
    let rounding = match (spec.out_f32, spec.element) {
        (true, _) | (false, Element::F32) => 1.0 / 4096.0,
        (false, Element::F16) => 1.0 / 2048.0,
        (false, Element::Bf16) => 1.0 / 256.0,
    };
    sum(1) > 0.0 && sum(0) <= rounding * sum(1) && most(2) <= 8.0 * rounding as f32 * most(3)
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::conv;
    use super::*;
    use crate::product::Right;

    #[test]
    fn results_that_round_differently_are_close_and_no_others() {
        let spec = Spec::of(&conv([8, 8], [4, 4]), Right::ByColumn, Element::Bf16).unwrap().0;
        let close = |told: [f32; 4]| is_close(&[told, [0.0; 4]].concat(), &spec);
        assert!(close([0.0, 1.0, 0.0, 1.0]));
        assert!(close([1e-5, 1.0, 0.02, 1.0]));
        assert!(!close([1e-4, 1.0, 0.02, 1.0]), "everywhere a little");
        assert!(!close([1e-5, 1.0, 0.1, 1.0]), "somewhere a lot");
        assert!(!close([f32::NAN, 1.0, 0.0, 1.0]));
        assert!(!close([0.0, 0.0, 0.0, 0.0]), "nothing was compared");
    }
}
