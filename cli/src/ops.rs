//! Where the time of a decode went, by kind of op.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use halovae_engine::wrap::OpRecord;
use serde::{Deserialize, Serialize};

/// What the ops of one kind did, over all ranks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpKind {
    /// The kind, fused parts included.
    pub(crate) kind: Cow<'static, str>,
    /// How often it ran.
    pub(crate) count: u64,
    /// Seconds, added over ranks.
    pub(crate) seconds: f64,
    /// Multiplications and additions of convs and attention.
    pub(crate) flops: u128,
}

impl From<OpRecord> for OpKind {
    fn from(OpRecord { kind, seconds, flops, .. }: OpRecord) -> Self {
        Self { kind: kind.into(), count: 1, seconds, flops }
    }
}

/// Adds up by kind, the longest first.
pub(crate) fn by_kind(ops: impl IntoIterator<Item = OpKind>) -> Vec<OpKind> {
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

/// Prints them as a table.
pub(crate) struct OpTable<'a>(pub(crate) &'a [OpKind]);

impl fmt::Display for OpTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: f64 = self.0.iter().map(|op| op.seconds).sum();
        write!(f, "{:<18}{:>7}{:>11}{:>8}{:>11}", "op", "count", "seconds", "share", "GFLOP/s")?;
        for OpKind { kind, count, seconds, flops } in self.0 {
            let share = if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
            write!(f, "\n{kind:<18}{count:>7}{seconds:>11.3}{share:>7.1}%")?;
            match *flops {
                0 => write!(f, "{:>11}", "-")?,
                flops => write!(f, "{:>11.1}", flops as f64 / seconds.max(1e-9) / 1e9)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use halovae_engine::tensor::Shape;

    use super::*;

    #[test]
    fn records_add_up_by_kind() {
        let record = |kind, seconds, flops| OpRecord {
            name: "a".into(),
            kind,
            output: Shape::new(1, 1, 1, 1),
            flops,
            seconds,
        };
        let record = |kind, seconds, flops| OpKind::from(record(kind, seconds, flops));
        let kinds = by_kind([
            record("conv", 1.0, 10u128.pow(9)),
            record("norm", 3.0, 0),
            record("conv", 1.0, 3 * 10u128.pow(9)),
        ]);
        assert_eq!(
            kinds.iter().map(|op| (op.kind.as_ref(), op.count)).collect::<Vec<_>>(),
            [("norm", 1), ("conv", 2)]
        );
        let table = OpTable(&kinds).to_string();
        let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let lines: Vec<Vec<&str>> = lines;
        assert_eq!(lines[1], ["norm", "1", "3.000", "60.0%", "-"]);
        assert_eq!(lines[2], ["conv", "2", "2.000", "40.0%", "2.0"]);
    }
}
