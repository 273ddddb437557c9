//! The engine's [`Timer`], by timestamps among a rank's commands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halovae_engine::backend::{BackendError, Timer};
use wgpu::{
    Buffer, BufferDescriptor, BufferUsages, Features, QUERY_SET_MAX_QUERIES, QuerySet,
    QuerySetDescriptor, QueryType,
};

use crate::readback::read_back;
use crate::shared::Shared;
use crate::store::Store;

/// What an adapter has to offer.
pub(crate) const FEATURES: Features =
    Features::TIMESTAMP_QUERY.union(Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);

/// Timestamps of which as many are kept as there can be, and read when there is no room for more.
#[derive(Debug)]
pub(crate) struct QueryTimer {
    store: Arc<Store>,
    queries: QuerySet,
    resolved: Buffer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Timestamps that were asked for.
    used: u32,
    seconds: Vec<f64>,
}

impl QueryTimer {
    /// `None` if the device gives no timestamps.
    pub(crate) fn new(shared: &Shared, store: Arc<Store>) -> Option<Self> {
        if !shared.device.features().contains(FEATURES) {
            return None;
        }
        let queries = shared.device.create_query_set(&QuerySetDescriptor {
            label: Some("times of ops"),
            ty: QueryType::Timestamp,
            count: QUERY_SET_MAX_QUERIES,
        });
        let resolved = shared.device.create_buffer(&BufferDescriptor {
            label: Some("times of ops"),
            size: bytes(QUERY_SET_MAX_QUERIES),
            usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Some(Self { store, queries, resolved, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers that are consistent between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self, state: &mut State) {
        self.store.recorder.stamp(&self.store.shared, &self.queries, state.used);
        state.used += 1;
    }

    /// Reads all stretches that have ended.
    fn read(&self, state: &mut State) -> Result<(), BackendError> {
        let used = std::mem::take(&mut state.used);
        if used == 0 {
            return Ok(());
        }
        let shared = &self.store.shared;
        let staging = shared.device.create_buffer(&BufferDescriptor {
            label: Some("to the host"),
            size: bytes(used),
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let recorder = &self.store.recorder;
        recorder.resolve(shared, &self.queries, used, &self.resolved);
        recorder.copy(shared, (&self.resolved, 0), (&staging, 0), bytes(used));
        recorder.submit(shared);
        shared.check()?;
        let nanoseconds = f64::from(shared.queue.get_timestamp_period());
        read_back(shared, &staging, |bytes| {
            let stamps: &[[u64; 2]] = bytemuck::cast_slice(bytes);
            let seconds =
                |[begin, end]: &[u64; 2]| end.saturating_sub(*begin) as f64 * nanoseconds / 1e9;
            state.seconds.extend(stamps.iter().map(seconds));
        })
    }
}

/// Bytes of so many timestamps.
fn bytes(timestamps: u32) -> u64 {
    u64::from(timestamps) * 8
}

impl Timer for QueryTimer {
    fn begin(&self) -> Result<(), BackendError> {
        let mut state = self.state();
        // One that an error left without an end.
        state.used -= state.used % 2;
        if state.used + 2 > QUERY_SET_MAX_QUERIES {
            self.read(&mut state)?;
        }
        self.stamp(&mut state);
        Ok(())
    }

    fn end(&self) -> Result<(), BackendError> {
        self.stamp(&mut self.state());
        Ok(())
    }

    fn take(&self) -> Result<Vec<f64>, BackendError> {
        let mut state = self.state();
        state.used -= state.used % 2;
        self.read(&mut state)?;
        Ok(std::mem::take(&mut state.seconds))
    }
}
