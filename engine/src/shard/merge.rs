//! Statistics of parts, merged into those of the whole.

/// Count, mean and variance of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Partial {
    /// How many values.
    pub(super) count: f64,
    /// Their mean.
    pub(super) mean: f64,
    /// Their biased variance.
    pub(super) variance: f64,
}

/// Mean and biased variance of all values, in f64, by the formula of Chan, Golub and LeVeque
/// (1979): squared deviations are added, never squares, so nothing cancels.
pub(super) fn merge(parts: impl IntoIterator<Item = Partial>) -> [f32; 2] {
    let (mut count, mut mean, mut squares) = (0.0f64, 0.0f64, 0.0f64);
    for part in parts {
        let total = count + part.count;
        let delta = part.mean - mean;
        squares += part.variance * part.count + delta * delta * count * part.count / total;
        mean += delta * part.count / total;
        count = total;
    }
    [mean as f32, (squares / count) as f32]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two passes over all values, as the definition has it.
    fn direct(values: &[f64]) -> [f64; 2] {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        [mean, squares / values.len() as f64]
    }

    proptest! {
        #[test]
        fn merged_parts_are_the_whole(
            parts in prop::collection::vec(prop::collection::vec(-2.0..2.0f64, 1..30), 1..9),
            offset in prop_oneof![Just(0.0), Just(300.0), Just(-5000.0)],
        ) {
            let parts: Vec<Vec<f64>> = parts
                .into_iter()
                .map(|part| part.into_iter().map(|value| value + offset).collect())
                .collect();
            let partial = parts.iter().map(|part| {
                let [mean, variance] = direct(part);
                Partial { count: part.len() as f64, mean, variance }
            });
            let [mean, variance] = merge(partial).map(f64::from);
            let [expected_mean, expected_variance] = direct(&parts.concat());
            prop_assert!((mean - expected_mean).abs() <= 1e-7 * (1.0 + expected_mean.abs()));
            prop_assert!((variance - expected_variance).abs() <= 1e-6 * (1.0 + expected_variance));
        }
    }
}
