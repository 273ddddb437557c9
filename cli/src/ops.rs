//! Where the time of a decode went, as a table.

use std::fmt;

use halovae::report::OpKind;

/// Prints them as a table.
pub(crate) struct OpTable<'a>(pub(crate) &'a [OpKind]);

impl fmt::Display for OpTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: f64 = self.0.iter().map(|op| op.seconds).sum();
        write!(f, "{:<18}{:>7}{:>11}{:>8}{:>11}", "op", "count", "seconds", "share", "GFLOP/s")?;
        for OpKind { kind, count, seconds, flops, .. } in self.0 {
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
    use super::*;

    #[test]
    fn kinds_are_lines_of_a_table() {
        let kinds =
            [OpKind::new("norm", 1, 3.0, 0), OpKind::new("conv", 2, 2.0, 4 * 10u128.pow(9))];
        let table = OpTable(&kinds).to_string();
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["norm", "1", "3.000", "60.0%", "-"]);
        assert_eq!(lines[2], ["conv", "2", "2.000", "40.0%", "2.0"]);
    }
}
