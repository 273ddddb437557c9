//! The header of a safetensors file, checked against the bytes that are really there.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::sniff::{FileKind, sniff};
use super::text::escaped;

/// Bytes before the header: its length.
const LENGTH_BYTES: usize = 8;

/// Longest header that is read. The format allows 100 MB; what one parses into takes a multiple of
/// that in memory, and the header of a checkpoint with ten thousand tensors has about 1 MB.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Why bytes are no safetensors file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Another kind of file.
    #[error("is {found}, expected a safetensors file{}", found.remedy())]
    OtherFormat {
        /// What it looks like.
        found: FileKind,
    },
    /// No room for the header's length.
    #[error("{}, expected a safetensors file; download it again", few(*bytes))]
    TooShort {
        /// Its size.
        bytes: usize,
    },
    /// A header longer than the file.
    #[error(
        "claims a header of {claimed} bytes, but {available} bytes follow; it is truncated or no \
         safetensors file"
    )]
    HeaderLength {
        /// The header's length as the file has it.
        claimed: u64,
        /// Bytes behind the length.
        available: usize,
    },
    /// A header longer than any real one.
    #[error("has a header of {claimed} bytes, expected at most {MAX_HEADER_BYTES}")]
    HeaderTooLong {
        /// The header's length.
        claimed: u64,
    },
    /// A header that says nothing sensible.
    #[error("has a damaged header ({problem}); download it again")]
    Damaged {
        /// What is wrong.
        problem: String,
    },
    /// More or fewer bytes than the header describes.
    #[error(
        "has {found} bytes of tensors where its header describes {described}; it is truncated or \
         damaged, download it again"
    )]
    DataLength {
        /// Bytes that the header describes.
        described: usize,
        /// Bytes that follow the header.
        found: usize,
    },
}

fn few(bytes: usize) -> String {
    if bytes == 0 { "is empty".into() } else { format!("has {bytes} bytes") }
}

/// One tensor as the header describes it.
#[derive(Clone, Debug)]
pub(crate) struct TensorInfo {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Where it lies in the file; within it, and as long as type and shape say.
    pub(crate) range: Range<usize>,
}

/// The tensors of the safetensors file `bytes`, by name.
///
/// The header is parsed by the `safetensors` crate, which checks that offsets are ascending,
/// without gap or overlap, and fit type and shape without overflow. It adds the header's length to
/// the last offset unchecked, so the comparison with the file's size is done here.
pub(crate) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, TensorInfo>, HeaderError> {
    if let Some(found) = sniff(bytes).filter(|kind| *kind != FileKind::Safetensors) {
        return Err(HeaderError::OtherFormat { found });
    }
    let (length, rest) = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or(HeaderError::TooShort { bytes: bytes.len() })?;
    let claimed = u64::from_le_bytes(*length);
    let header = usize::try_from(claimed)
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or(HeaderError::HeaderLength { claimed, available: rest.len() })?;
    if claimed > MAX_HEADER_BYTES {
        return Err(HeaderError::HeaderTooLong { claimed });
    }
    let damaged = |problem: String| HeaderError::Damaged { problem: escaped(&problem) };
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|error| damaged(error.to_string()))?;

    let data = &rest[header.len()..];
    let described = metadata.data_len();
    if described != data.len() {
        return Err(HeaderError::DataLength { described, found: data.len() });
    }
    let start = LENGTH_BYTES + header.len();
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let inside =
            data.get(from..to).is_some() && byte_length(info.dtype, &info.shape) == Some(to - from);
        if !inside {
            return Err(damaged(format!("tensor `{name}` lies outside the file")));
        }
        let range = start + from..start + to;
        Ok((name, TensorInfo { dtype: info.dtype, shape: info.shape.clone(), range }))
    });
    tensors.collect()
}

fn byte_length(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
    Some(elements.checked_mul(dtype.bitsize())? / 8)
}
