//! Safetensors files of pictures and latents, read without the engine.

use std::collections::BTreeMap;
use std::path::Path;

use halovae_engine::tensor::{HostTensor, Shape};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Every tensor of a file of f32 tensors `[batch, channels, height, width]`, channels last. There may
/// be frames behind the channels, and neither height nor width.
///
/// # Panics
/// If the file is anything else.
pub fn read(file: &Path) -> BTreeMap<String, HostTensor> {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    tensors.tensors().into_iter().map(|(name, view)| (name, from_file(&view))).collect()
}

fn from_file(view: &TensorView<'_>) -> HostTensor {
    assert_eq!(view.dtype(), Dtype::F32);
    let (elements, rest) = view.data().as_chunks::<4>();
    assert!(rest.is_empty());
    let values: Vec<f32> = elements.iter().copied().map(f32::from_le_bytes).collect();
    let (extents, frames) = match *view.shape() {
        [batch, channels] => ([batch, channels, 1, 1], 1),
        // Packed latents, which are compared with nothing.
        [batch, tokens, values] => ([batch, tokens, 1, values], 1),
        [batch, channels, height, width] => ([batch, channels, height, width], 1),
        // As rows, until it is known what is a frame.
        [batch, channels, frames, height, width] => {
            ([batch, channels, frames * height, width], frames)
        }
        ref other => panic!("{other:?} are no extents of images or videos"),
    };
    let images = channels_last(&values, extents);
    let shape = Shape { height: images.shape().height / frames, frames, ..images.shape() };
    HostTensor::new(shape, images.into_data()).expect("as many elements as before")
}

/// Reorders `[batch, channels, height, width]` to channels last.
///
/// # Panics
/// If there are not as many values as the extents say.
pub fn channels_last(nchw: &[f32], [batch, channels, height, width]: [usize; 4]) -> HostTensor {
    assert_eq!(nchw.len(), batch * channels * height * width);
    let mut out = HostTensor::zeros(Shape::new(batch, height, width, channels)).expect("memory");
    for (index, value) in out.data_mut().iter_mut().enumerate() {
        let channel = index % channels;
        let column = index / channels % width;
        let row = index / channels / width % height;
        let sample = index / channels / width / height;
        *value = nchw[((sample * channels + channel) * height + row) * width + column];
    }
    out
}

/// Reorders a tensor to `[batch, channels, height, width]`.
pub fn channels_first(tensor: &HostTensor) -> (Vec<f32>, [usize; 4]) {
    let Shape { batch, height, width, channels, .. } = tensor.shape();
    let at = |index: usize| {
        let column = index % width;
        let row = index / width % height;
        let channel = index / width / height % channels;
        let sample = index / width / height / channels;
        ((sample * height + row) * width + column) * channels + channel
    };
    let values = (0..tensor.data().len()).map(|index| tensor.data()[at(index)]).collect();
    (values, [batch, channels, height, width])
}

/// Latents as a pipeline has them: `[batch, channels, frames, height, width]`.
pub fn video_channels_first(latents: &HostTensor) -> (Vec<f32>, [usize; 5]) {
    let Shape { batch, frames, height, width, channels } = latents.shape();
    let mut values = Vec::with_capacity(latents.data().len());
    for n in 0..batch {
        for c in 0..channels {
            for place in 0..frames * height * width {
                values.push(latents.data()[(n * frames * height * width + place) * channels + c]);
            }
        }
    }
    (values, [batch, channels, frames, height, width])
}

/// Every `step`-th row and column, from the first.
pub fn sampled(tensor: &HostTensor, step: usize) -> HostTensor {
    let Shape { batch, height, width, channels, .. } = tensor.shape();
    let shape = Shape::new(batch, height.div_ceil(step), width.div_ceil(step), channels);
    let mut data = Vec::new();
    for sample in 0..batch {
        for row in (0..height).step_by(step) {
            for column in (0..width).step_by(step) {
                let start = ((sample * height + row) * width + column) * channels;
                data.extend_from_slice(&tensor.data()[start..start + channels]);
            }
        }
    }
    HostTensor::new(shape, data).expect("as many elements as the shape has")
}
