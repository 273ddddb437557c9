//! The header of a `.safetensors` file with one tensor.

/// The values must begin at a multiple of it.
const ALIGNMENT: usize = 8;

/// The header of an f32 tensor `sample`.
pub(crate) fn header(shape: &[usize], bytes: u64) -> Vec<u8> {
    let mut text =
        format!(r#"{{"sample":{{"dtype":"F32","shape":{shape:?},"data_offsets":[0,{bytes}]}}}}"#);
    text.push_str(&" ".repeat(text.len().next_multiple_of(ALIGNMENT) - text.len()));
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text.bytes());
    header
}
