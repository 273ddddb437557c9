//! The header of numpy's `.npy` format, version 1.0.

/// The values must begin at a multiple of it.
const ALIGNMENT: usize = 64;
/// Magic, version, length of the text.
const PREFIX: usize = 10;

/// The header of little endian f32 in C order; of arrays of several axes.
pub(crate) fn header(shape: &[usize], _bytes: u64) -> Vec<u8> {
    let extents: Vec<_> = shape.iter().map(usize::to_string).collect();
    let extents = extents.join(", ");
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({extents}), }}");
    let length = (PREFIX + text.len() + 1).next_multiple_of(ALIGNMENT) - PREFIX;
    text.push_str(&" ".repeat(length - text.len() - 1));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    // Five numbers of at most 20 digits: far below the 65535 that the field holds.
    header.extend((length as u16).to_le_bytes());
    header.extend(text.bytes());
    header
}
