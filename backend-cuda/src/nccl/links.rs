//! The engine's [`Links`] through NCCL.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use halovae_core::Region;
use halovae_engine::backend::BackendError;
use halovae_engine::group::{
    Cause, Content, Failure, Group, InFlight, Incoming, LINKS, LinkError, Links, Objects, Way,
};
use halovae_engine::tensor::Shape;
use halovae_engine::wrap::Sent;

use super::communicator::Communicator;
use super::connect::connect;
use super::facts::{Facts, obstacle};
use super::library::{Nccl, Piece};
use super::pause::Pause;
use super::tensors;
use crate::backend::CudaBackend;
use crate::kernels::Element;
use crate::library_files::of_one_number;
use crate::stream::{Event, Stream};
use crate::value::Value;

/// How long a rank whose connection broke waits for the group to say why: another rank's end, as a
/// rule.
const REASON_WAIT: Duration = Duration::from_secs(3);

/// What is to be done where NCCL cannot connect the ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Tensors go through host memory.
    #[default]
    IfPossible,
    /// The decode fails, and says why.
    Always,
}

/// One rank's links to the GPUs of the others. NCCL has a stream of its own, so that what is
/// exchanged is under way while kernels run.
pub struct NcclLinks {
    // Dropped first: what the stream has not done may never come.
    state: Mutex<State>,
    stream: Stream,
    backend: CudaBackend,
    demand: Demand,
}

#[derive(Default)]
struct State {
    communicator: Option<Communicator>,
    /// An exchange that NCCL has not put into its stream yet.
    queueing: Option<Arc<Event>>,
    /// Those that the device may not have done yet, in their order.
    under_way: VecDeque<Leg>,
    sent: Sent,
}

/// One exchange, as the device sees it.
struct Leg {
    /// Kernels have come so far that it can begin.
    ready: Event,
    /// It is over.
    done: Arc<Event>,
}

impl std::fmt::Debug for NcclLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NcclLinks").field("demand", &self.demand).finish_non_exhaustive()
    }
}

impl CudaBackend {
    /// This rank's links to the GPUs of other ranks, which are to be [given to the
    /// decoder](halovae_engine::decode::Decoder::linked) together with this backend.
    ///
    /// # Errors
    /// [`BackendError::Device`] when the driver makes no stream.
    pub fn links(&self, demand: Demand) -> Result<NcclLinks, BackendError> {
        let stream = Stream::urgent(self.shared().clone())?;
        Ok(NcclLinks { state: Mutex::default(), stream, backend: self.same(), demand })
    }
}

impl NcclLinks {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the decode, and the state with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device_error(&self, message: String) -> LinkError {
        let device = self.backend.shared().entry.name.clone();
        LinkError::Device(BackendError::Device { device, message })
    }

    /// What NCCL said. Where another rank has ended, the group knows better, and soon.
    fn lost(&self, group: &dyn Group, message: &str) -> LinkError {
        let _waiting = group.waiting();
        let start = Instant::now();
        while start.elapsed() < REASON_WAIT {
            if let Err(error) = group.check_while_waiting() {
                return error.into();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let cause = Cause::Transport(format!("NCCL: {message}"));
        group.fail(Failure { rank: group.rank(), piece: None, op: None, cause });
        match group.check_while_waiting() {
            Err(error) => error.into(),
            Ok(()) => self.device_error(format!("NCCL: {message}")),
        }
    }

    /// Tells all ranks what this one knows of itself, and hears of them.
    fn facts_of_all(&self, group: &dyn Group) -> Result<Vec<Facts>, LinkError> {
        let connected = self
            .lock()
            .communicator
            .as_ref()
            .is_some_and(|communicator| communicator.size() == group.size());
        let shared = self.backend.shared();
        let uuid = shared.uuid().map_err(|error| shared.error(error))?;
        // NCCL itself reads this.
        let may_share = std::env::var("NCCL_MULTI_RANK_GPU_ENABLE").is_ok_and(|it| it == "1")
            || std::env::var_os("NCCL_HOSTID").is_some();
        let version = Nccl::load().map_or(0, Nccl::version);
        Ok(group.all_gather_object(LINKS, Facts { version, uuid, may_share, connected })?)
    }

    /// Waits until NCCL has put the last exchange into its stream. That takes as long as others take
    /// to come there if they have not met before.
    fn queued(&self, group: &dyn Group) -> Result<(), LinkError> {
        let mut state = self.lock();
        let (Some(done), Some(communicator)) = (&state.queueing, &state.communicator) else {
            return Ok(());
        };
        let pause = Pause::new();
        let mut waiting = None;
        while !communicator.is_ready().map_err(|message| self.lost(group, &message))? {
            group.check_while_waiting()?;
            waiting = waiting.or_else(|| group.waiting());
            pause.rest();
        }
        done.record(&self.stream)?;
        state.queueing = None;
        Ok(())
    }
}

impl Links<Value> for NcclLinks {
    fn connect(&self, group: &dyn Group) -> Result<Way, LinkError> {
        let all = self.facts_of_all(group)?;
        let why = match (obstacle(&all), Nccl::load()) {
            (Some(why), _) => Some(why),
            (None, Ok(_)) if all.iter().all(|facts| facts.connected) => None,
            (None, Ok(nccl)) => {
                self.lock().communicator = None;
                match connect(self.backend.shared(), group, nccl)? {
                    Ok(communicator) => {
                        self.lock().communicator = Some(communicator);
                        None
                    }
                    Err(why) => Some(why),
                }
            }
            (None, Err(_)) => unreachable!("without obstacles every rank has NCCL"),
        };
        match (why, self.demand) {
            (None, _) => {
                Ok(Way::Devices(format!("NCCL {}", of_one_number(all[0].version as usize))))
            }
            (Some(why), Demand::IfPossible) => Ok(Way::Host(why)),
            (Some(why), Demand::Always) => {
                Err(self.device_error(format!("NCCL cannot connect the ranks: {why}")))
            }
        }
    }

    fn cut(&self, tensor: &Value, region: Region) -> Result<Value, BackendError> {
        tensors::cut(&self.backend, tensor, region)
    }

    fn join(&self, shape: Shape, parts: Vec<(Region, Rc<Value>)>) -> Result<Value, BackendError> {
        tensors::join(&self.backend, shape, parts)
    }

    fn merge(&self, parts: &[(f64, Rc<Value>)]) -> Result<Value, BackendError> {
        tensors::merge(&self.backend, parts)
    }

    fn exchange<'a>(
        &'a self,
        group: &dyn Group,
        outgoing: Vec<(u32, Rc<Value>)>,
        incoming: &[Incoming],
    ) -> Result<Box<dyn InFlight<Value> + 'a>, LinkError> {
        self.queued(group)?;
        group.check_while_waiting()?;
        let store = self.backend.store();
        let received = incoming.iter().map(|incoming| {
            let element = match incoming.content {
                Content::Features => store.element(),
                Content::Statistics => Element::F32,
            };
            store.value_of("what another rank sends", incoming.shape, element)
        });
        let received: Vec<Value> = received.collect::<Result<_, _>>()?;
        let piece = |rank: u32, value: &Value| Piece {
            rank,
            pointer: value.pointer(),
            bytes: value.bytes(),
        };
        let from: Vec<Piece> = outgoing.iter().map(|(to, value)| piece(*to, value)).collect();
        let to = incoming.iter().zip(&received).map(|(part, value)| piece(part.from, value));
        let to: Vec<Piece> = to.collect();

        let shared = self.backend.shared();
        let ready = Event::new(shared.clone())?;
        let done = Arc::new(Event::new(shared.clone())?);
        ready.record(&store.stream)?;
        self.stream.wait_for(&ready)?;
        let mut state = self.lock();
        let Some(communicator) = &mut state.communicator else {
            return Err(self.device_error("NCCL is not connected".into()));
        };
        // SAFETY: the flight holds all tensors until the stream of kernels, in which they are freed,
        // waits for the end of the exchange.
        let begun = unsafe { communicator.exchange(&from, &to, &self.stream) };
        // From here on NCCL may use them, whatever it says.
        state.sent.messages += from.len() as u64;
        state.sent.bytes += from.iter().map(|piece| piece.bytes).sum::<u64>();
        state.queueing = Some(done.clone());
        state.under_way.push_back(Leg { ready, done: done.clone() });
        drop(state);
        let flight = Flight { links: self, done, outgoing, received, has_arrived: false };
        begun.map_err(|message| self.lost(group, &message))?;
        Ok(Box::new(flight))
    }

    fn settle(&self, group: &dyn Group) -> Result<(), LinkError> {
        self.queued(group)?;
        let end = Event::new(self.backend.shared().clone())?;
        end.record(&self.backend.store().stream)?;
        let pause = Pause::new();
        let mut waiting = None;
        loop {
            let mut state = self.lock();
            while let Some(leg) = state.under_way.front() {
                if !leg.done.has_passed()? {
                    break;
                }
                state.under_way.pop_front();
            }
            if end.has_passed()? {
                return Ok(());
            }
            // Its own kernels have come to an exchange that is not over: others are not there yet.
            let awaits_others = match state.under_way.front() {
                Some(leg) => leg.ready.has_passed()?,
                None => false,
            };
            let lost = match &state.communicator {
                Some(communicator) => communicator.is_ready().err(),
                None => None,
            };
            drop(state);
            waiting = match awaits_others {
                true => waiting.or_else(|| group.waiting()),
                false => None,
            };
            group.check_while_waiting()?;
            if let Some(message) = lost {
                return Err(self.lost(group, &message));
            }
            pause.rest();
        }
    }

    fn disconnect(&self) {
        let mut state = self.lock();
        state.communicator = None;
        state.queueing = None;
        state.under_way.clear();
    }

    fn take_sent(&self) -> Sent {
        std::mem::take(&mut self.lock().sent)
    }
}

/// Tensors that NCCL sends and receives.
struct Flight<'a> {
    links: &'a NcclLinks,
    done: Arc<Event>,
    outgoing: Vec<(u32, Rc<Value>)>,
    received: Vec<Value>,
    has_arrived: bool,
}

impl InFlight<Value> for Flight<'_> {
    fn arrive(mut self: Box<Self>, group: &dyn Group) -> Result<Vec<Value>, LinkError> {
        self.links.queued(group)?;
        self.links.backend.store().stream.wait_for(&self.done)?;
        self.has_arrived = true;
        self.outgoing.clear();
        Ok(std::mem::take(&mut self.received))
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.has_arrived {
            return;
        }
        // Others may never come: NCCL has to let go of the tensors before they are freed.
        self.links.disconnect();
        let store = self.links.backend.store();
        let freed = self.done.record(&self.links.stream);
        let waits = freed.and_then(|()| store.stream.wait_for(&self.done));
        if waits.is_err() {
            // A device that failed does nothing any more.
            let _ = store.synchronize();
        }
    }
}
