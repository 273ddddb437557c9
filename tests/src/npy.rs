//! `.npy` files of f32, written and read by the letter of NumPy's format description, version 1.0.

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// The file for `values` of `shape`, row major.
///
/// # Panics
/// If there are not as many values as the shape says.
pub fn write(values: &[f32], shape: &[usize]) -> Vec<u8> {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let extents: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    file(
        "<f4",
        &format!("({extents})"),
        &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(),
    )
}

/// A file with that type and shape in its header, whatever `data` holds.
pub fn file(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // The header ends with a newline where the data begin, at a multiple of 64 bytes.
    while !(MAGIC.len() + 2 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    let length = u16::try_from(header.len()).expect("a short header");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// Values and shape of a little-endian f32 file in row-major order.
///
/// # Panics
/// If it is anything else.
pub fn read(bytes: &[u8]) -> (Vec<f32>, Vec<usize>) {
    let rest = bytes.strip_prefix(MAGIC).expect("the magic of version 1.0");
    let (length, rest) = rest.split_first_chunk::<2>().expect("a header length");
    let (header, data) = rest.split_at(usize::from(u16::from_le_bytes(*length)));
    let header = std::str::from_utf8(header).expect("an ASCII header");
    assert!(header.contains("'descr': '<f4'"), "{header}");
    assert!(header.contains("'fortran_order': False"), "{header}");
    let (_, shape) = header.split_once("'shape': (").expect("a shape");
    let (shape, _) = shape.split_once(')').expect("the shape's end");
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let shape: Vec<usize> = extents.map(|extent| extent.parse().expect("an extent")).collect();
    let (elements, remainder) = data.as_chunks::<4>();
    assert!(remainder.is_empty());
    let values: Vec<f32> = elements.iter().copied().map(f32::from_le_bytes).collect();
    assert_eq!(values.len(), shape.iter().product::<usize>(), "{header}");
    (values, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let values = [1.0, -2.5, 3.0, 4.0, 5.0, 6.0];
        let bytes = write(&values, &[1, 2, 3]);
        assert_eq!(bytes.len() % 64, values.len() * 4);
        assert_eq!(read(&bytes), (values.to_vec(), vec![1, 2, 3]));
    }
}
