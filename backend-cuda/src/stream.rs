//! Streams, in which work is done in order, and marks in them.

use std::sync::Arc;

use cudarc::driver::result::stream::StreamKind;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{
    CUevent, CUevent_flags, CUevent_wait_flags, CUgraphExec, CUgraphInstantiate_flags, CUresult,
    CUstream, CUstreamCaptureMode,
};
use halovae_engine::backend::BackendError;

use crate::shared::Shared;

/// A stream of a device.
#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    stream: CUstream,
}

// SAFETY: the driver's streams may be used by any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self, BackendError> {
        shared.enter()?;
        let stream = result::stream::create(StreamKind::NonBlocking);
        let stream = stream.map_err(|error| shared.error(error))?;
        Ok(Self { shared, stream })
    }

    /// One whose kernels run before those of others that have not begun: what others wait for.
    pub(crate) fn urgent(shared: Arc<Shared>) -> Result<Self, BackendError> {
        shared.enter()?;
        let stream = result::stream::get_priority_range().and_then(|(_, greatest)| {
            result::stream::create_with_priority(StreamKind::NonBlocking, greatest)
        });
        let stream = stream.map_err(|error| shared.error(error))?;
        Ok(Self { shared, stream })
    }

    /// The driver's handle.
    pub(crate) fn raw(&self) -> CUstream {
        self.stream
    }

    /// Waits until everything in it has run.
    pub(crate) fn synchronize(&self) -> Result<(), DriverError> {
        // SAFETY: the stream lives as long as this.
        unsafe { result::stream::synchronize(self.stream) }
    }

    /// What this thread queues as long as the capture lives is not done, but kept for a graph.
    pub(crate) fn capture(&self) -> Result<Capture<'_>, DriverError> {
        // Other ranks' threads go on meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as this.
        unsafe { result::stream::begin_capture(self.stream, mode) }?;
        Ok(Capture { stream: self, is_over: false })
    }

    fn end_capture(&self) -> Result<Graph, DriverError> {
        // SAFETY: the stream lives as long as this; a graph is destroyed once, and what is made of it
        // does not need it any more.
        unsafe {
            let graph = result::stream::end_capture(self.stream)?;
            let made = result::graph::instantiate(graph, CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            Ok(Graph { shared: self.shared.clone(), graph: made? })
        }
    }

    /// Queues a graph.
    pub(crate) fn launch(&self, graph: &Graph) -> Result<(), BackendError> {
        self.shared.enter()?;
        // SAFETY: both live; the capturing caller promises that its memory does.
        let done = unsafe { result::graph::launch(graph.graph, self.stream) };
        done.map_err(|error| self.shared.error(error))
    }

    /// What is queued from now on waits until the event's mark has been reached.
    pub(crate) fn wait_for(&self, event: &Event) -> Result<(), BackendError> {
        self.shared.enter()?;
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both live; the driver keeps what it needs of the event.
        let done = unsafe { result::stream::wait_event(self.stream, event.event, flags) };
        done.map_err(|error| self.shared.error(error))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.shared.enter().is_ok() {
            // SAFETY: made once, destroyed once. The kernels of a module must have ended before it
            // is unloaded. That it fails changes nothing any more.
            unsafe {
                let _ = result::stream::synchronize(self.stream);
                let _ = result::stream::destroy(self.stream);
            }
        }
    }
}

/// A stream keeps what is queued until this is dropped.
#[derive(Debug)]
pub(crate) struct Capture<'a> {
    stream: &'a Stream,
    is_over: bool,
}

impl Capture<'_> {
    /// What was kept, ready to be done any number of times.
    pub(crate) fn end(mut self) -> Result<Graph, DriverError> {
        self.is_over = true;
        self.stream.end_capture()
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            // What was kept is of no use.
            let _ = self.stream.end_capture();
        }
    }
}

/// Work that was captured.
#[derive(Debug)]
pub(crate) struct Graph {
    shared: Arc<Shared>,
    graph: CUgraphExec,
}

// SAFETY: the driver's graphs may be used by any thread, one at a time.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.shared.enter().is_ok() {
            // SAFETY: made once, destroyed once; the driver keeps it until it has been done. That it
            // fails changes nothing any more.
            let _ = unsafe { result::graph::exec_destroy(self.graph) };
        }
    }
}

/// A mark in a stream.
#[derive(Debug)]
pub(crate) struct Event {
    shared: Arc<Shared>,
    event: CUevent,
}

// SAFETY: the driver's events may be used by any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Marks nothing yet, so that nothing waits for it.
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self, BackendError> {
        Self::with(shared, CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// One that knows when its mark was reached.
    pub(crate) fn timed(shared: Arc<Shared>) -> Result<Self, BackendError> {
        Self::with(shared, CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with(shared: Arc<Shared>, flags: CUevent_flags) -> Result<Self, BackendError> {
        shared.enter()?;
        let event = result::event::create(flags);
        let event = event.map_err(|error| shared.error(error))?;
        Ok(Self { shared, event })
    }

    /// Seconds from another mark to this one, both [timed](Self::timed); waits for this one.
    pub(crate) fn seconds_since(&self, start: &Self) -> Result<f64, BackendError> {
        self.shared.enter()?;
        // SAFETY: both live, and were recorded.
        let milliseconds = unsafe {
            result::event::synchronize(self.event)
                .and_then(|()| result::event::elapsed(start.event, self.event))
        };
        let milliseconds = milliseconds.map_err(|error| self.shared.error(error))?;
        Ok(f64::from(milliseconds) / 1000.0)
    }

    /// Marks what is the end of a stream now.
    pub(crate) fn record(&self, stream: &Stream) -> Result<(), BackendError> {
        self.shared.enter()?;
        // SAFETY: both live.
        let done = unsafe { result::event::record(self.event, stream.stream) };
        done.map_err(|error| self.shared.error(error))
    }

    /// Whether the stream has come to the mark.
    pub(crate) fn has_passed(&self) -> Result<bool, BackendError> {
        self.shared.enter()?;
        // SAFETY: the event lives as long as this.
        match unsafe { result::event::query(self.event) } {
            Ok(()) => Ok(true),
            Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(self.shared.error(error)),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.shared.enter().is_ok() {
            // SAFETY: made once, destroyed once. That it fails changes nothing any more.
            let _ = unsafe { result::event::destroy(self.event) };
        }
    }
}
