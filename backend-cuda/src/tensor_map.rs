//! Tensors whose boxes Hopper's copy engine loads into the memory of a multiprocessor.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::{
    self, CUdeviceptr, CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill,
    CUtensorMapInterleave, CUtensorMapL2promotion, CUtensorMapSwizzle,
};

use crate::kernels::Element;
use crate::params::TensorMap;

/// One axis of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) extent: u64,
    /// What a box has of it; beyond the extent there are zeros.
    pub(crate) of_box: u32,
}

/// A dense tensor that begins at `address`, with the axis first whose elements lie next to each other. Boxes
/// lie in a multiprocessor's memory as `wgmma` reads them: rows of 128 bytes, swizzled.
///
/// # Errors
/// The driver says that there is no such tensor: rows or an address that are no multiples of 16 bytes.
pub(crate) fn tensor_map(
    element: Element,
    address: CUdeviceptr,
    axes: &[Axis],
) -> Result<TensorMap, DriverError> {
    let kind = match element {
        Element::F32 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        Element::F16 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        Element::Bf16 => CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
    };
    let extents: Vec<u64> = axes.iter().map(|axis| axis.extent).collect();
    let of_box: Vec<u32> = axes.iter().map(|axis| axis.of_box).collect();
    // From one to the next, of all axes but the first.
    let mut strides = Vec::new();
    let mut bytes = element.bytes();
    for extent in &extents[..axes.len() - 1] {
        bytes *= extent;
        strides.push(bytes);
    }
    let steps = vec![1; axes.len()];
    let mut map = CUtensorMap { opaque: [0; 16] };
    // SAFETY: all lists have as many elements as there are axes, strides one fewer; nothing of the tensor
    // is read.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map,
            kind,
            axes.len() as u32,
            address as *mut _,
            extents.as_ptr(),
            strides.as_ptr(),
            of_box.as_ptr(),
            steps.as_ptr(),
            CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()?;
    Ok(TensorMap(map.opaque))
}
