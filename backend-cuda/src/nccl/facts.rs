//! Whether NCCL can connect the ranks of a group: every rank tells all others what there is to know,
//! and all of them decide alike.

use serde::{Deserialize, Serialize};

/// What a rank knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// NCCL's version as one number, 0 without NCCL.
    pub(super) version: u32,
    /// What the GPU is known by, on any machine.
    pub(super) uuid: [u8; 16],
    /// NCCL was told that ranks may share a GPU.
    pub(super) may_share: bool,
    /// It is connected from an earlier decode.
    pub(super) connected: bool,
}

/// Why NCCL cannot connect these ranks, in words.
pub(super) fn obstacle(all: &[Facts]) -> Option<String> {
    if let Some(rank) = all.iter().position(|facts| facts.version == 0) {
        return Some(format!(
            "rank {rank} has no NCCL that works (libnccl.so.2); `pip install nvidia-nccl-cu13` brings \
             it, and `halovae devices` there says what is wrong"
        ));
    }
    if let Some(rank) = all.iter().position(|facts| facts.version != all[0].version) {
        return Some(format!("rank {rank} has another version of NCCL than rank 0"));
    }
    let shares = |&at: &usize| all[..at].iter().any(|facts| facts.uuid == all[at].uuid);
    let sharing = (0..all.len()).find(shares)?;
    if all.iter().all(|facts| facts.may_share) {
        return None;
    }
    let with = all.iter().position(|facts| facts.uuid == all[sharing].uuid)?;
    Some(format!("ranks {with} and {sharing} share a GPU"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(gpu: u8) -> Facts {
        Facts { version: 23_203, uuid: [gpu; 16], may_share: false, connected: false }
    }

    #[test]
    fn what_cannot_be_connected() {
        assert_eq!(obstacle(&[facts(1), facts(2), facts(3)]), None);
        let told = |all: &[Facts]| obstacle(all).expect("an obstacle");
        let without = Facts { version: 0, ..facts(2) };
        let missing = told(&[facts(1), without]);
        assert!(missing.contains("rank 1") && missing.contains("pip install"), "{missing}");
        let older = Facts { version: 22_000, ..facts(3) };
        assert!(
            told(&[facts(1), facts(2), older]).contains("rank 2"),
            "{}",
            told(&[facts(1), older])
        );
        assert_eq!(told(&[facts(1), facts(2), facts(1)]), "ranks 0 and 2 share a GPU");
        let may = |gpu| Facts { may_share: true, ..facts(gpu) };
        assert_eq!(obstacle(&[may(1), may(1)]), None);
        assert!(obstacle(&[may(1), facts(1)]).is_some());
    }
}
