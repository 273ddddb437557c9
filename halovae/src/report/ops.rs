//! Where the time of a decode went, by kind of op.

use std::borrow::Cow;
use std::collections::BTreeMap;

use halovae_engine::wrap::OpRecord;
use serde::{Deserialize, Serialize};

/// What the ops of one kind did, over all ranks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpKind {
    /// The kind, fused parts included.
    pub kind: Cow<'static, str>,
    /// How often it ran.
    pub count: u64,
    /// Seconds, added over ranks.
    pub seconds: f64,
    /// Multiplications and additions of convs and attention.
    pub flops: u128,
}

impl OpKind {
    /// So many ops of a kind that took so long.
    pub fn new(kind: &'static str, count: u64, seconds: f64, flops: u128) -> Self {
        Self { kind: kind.into(), count, seconds, flops }
    }
}

impl From<OpRecord> for OpKind {
    fn from(OpRecord { kind, count, seconds, flops }: OpRecord) -> Self {
        Self { kind: kind.into(), count, seconds, flops }
    }
}

/// Adds up by kind, the longest first.
pub(super) fn by_kind(ops: impl IntoIterator<Item = OpKind>) -> Vec<OpKind> {
    let mut kinds: BTreeMap<Cow<'static, str>, OpKind> = BTreeMap::new();
    for op in ops {
        let zero = OpKind { count: 0, seconds: 0.0, flops: 0, ..op.clone() };
        let sum = kinds.entry(op.kind).or_insert(zero);
        sum.count += op.count;
        sum.seconds += op.seconds;
        sum.flops += op.flops;
    }
    let mut kinds: Vec<_> = kinds.into_values().collect();
    kinds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_add_up_by_kind() {
        let record =
            |kind, seconds, flops| OpKind::from(OpRecord { kind, count: 1, flops, seconds });
        let kinds = by_kind([
            record("conv", 1.0, 10u128.pow(9)),
            record("norm", 3.0, 0),
            record("conv", 1.0, 3 * 10u128.pow(9)),
        ]);
        assert_eq!(
            kinds.iter().map(|op| (op.kind.as_ref(), op.count)).collect::<Vec<_>>(),
            [("norm", 1), ("conv", 2)]
        );
    }
}
