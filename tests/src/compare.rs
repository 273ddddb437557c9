//! How close two pictures are.

use halovae_engine::tensor::{HostTensor, Shape};

/// Where two tensors differ most, and by how much.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// The largest absolute difference.
    pub max_abs: f64,
    /// The mean absolute difference.
    pub mean_abs: f64,
    /// Sample, row, column and channel of the largest.
    pub at: [usize; 4],
}

impl Difference {
    /// Compares two tensors.
    ///
    /// # Panics
    /// If their shapes differ or one holds something that is not finite.
    pub fn new(got: &HostTensor, expected: &HostTensor) -> Self {
        assert_eq!(got.shape(), expected.shape());
        let Shape { height, width, channels, .. } = got.shape();
        let mut largest = (0.0, 0);
        let mut sum = 0.0;
        for (index, (got, expected)) in got.data().iter().zip(expected.data()).enumerate() {
            assert!(got.is_finite() && expected.is_finite(), "element {index}: {got}, {expected}");
            let difference = (f64::from(*got) - f64::from(*expected)).abs();
            sum += difference;
            if difference > largest.0 {
                largest = (difference, index);
            }
        }
        let (max_abs, index) = largest;
        let at = [
            index / channels / width / height,
            index / channels / width % height,
            index / channels % width,
            index % channels,
        ];
        Self { max_abs, mean_abs: sum / got.data().len() as f64, at }
    }
}

/// The bound for f32 against diffusers: 2e-4 times the largest magnitude, but that at least 1.
pub fn f32_bound(reference: &HostTensor) -> f64 {
    2e-4 * f64::from(reference.max_abs()).max(1.0)
}

/// Fails unless `got` is within the bound for f32.
///
/// # Panics
/// If it is not.
#[track_caller]
pub fn assert_f32_close(what: &str, got: &HostTensor, reference: &HostTensor) {
    let difference = Difference::new(got, reference);
    let bound = f32_bound(reference);
    let Difference { max_abs, at: [sample, row, column, channel], .. } = difference;
    assert!(
        max_abs <= bound,
        "{what}: differs by {max_abs:.2e}, the bound is {bound:.2e}; sample {sample}, row {row}, \
         column {column}, channel {channel}; on average {:.2e}",
        difference.mean_abs
    );
}

/// Fails unless both have the same bits.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_same_bytes(what: &str, got: &HostTensor, expected: &HostTensor) {
    assert_eq!(got.shape(), expected.shape(), "{what}");
    let bits = |tensor: &HostTensor| tensor.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    if bits(got) != bits(expected) {
        panic!("{what}: not the same bytes: {:?}", Difference::new(got, expected));
    }
}

/// The root mean square of the differences, relative to that of the reference.
pub fn relative_rms(got: &HostTensor, expected: &HostTensor) -> f64 {
    assert_eq!(got.shape(), expected.shape());
    let square = |value: f32| f64::from(value) * f64::from(value);
    let pairs = got.data().iter().zip(expected.data());
    let error: f64 = pairs.map(|(g, e)| square(g - e)).sum();
    (error / expected.data().iter().map(|&e| square(e)).sum::<f64>()).sqrt()
}
