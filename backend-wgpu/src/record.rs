//! What a rank has asked of its device and not submitted yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use halovae_engine::backend::BackendError;
use wgpu::{
    BindGroupDescriptor, BindGroupEntry, Buffer, CommandEncoder, CommandEncoderDescriptor,
    ComputePass, ComputePassDescriptor, QuerySet,
};

use crate::kernels::Shader;
use crate::shared::Shared;
use crate::template::Names;

/// Work, in operations, after which commands are submitted: long enough that submitting costs
/// nothing, short enough that no watchdog takes a slow GPU for a hanging one.
const SUBMIT_WORK: u64 = 100_000_000_000;

/// Commands that are being recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    // Declared first: a pass ends before its encoder does.
    pass: Option<ComputePass<'static>>,
    encoder: Option<CommandEncoder>,
    work: u64,
}

/// One kernel and its operands.
#[derive(Debug)]
pub(crate) struct Dispatch<'a> {
    pub(crate) shader: Shader,
    pub(crate) names: Names,
    pub(crate) buffers: &'a [&'a Buffer],
    pub(crate) immediates: &'a [u32],
    pub(crate) groups: [u32; 3],
    /// Operations that it takes, roughly.
    pub(crate) work: u64,
}

impl State {
    fn encoder(&mut self, shared: &Shared) -> &mut CommandEncoder {
        let describe = CommandEncoderDescriptor { label: Some("halovae") };
        self.encoder.get_or_insert_with(|| shared.device.create_command_encoder(&describe))
    }

    fn pass(&mut self, shared: &Shared) -> &mut ComputePass<'static> {
        if self.pass.is_none() {
            let describe = ComputePassDescriptor { label: Some("halovae"), timestamp_writes: None };
            let pass = self.encoder(shared).begin_compute_pass(&describe).forget_lifetime();
            self.pass = Some(pass);
        }
        self.pass.as_mut().expect("made above")
    }

    fn submit(&mut self, shared: &Shared) {
        self.pass = None;
        self.work = 0;
        if let Some(encoder) = self.encoder.take() {
            shared.queue.submit([encoder.finish()]);
        }
    }
}

impl Recorder {
    fn state(&self) -> MutexGuard<'_, State> {
        // A state that a panic left can still be submitted or dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a kernel, and submits if enough has come together.
    pub(crate) fn dispatch(
        &self,
        shared: &Shared,
        dispatch: &Dispatch<'_>,
    ) -> Result<(), BackendError> {
        let kernel = shared.kernels.get(&shared.device, dispatch.shader, &dispatch.names);
        let kernel = kernel.map_err(|message| shared.error(message))?;
        let entries: Vec<BindGroupEntry<'_>> = (0u32..)
            .zip(dispatch.buffers)
            .map(|(binding, buffer)| BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = shared.device.create_bind_group(&BindGroupDescriptor {
            label: Some(dispatch.shader.name()),
            layout: &kernel.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut state = self.state();
        let pass = state.pass(shared);
        pass.set_pipeline(&kernel);
        pass.set_bind_group(0, &group, &[]);
        pass.set_immediates(0, bytemuck::cast_slice(dispatch.immediates));
        let [x, y, z] = dispatch.groups;
        pass.dispatch_workgroups(x, y, z);
        state.work = state.work.saturating_add(dispatch.work);
        if state.work >= SUBMIT_WORK {
            state.submit(shared);
        }
        Ok(())
    }

    /// Copies bytes from buffer to buffer.
    pub(crate) fn copy(&self, shared: &Shared, from: (&Buffer, u64), to: (&Buffer, u64), len: u64) {
        let mut state = self.state();
        state.pass = None;
        state.encoder(shared).copy_buffer_to_buffer(from.0, from.1, to.0, to.1, len);
    }

    /// Notes when what was recorded so far is done.
    pub(crate) fn stamp(&self, shared: &Shared, queries: &QuerySet, index: u32) {
        let mut state = self.state();
        state.pass = None;
        state.encoder(shared).write_timestamp(queries, index);
    }

    /// Writes the first `count` timestamps into a buffer.
    pub(crate) fn resolve(&self, shared: &Shared, queries: &QuerySet, count: u32, to: &Buffer) {
        let mut state = self.state();
        state.pass = None;
        state.encoder(shared).resolve_query_set(queries, 0..count, to, 0);
    }

    /// Submits what was recorded.
    pub(crate) fn submit(&self, shared: &Shared) {
        self.state().submit(shared);
    }

    /// Forgets what was recorded: the device that it was for is gone.
    pub(crate) fn forget(&self) {
        *self.state() = State::default();
    }
}

/// Workgroups in a row and rows of them for so many in all: a dimension ends at 65535.
pub(crate) fn spread(groups: u64) -> [u32; 3] {
    let groups = groups.max(1);
    let rows = groups.div_ceil(65535);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}
