//! A logarithmic axis, in powers of two.

/// At most so many lines cross a panel.
const MOST_LINES: i32 = 5;

/// From values to places on paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LogAxis {
    /// Exponents at the ends.
    ends: [f64; 2],
    /// The places of the ends.
    span: [f64; 2],
}

impl LogAxis {
    /// The axis on which `values` (above 0) lie, from `span[0]` to `span[1]` on paper.
    pub(crate) fn new(values: impl Iterator<Item = f64>, span: [f64; 2]) -> Self {
        let exponents = values.map(f64::log2).filter(|exponent| exponent.is_finite());
        let ends = exponents.fold(None, |ends: Option<[f64; 2]>, at| {
            let [low, high] = ends.unwrap_or([at, at]);
            Some([low.min(at), high.max(at)])
        });
        Self { ends: ends.unwrap_or([0.0, 0.0]), span }
    }

    /// The same with ends at powers of two, and at two different ones.
    pub(crate) fn rounded(self) -> Self {
        let [low, high] = self.ends;
        let low = low.floor();
        Self { ends: [low, high.ceil().max(low + 1.0)], ..self }
    }

    /// Where a value lies; in the middle if the axis has no length.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let ([low, high], [start, end]) = (self.ends, self.span);
        let part = if high > low { (value.log2() - low) / (high - low) } else { 0.5 };
        start + part * (end - start)
    }

    /// A few powers of two, evenly apart, for lines across a panel.
    pub(crate) fn lines(&self) -> impl Iterator<Item = f64> {
        let [low, high] = self.ends.map(|end| end as i32);
        let step = (high - low) / MOST_LINES + 1;
        let first = low.div_euclid(step) * step;
        let exponents = (first..=high).step_by(step as usize).filter(move |&at| at >= low);
        exponents.map(|exponent| f64::from(exponent).exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_lie_at_the_ends() {
        let axis = LogAxis::new([8.0, 1.0, 64.0].into_iter(), [10.0, 70.0]);
        assert_eq!([1.0, 8.0, 64.0].map(|value| axis.place(value)), [10.0, 40.0, 70.0]);
        let alone = LogAxis::new([8.0].into_iter(), [10.0, 70.0]);
        assert_eq!(alone.place(8.0), 40.0);
        let none = LogAxis::new([].into_iter(), [10.0, 70.0]).rounded();
        assert_eq!((none.place(1.0), none.lines().count()), (10.0, 2));
    }

    #[test]
    fn all_values_lie_on_the_axis_and_a_few_lines_too() {
        let (mut low, mut high) = (1e-300, 1e-300);
        while high < 1e300 {
            let axis = LogAxis::new([low, high].into_iter(), [100.0, 0.0]).rounded();
            let lines: Vec<f64> = axis.lines().collect();
            assert!((2..=5).contains(&lines.len()), "{low} {high}: {lines:?}");
            for value in lines.into_iter().chain([low, high]) {
                assert!((0.0..=100.0).contains(&axis.place(value)), "{low} {high}: {value}");
            }
            low *= 1.7;
            high *= 37.0;
        }
    }

    #[test]
    fn lines_are_round_numbers() {
        let axis = LogAxis::new([7e7, 1.4e11].into_iter(), [100.0, 0.0]).rounded();
        let exponents: Vec<f64> = axis.lines().map(f64::log2).collect();
        assert_eq!(exponents, [27.0, 30.0, 33.0, 36.0]);
    }
}
