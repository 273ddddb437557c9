//! The engine's [`Timer`], by marks in a rank's stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use halovae_engine::backend::{BackendError, Timer};

use crate::store::Store;
use crate::stream::Event;

/// Marks that are kept before those that were reached are read: a driver has room for many, not for
/// any number.
const MOST_KEPT: usize = 1024;

/// Measures the stream of a rank.
#[derive(Debug)]
pub(crate) struct StreamTimer {
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Event>,
    stretches: VecDeque<[Event; 2]>,
    seconds: Vec<f64>,
}

impl State {
    /// Reads the first stretch that is left.
    fn read_first(&mut self) -> Result<(), BackendError> {
        if let Some([begin, end]) = self.stretches.pop_front() {
            self.seconds.push(end.seconds_since(&begin)?);
        }
        Ok(())
    }
}

impl StreamTimer {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, state: Mutex::default() }
    }

    fn mark(&self) -> Result<Event, BackendError> {
        let event = Event::timed(self.store.shared.clone())?;
        event.record(&self.store.stream)?;
        Ok(event)
    }
}

impl Timer for StreamTimer {
    fn begin(&self) -> Result<(), BackendError> {
        let mark = self.mark()?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).begun = Some(mark);
        Ok(())
    }

    fn end(&self) -> Result<(), BackendError> {
        let mark = self.mark()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = state.begun.take().expect("a stretch begins before it ends");
        state.stretches.push_back([begun, mark]);
        while state.stretches.len() > MOST_KEPT && state.stretches[0][1].has_passed()? {
            state.read_first()?;
        }
        Ok(())
    }

    fn take(&self) -> Result<Vec<f64>, BackendError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.stretches.is_empty() {
            state.read_first()?;
        }
        Ok(std::mem::take(&mut state.seconds))
    }
}
