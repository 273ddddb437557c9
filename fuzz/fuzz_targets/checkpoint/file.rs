//! Safetensors files with any header.

/// Most elements of a tensor. Larger ones are given no elements at all.
const MAX_ELEMENTS: u64 = 1 << 13;

/// Types by the name that a header gives them, and the bits of an element. The first five are read.
const DTYPES: [(&str, u64); 9] = [
    ("F16", 16),
    ("F8_E4M3", 8),
    ("BF16", 16),
    ("F32", 32),
    ("F8_E5M2", 8),
    ("F64", 64),
    ("I64", 64),
    ("U8", 8),
    ("BOOL", 8),
];

/// Types that are read.
const READ: u8 = 5;

/// A tensor of a file.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// The place of its type among all types.
    pub(crate) dtype: u8,
    pub(crate) shape: Vec<u64>,
}

impl Tensor {
    /// A tensor of a type that is read.
    pub(crate) fn new(name: String, dtype: u8, shape: Vec<u64>) -> Self {
        Self { name, dtype: dtype % READ, shape }
    }

    fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent))
    }

    /// Leaves a shape that a file of a few bytes can have: large extents stay beside one of none.
    pub(crate) fn make_small(&mut self, axis: usize) {
        let len = self.shape.len();
        if len > 0 && self.elements().is_none_or(|elements| elements > MAX_ELEMENTS) {
            self.shape[axis % len] = 0;
        }
    }
}

/// The bytes of a file of these tensors.
pub(crate) fn written(tensors: &[Tensor]) -> Vec<u8> {
    let mut at = 0;
    let entries: Vec<_> = tensors
        .iter()
        .map(|tensor| {
            let (dtype, bits) = DTYPES[usize::from(tensor.dtype) % DTYPES.len()];
            // One that overflows is refused, whatever it has.
            let bytes = tensor.elements().unwrap_or(0).min(MAX_ELEMENTS) * bits / 8;
            let (from, to) = (at, at + bytes);
            at = to;
            let Tensor { name, shape, .. } = tensor;
            format!("{name:?}:{{\"dtype\":{dtype:?},\"shape\":{shape:?},\"data_offsets\":[{from},{to}]}}")
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.extend((0..at).map(|index| (index * 37 % 61) as u8));
    file
}
