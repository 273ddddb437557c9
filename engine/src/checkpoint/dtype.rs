//! Element types of weights and their conversion to f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// The type of a weight's elements in the file, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 8 bits with an exponent of 4 bits: up to 448, no infinity, one NaN of each sign. What PyTorch
    /// calls `float8_e4m3fn`.
    F8E4M3,
    /// 8 bits with an exponent of 5 bits: the upper half of an f16.
    F8E5M2,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::F8E4M3 | Dtype::F8E5M2 => 1,
        }
    }

    pub(crate) fn from_file(dtype: safetensors::Dtype) -> Option<Self> {
        match dtype {
            safetensors::Dtype::F32 => Some(Dtype::F32),
            safetensors::Dtype::F16 => Some(Dtype::F16),
            safetensors::Dtype::BF16 => Some(Dtype::Bf16),
            safetensors::Dtype::F8_E4M3 => Some(Dtype::F8E4M3),
            safetensors::Dtype::F8_E5M2 => Some(Dtype::F8E5M2),
            _ => None,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::F8E4M3 => "f8_e4m3",
            Dtype::F8E5M2 => "f8_e5m2",
        })
    }
}

/// Converts `bytes` (of any alignment) to f32, exactly. `out` holds as many elements.
pub(crate) fn to_f32(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    let words = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    match dtype {
        Dtype::F32 => {
            for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        Dtype::Bf16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = f32::from_bits(u32::from(words(bytes)) << 16);
            }
        }
        Dtype::F16 => {
            // Through an aligned buffer, so that `half` converts with the CPU's own instructions.
            const BLOCK: usize = 1024;
            let mut halves = [f16::ZERO; BLOCK];
            for (values, bytes) in out.chunks_mut(BLOCK).zip(bytes.chunks(2 * BLOCK)) {
                let halves = &mut halves[..values.len()];
                for (half, bytes) in halves.iter_mut().zip(bytes.chunks_exact(2)) {
                    *half = f16::from_bits(words(bytes));
                }
                halves.convert_to_f32_slice(values);
            }
        }
        Dtype::F8E4M3 => widen(bytes, out, f32_of_e4m3),
        Dtype::F8E5M2 => widen(bytes, out, f32_of_e5m2),
    }
}

/// Converts bytes by a table.
fn widen(bytes: &[u8], out: &mut [f32], convert: impl Fn(u8) -> f32) {
    let table: [f32; 256] = std::array::from_fn(|code| convert(code as u8));
    for (value, &byte) in out.iter_mut().zip(bytes) {
        *value = table[usize::from(byte)];
    }
}

fn f32_of_e5m2(code: u8) -> f32 {
    f16::from_bits(u16::from(code) << 8).to_f32()
}

fn f32_of_e4m3(code: u8) -> f32 {
    let magnitude = code & 0x7f;
    let value = match magnitude {
        0x7f => f32::NAN,
        // In the place of an f16's exponent and mantissa it is one whose bias is greater by 8;
        // subnormal numbers as well.
        _ => f16::from_bits(u16::from(magnitude) << 7).to_f32() * 256.0,
    };
    if code == magnitude { value } else { -value }
}
