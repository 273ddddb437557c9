//! How a rank's part of a sharded decode ends early.

use crate::group::{Cause, GroupError, LinkError};
use crate::program::{Op, Program};

/// Why a rank ended early.
#[derive(Debug)]
pub(crate) enum ShardStop {
    /// This rank failed.
    Failed {
        /// In which shard, if in one.
        shard: Option<u32>,
        /// In which op, if in one.
        op: Option<String>,
        /// Why.
        cause: Cause,
    },
    /// The group ended, and knows why.
    Stopped,
}

impl From<GroupError> for ShardStop {
    fn from(_: GroupError) -> Self {
        Self::Stopped
    }
}

impl From<Cause> for ShardStop {
    fn from(cause: Cause) -> Self {
        Self::Failed { shard: None, op: None, cause }
    }
}

impl From<LinkError> for ShardStop {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Group(error) => error.into(),
            LinkError::Device(error) => Cause::Backend(error).into(),
        }
    }
}

/// That an op failed on a shard.
pub(super) fn failed(program: &Program, op: &Op, shard: u32, cause: Cause) -> ShardStop {
    ShardStop::Failed { shard: Some(shard), op: Some(program.op_name(op).to_owned()), cause }
}
