//! Tensors in the files of a checkpoint.

use std::ops::Range;

use super::dtype::{self, Dtype};
use crate::files::header::TensorInfo;
use crate::files::storage::Storage;

/// Most values of a vector that are read beside the decoder's weights.
const MAX_VALUES: usize = 1 << 20;

/// A weight's place in the files.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) file: usize,
    /// The name in the file.
    pub(crate) raw_name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
    /// What its elements are to be multiplied by: nothing, one factor, or one for each output
    /// channel.
    pub(crate) scales: Vec<f32>,
}

/// A tensor as its file has it.
pub(crate) struct RawTensor {
    pub(crate) name: String,
    pub(super) file: usize,
    pub(super) info: TensorInfo,
}

impl RawTensor {
    /// Its values as f32, if it has one axis, no more values than a config, and a type that is read.
    pub(crate) fn vector(&self, files: &[Storage]) -> Option<Vec<f32>> {
        let &[count] = self.info.shape.as_slice() else { return None };
        (count <= MAX_VALUES).then(|| self.values(files, count)).flatten()
    }

    /// Its values as f32, if it has `count` in a type that is read.
    pub(crate) fn values(&self, files: &[Storage], count: usize) -> Option<Vec<f32>> {
        let dtype = Dtype::from_file(self.info.dtype)?;
        let bytes = files.get(self.file)?.get(self.info.range.clone())?;
        if bytes.len() != count.checked_mul(dtype.size())? {
            return None;
        }
        let mut values = vec![0.0; count];
        dtype::to_f32(dtype, bytes, &mut values);
        Some(values)
    }
}

/// Names without prefix, and shapes, of what the VAE has.
pub(crate) fn of_vae<'a>(
    tensors: &'a [RawTensor],
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, &'a [usize])> + Clone {
    tensors.iter().filter_map(move |tensor| {
        Some((tensor.name.strip_prefix(prefix)?, tensor.info.shape.as_slice()))
    })
}
