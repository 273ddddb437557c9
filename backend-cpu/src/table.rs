//! The kernels of each level as function pointers.

use crate::conv::gemm::{self, Gemm};
use crate::conv::tiles::{self, TileIn, TileOut};
use crate::prologue::{self, Activate};
use crate::simd::positions::{self, Positions};
use crate::simd::softmax::{self, Rescale, Softmax};
use crate::simd::sums::{self, Chunk};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Level, Portable, Simd, pointwise};

macro_rules! kernels {
    ($($(#[$doc:meta])* $name:ident: $module:ident :: $function:ident, ($($arg:ident: $ty:ty),*);)*) => {
        /// The kernels of one level. Each function has the safety contract of the generic function
        /// that it instantiates; that the level is available is proven by having the table.
        pub(crate) struct Table {
            /// Floats in a vector.
            pub lanes: usize,
            /// Columns of a packed panel.
            pub panel: usize,
            $($(#[$doc])* pub $name: unsafe fn($($ty),*),)*
        }

        static PORTABLE: Table = Table {
            lanes: Portable::LANES,
            panel: Portable::LANES * Portable::NV,
            $($name: {
                unsafe fn $name($($arg: $ty),*) {
                    // SAFETY: the caller's contract is passed on.
                    unsafe { $module::$function::<Portable>($($arg),*) }
                }
                $name
            },)*
        };

        #[cfg(target_arch = "x86_64")]
        static AVX2: Table = Table {
            lanes: Avx2::LANES,
            panel: Avx2::LANES * Avx2::NV,
            $($name: {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn $name($($arg: $ty),*) {
                    // SAFETY: the caller's contract is passed on.
                    unsafe { $module::$function::<Avx2>($($arg),*) }
                }
                $name
            },)*
        };

        #[cfg(target_arch = "x86_64")]
        static AVX512: Table = Table {
            lanes: Avx512::LANES,
            panel: Avx512::LANES * Avx512::NV,
            $($name: {
                #[target_feature(enable = "avx512f,avx2,fma")]
                unsafe fn $name($($arg: $ty),*) {
                    // SAFETY: the caller's contract is passed on.
                    unsafe { $module::$function::<Avx512>($($arg),*) }
                }
                $name
            },)*
        };
    };
}

kernels! {
    /// A panel of a matrix product.
    gemm: gemm::gemm, (g: &Gemm<'_>);
    /// Affine map and SiLU of a row of pixels.
    activate: prologue::activate, (a: &Activate);
    /// Sum of two stretches.
    add: pointwise::add, (a: *const f32, b: *const f32, out: *mut f32, len: usize);
    /// Brings a stretch within bounds.
    clamp: pointwise::clamp_all, (values: *mut f32, len: usize, bounds: [f32; 2]);
    /// F(4x4, 3x3) input transform.
    f43_input: tiles::f43_input, (t: &TileIn);
    /// F(4x4, 3x3) output transform.
    f43_output: tiles::f43_output, (t: &TileOut);
    /// F(4x4, 3x3) weight transform.
    f43_weights: tiles::f43_weights, (src: *const f32, dst: *mut f32, strides: [usize; 2], vectors: usize);
    /// Input transform of the convolution after a doubling.
    doubled_input: tiles::doubled_input, (t: &TileIn);
    /// Output transform of the convolution after a doubling.
    doubled_output: tiles::doubled_output, (t: &TileOut);
    /// Sums of a chunk of pixels by channel.
    chunk_sums: sums::chunk_sums, (c: &Chunk);
    /// Sums of squared deviations of a chunk of pixels by channel.
    chunk_squares: sums::chunk_squares, (c: &Chunk);
    /// Factors of the positions of a channel norm.
    positions: positions::positions, (p: &Positions);
    /// One row's step of the online softmax.
    softmax: softmax::softmax, (s: &mut Softmax);
    /// Scales a row.
    rescale: softmax::rescale, (r: &Rescale);
}

impl Level {
    /// The level's kernels, or `None` where the machine lacks the instructions.
    pub(crate) fn table(self) -> Option<&'static Table> {
        if !Self::available().contains(&self) {
            return None;
        }
        Some(match self {
            Level::Portable => &PORTABLE,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &AVX2,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &AVX512,
            #[cfg(not(target_arch = "x86_64"))]
            _ => return None,
        })
    }
}
