//! The structs that kernels take: the same fields in the same order as in `kernels/`, which says what
//! each of them is. Pointers are those of the device.

use cudarc::driver::sys::CUdeviceptr;

/// The struct that a kernel takes, as `kernels/` declares it.
///
/// # Safety
/// `#[repr(C)]`, with the fields of the kernel's own struct in their order.
pub(crate) unsafe trait Params: Copy {}

/// How a tensor lies in memory, and what a box of it is, as the driver wrote it down.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct TensorMap(pub(crate) [u64; 16]);

macro_rules! params {
    ($($name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            #[derive(Clone, Copy, Debug, Default)]
            #[repr(C)]
            pub(crate) struct $name {
                $(pub(crate) $field: $type,)*
            }

            // SAFETY: in the order of the kernel's struct; the conformance suite runs all of them.
            unsafe impl Params for $name {}
        )*

        /// Bytes of each struct, which the kernels compare when they are compiled.
        pub(crate) const SIZES: &[(&str, usize)] = &[$((stringify!($name), size_of::<$name>())),*];
    };
}

params! {
    Product {
        left: CUdeviceptr,
        right: CUdeviceptr,
        out: CUdeviceptr,
        bias: CUdeviceptr,
        residual: CUdeviceptr,
        decay: CUdeviceptr,
        left_sample: u64,
        out_sample: u64,
        rows: u32,
        sample_rows: u32,
        width: u32,
        out_row: u32,
        out_step: u32,
        columns: u32,
        channels: u32,
        right_valid: u32,
        taps: u32,
        taps_x: u32,
        in_rows: u32,
        in_width: u32,
        stride_y: u32,
        stride_x: u32,
        offset_y: i32,
        offset_x: i32,
        out_f32: u32,
        column_tiles: u32,
        tiles: u32,
    }

    HopperProduct {
        left: TensorMap,
        right: TensorMap,
        product: Product,
        largest: CUdeviceptr,
    }

    Stage {
        part: CUdeviceptr,
        strip_top: CUdeviceptr,
        strip_bottom: CUdeviceptr,
        strip_left: CUdeviceptr,
        strip_right: CUdeviceptr,
        band: CUdeviceptr,
        affine: CUdeviceptr,
        silu: u32,
        eights: u32,
        height: u32,
        width: u32,
        margin_top: u32,
        margin_left: u32,
        margin_right: u32,
        margin_bottom: u32,
        top: i32,
        left: i32,
        rows: u32,
        columns: u32,
    }

    Elementwise {
        input: CUdeviceptr,
        out: CUdeviceptr,
        other: CUdeviceptr,
        affine: CUdeviceptr,
        count: u32,
        sample: u32,
        eights: u32,
        silu: u32,
    }

    Upsample {
        input: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        width: u32,
        eights: u32,
        factor: u32,
    }

    StatsPart {
        input: CUdeviceptr,
        parts: CUdeviceptr,
        positions: u32,
        block: u32,
        blocks: u32,
        eights: u32,
        across: u32,
    }

    StatsMerge {
        parts: CUdeviceptr,
        stats: CUdeviceptr,
        positions: u32,
        block: u32,
        blocks: u32,
        eights: u32,
        groups: u32,
        per_group: u32,
    }

    StatsJoin {
        parts: CUdeviceptr,
        stats: CUdeviceptr,
        count: u32,
        groups: u32,
    }

    Affine {
        stats: CUdeviceptr,
        gamma: CUdeviceptr,
        beta: CUdeviceptr,
        affine: CUdeviceptr,
        samples: u32,
        channels: u32,
        eights: u32,
        groups: u32,
        eps: f32,
    }

    Softmax {
        scores: CUdeviceptr,
        weights: CUdeviceptr,
        state: CUdeviceptr,
        decay: CUdeviceptr,
        queries: u32,
        keys: u32,
        columns: u32,
        scale: f32,
        fresh: u32,
    }

    SoftmaxHopper {
        scores: CUdeviceptr,
        largest: CUdeviceptr,
        state: CUdeviceptr,
        decay: CUdeviceptr,
        queries: u32,
        keys: u32,
        columns: u32,
        tiles: u32,
        scale: f32,
        fresh: u32,
    }

    Transpose {
        input: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        rows: u32,
        columns: u32,
    }

    Attended {
        sums: CUdeviceptr,
        state: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        eights: u32,
    }

    Pack {
        input: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        channels: u32,
        eights: u32,
        out_f32: u32,
    }

    Unpack {
        input: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        width: u32,
        in_width: u32,
        channels: u32,
        padded: u32,
        in_f32: u32,
    }

    CopyRows {
        input: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        units: u32,
        width: u32,
        in_width: u32,
        out_width: u32,
    }

    Noise {
        out: CUdeviceptr,
        count: u32,
        seed: u32,
        scale: f32,
        out_f32: u32,
    }

    Deviation {
        one: CUdeviceptr,
        other: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        blocks: u32,
        of_f32: u32,
    }

    Reorder {
        input: CUdeviceptr,
        out: CUdeviceptr,
        count: u32,
        in_channels: u32,
        in_padded: u32,
        out_channels: u32,
        out_padded: u32,
        kernel_y: u32,
        kernel_x: u32,
        taps_y: u32,
        taps_x: u32,
        up: u32,
    }
}
