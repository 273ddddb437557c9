//! Tensors on the host: what goes into a backend and what comes out of it.

use halovae_core::{Region, Size};

use crate::error::BackendError;

/// The extents of a tensor, channels last: element `(b, t, y, x, c)` lies at
/// `(((b * frames + t) * height + y) * width + x) * channels + c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Samples.
    pub batch: usize,
    /// Frames of a sample; 1 for images.
    pub frames: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, the fastest axis.
    pub channels: usize,
}

impl Shape {
    /// The shape of images, from its extents in memory order.
    pub const fn new(batch: usize, height: usize, width: usize, channels: usize) -> Self {
        Self { batch, frames: 1, height, width, channels }
    }

    /// The shape of `frames` frames of such images for each sample.
    #[must_use]
    pub const fn over(self, frames: usize) -> Self {
        Self { frames, ..self }
    }

    /// The same for a sample of `size`.
    pub const fn sample(size: Size, channels: usize) -> Self {
        let image = Self::new(1, size.height as usize, size.width as usize, channels);
        image.over(size.frames as usize)
    }

    /// Frames, rows and columns of a sample; stops at `u32::MAX`.
    pub fn size(&self) -> Size {
        let extent = |extent: usize| u32::try_from(extent).unwrap_or(u32::MAX);
        Size::video(extent(self.frames), extent(self.height), extent(self.width))
    }

    /// Frames of all samples, which lie one behind the other.
    pub const fn images(&self) -> usize {
        self.batch * self.frames
    }

    /// Elements of a frame.
    pub const fn frame_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// How many elements it holds, or `None` where that does not fit a `usize`.
    pub fn elements(&self) -> Option<usize> {
        let images = self.batch.checked_mul(self.frames)?;
        images.checked_mul(self.height)?.checked_mul(self.width)?.checked_mul(self.channels)
    }

    /// Bytes of the tensor in f32, saturating.
    pub fn bytes(&self) -> u64 {
        [self.batch, self.frames, self.height, self.width, self.channels]
            .iter()
            .fold(4u64, |product, &extent| product.saturating_mul(extent as u64))
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { batch, frames, height, width, channels } = self;
        match frames {
            1 => write!(f, "{batch}x{height}x{width}x{channels}"),
            _ => write!(f, "{batch}x{frames}x{height}x{width}x{channels}"),
        }
    }
}

/// An f32 tensor in host memory, channels last.
#[derive(Clone, PartialEq)]
pub struct HostTensor {
    shape: Shape,
    data: Vec<f32>,
}

impl std::fmt::Debug for HostTensor {
    /// The extents and the first values: all of them would be millions.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 8;
        let (shown, rest) = self.data.split_at(self.data.len().min(SHOWN));
        write!(f, "HostTensor({}, {shown:?}", self.shape)?;
        f.write_str(if rest.is_empty() { ")" } else { ", ...)" })
    }
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
        let Shape { frames, height, width, channels, .. } = self.shape;
        assert!(
            batch < self.shape.batch && self.shape.size().at_origin().contains(region),
            "region {region:?} of sample {batch} lies outside a tensor of {}",
            self.shape
        );
        let mut out = Self::zeros(Shape::sample(region.size(), channels))?;
        let row = region.width as usize * channels;
        let (first, top) = (region.first as usize, region.top as usize);
        let rows = (0..region.frames as usize)
            .flat_map(|t| (0..region.height as usize).map(move |y| (first + t, top + y)));
        for (to, (t, y)) in out.data.chunks_exact_mut(row.max(1)).zip(rows) {
            let at = ((batch * frames + t) * height + y) * width + region.left as usize;
            to.copy_from_slice(&self.data[at * channels..][..row]);
        }
        Ok(out)
    }

    /// The largest magnitude, 0 for an empty tensor.
    pub fn max_abs(&self) -> f32 {
        self.data.iter().fold(0.0, |max, value| max.max(value.abs()))
    }
}
