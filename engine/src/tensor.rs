//! Tensors on the host: what goes into a backend and what comes out of it.

use halovae_core::Region;

use crate::backend::BackendError;

/// The extents of a tensor, channels last: element `(b, y, x, c)` lies at
/// `((b * height + y) * width + x) * channels + c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Samples.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, the fastest axis.
    pub channels: usize,
}

impl Shape {
    /// A shape from its four extents in memory order.
    pub fn new(batch: usize, height: usize, width: usize, channels: usize) -> Self {
        Self { batch, height, width, channels }
    }

    /// How many elements it holds, or `None` where that does not fit a `usize`.
    pub fn elements(&self) -> Option<usize> {
        self.batch.checked_mul(self.height)?.checked_mul(self.width)?.checked_mul(self.channels)
    }

    /// Bytes of the tensor in f32, saturating.
    pub fn bytes(&self) -> u64 {
        [self.batch, self.height, self.width, self.channels]
            .iter()
            .fold(4u64, |product, &extent| product.saturating_mul(extent as u64))
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}x{}", self.batch, self.height, self.width, self.channels)
    }
}

/// An f32 tensor in host memory, channels last.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    shape: Shape,
    data: Vec<f32>,
}

impl HostTensor {
    /// Wraps `data`, which must have exactly as many elements as `shape`; otherwise `None`.
    pub fn new(shape: Shape, data: Vec<f32>) -> Option<Self> {
        (shape.elements() == Some(data.len())).then_some(Self { shape, data })
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`] when the host has no room for it.
    pub fn zeros(shape: Shape) -> Result<Self, BackendError> {
        let out_of_memory = || BackendError::OutOfMemory {
            device: "host memory".into(),
            what: format!("a tensor of {shape}"),
            requested: shape.bytes(),
        };
        let elements = shape.elements().ok_or_else(out_of_memory)?;
        let mut data = Vec::new();
        data.try_reserve_exact(elements).map_err(|_| out_of_memory())?;
        data.resize(elements, 0.0);
        Ok(Self { shape, data })
    }

    /// The extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The elements, channels last.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, for writing.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Gives the elements away.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// Copies `region` of sample `batch` out, as a tensor of one sample.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`] when the host has no room for the copy.
    ///
    /// # Panics
    /// If the region or the sample lies outside the tensor: a plan that names such a region is a
    /// bug, not bad input.
    pub fn crop(&self, batch: usize, region: Region) -> Result<Self, BackendError> {
        let [top, left] = [region.top as usize, region.left as usize];
        let [height, width] = [region.height as usize, region.width as usize];
        let Shape { height: full_height, width: full_width, channels, .. } = self.shape;
        assert!(
            batch < self.shape.batch && top + height <= full_height && left + width <= full_width,
            "region {region:?} of sample {batch} lies outside a tensor of {}",
            self.shape
        );
        let mut out = Self::zeros(Shape::new(1, height, width, channels))?;
        for y in 0..height {
            let from = ((batch * full_height + top + y) * full_width + left) * channels;
            out.data[y * width * channels..][..width * channels]
                .copy_from_slice(&self.data[from..][..width * channels]);
        }
        Ok(out)
    }

    /// The largest magnitude, 0 for an empty tensor.
    pub fn max_abs(&self) -> f32 {
        self.data.iter().fold(0.0, |max, value| max.max(value.abs()))
    }
}
