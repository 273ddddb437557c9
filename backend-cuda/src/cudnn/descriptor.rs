//! Descriptors: what cuDNN is told things with. Each has attributes, which are arrays of one type, and is
//! finalized before it is used by another.

use std::ffi::{c_int, c_void};

use super::library::{Cudnn, Raw};

/// Kinds of descriptors, `cudnnBackendDescriptorType_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pointwise = 0,
    Convolution = 1,
    Engine = 2,
    EngineConfig = 3,
    Heuristics = 4,
    Plan = 5,
    KnobChoice = 7,
    ConvolutionForward = 10,
    PointwiseOperation = 13,
    OperationGraph = 15,
    VariantPack = 16,
    Tensor = 17,
    Matmul = 18,
    MatmulOperation = 19,
    DeviceProperties = 38,
}

/// Attributes, `cudnnBackendAttributeName_t` without its first word.
pub(super) mod attribute {
    use std::ffi::c_int;

    pub(crate) const POINTWISE_MODE: c_int = 0;
    pub(crate) const POINTWISE_MATH_PREC: c_int = 1;
    pub(crate) const CONVOLUTION_COMP_TYPE: c_int = 100;
    pub(crate) const CONVOLUTION_CONV_MODE: c_int = 101;
    pub(crate) const CONVOLUTION_DILATIONS: c_int = 102;
    pub(crate) const CONVOLUTION_FILTER_STRIDES: c_int = 103;
    pub(crate) const CONVOLUTION_POST_PADDINGS: c_int = 104;
    pub(crate) const CONVOLUTION_PRE_PADDINGS: c_int = 105;
    pub(crate) const CONVOLUTION_SPATIAL_DIMS: c_int = 106;
    pub(crate) const ENGINEHEUR_MODE: c_int = 200;
    pub(crate) const ENGINEHEUR_OPERATION_GRAPH: c_int = 201;
    pub(crate) const ENGINEHEUR_RESULTS: c_int = 202;
    #[cfg(test)]
    pub(crate) const ENGINEHEUR_DEVICEPROP: c_int = 204;
    pub(crate) const ENGINECFG_ENGINE: c_int = 300;
    pub(crate) const ENGINECFG_KNOB_CHOICES: c_int = 302;
    pub(crate) const PLAN_HANDLE: c_int = 400;
    pub(crate) const PLAN_ENGINE_CONFIG: c_int = 401;
    pub(crate) const PLAN_WORKSPACE_SIZE: c_int = 402;
    pub(crate) const PLAN_JSON_REPRESENTATION: c_int = 405;
    #[cfg(test)]
    pub(crate) const PLAN_DEVICEPROP: c_int = 407;
    pub(crate) const KNOB_CHOICE_KNOB_TYPE: c_int = 600;
    pub(crate) const KNOB_CHOICE_KNOB_VALUE: c_int = 601;
    pub(crate) const CONVOLUTION_FORWARD_ALPHA: c_int = 700;
    pub(crate) const CONVOLUTION_FORWARD_BETA: c_int = 701;
    pub(crate) const CONVOLUTION_FORWARD_CONV_DESC: c_int = 702;
    pub(crate) const CONVOLUTION_FORWARD_W: c_int = 703;
    pub(crate) const CONVOLUTION_FORWARD_X: c_int = 704;
    pub(crate) const CONVOLUTION_FORWARD_Y: c_int = 705;
    pub(crate) const POINTWISE_PW_DESCRIPTOR: c_int = 750;
    pub(crate) const POINTWISE_XDESC: c_int = 751;
    pub(crate) const POINTWISE_BDESC: c_int = 752;
    pub(crate) const POINTWISE_YDESC: c_int = 753;
    pub(crate) const OPERATIONGRAPH_HANDLE: c_int = 800;
    pub(crate) const OPERATIONGRAPH_OPS: c_int = 801;
    pub(crate) const TENSOR_BYTE_ALIGNMENT: c_int = 900;
    pub(crate) const TENSOR_DATA_TYPE: c_int = 901;
    pub(crate) const TENSOR_DIMENSIONS: c_int = 902;
    pub(crate) const TENSOR_STRIDES: c_int = 903;
    pub(crate) const TENSOR_UNIQUE_ID: c_int = 906;
    pub(crate) const TENSOR_IS_VIRTUAL: c_int = 907;
    pub(crate) const VARIANT_PACK_UNIQUE_IDS: c_int = 1000;
    pub(crate) const VARIANT_PACK_DATA_POINTERS: c_int = 1001;
    pub(crate) const VARIANT_PACK_WORKSPACE: c_int = 1003;
    pub(crate) const ENGINE_OPERATION_GRAPH: c_int = 1300;
    pub(crate) const ENGINE_GLOBAL_INDEX: c_int = 1301;
    pub(crate) const ENGINE_NUMERICAL_NOTE: c_int = 1303;
    #[cfg(test)]
    pub(crate) const ENGINE_DEVICEPROP: c_int = 1307;
    pub(crate) const MATMUL_COMP_TYPE: c_int = 1500;
    pub(crate) const MATMUL_ADESC: c_int = 1520;
    pub(crate) const MATMUL_BDESC: c_int = 1521;
    pub(crate) const MATMUL_CDESC: c_int = 1522;
    pub(crate) const MATMUL_DESC: c_int = 1523;
    pub(crate) const DEVICEPROP_DEVICE_ID: c_int = 2700;
    pub(crate) const DEVICEPROP_JSON_REPRESENTATION: c_int = 2702;
}

/// What an attribute is an array of, `cudnnBackendAttributeType_t`.
///
/// # Safety
/// `TYPE` must be that of the type's bits.
pub(super) unsafe trait Element: Copy + Default {
    const TYPE: c_int;
}

macro_rules! elements {
    ($($name:ident($bits:ty) = $type:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            #[repr(transparent)]
            pub(super) struct $name(pub(super) $bits);

            // SAFETY: as `cudnn_graph.h` has it.
            unsafe impl Element for $name {
                const TYPE: c_int = $type;
            }
        )*
    };
}

elements! {
    DataType(c_int) = 1, "`cudnnDataType_t`";
    ConvolutionMode(c_int) = 7, "`cudnnConvolutionMode_t`";
    HeuristicsMode(c_int) = 8, "`cudnnBackendHeurMode_t`";
    KnobType(c_int) = 9, "`cudnnBackendKnobType_t`";
    NumericalNote(c_int) = 11, "`cudnnBackendNumericalNote_t`";
    PointwiseMode(c_int) = 14, "`cudnnPointwiseMode_t`";
}

impl DataType {
    pub(super) const F32: Self = Self(0);
    pub(super) const F16: Self = Self(2);
    pub(super) const BF16: Self = Self(9);
}

// SAFETY: `CUDNN_TYPE_BOOLEAN` is a `bool`.
unsafe impl Element for bool {
    const TYPE: c_int = 2;
}

// SAFETY: `CUDNN_TYPE_INT64` is an `int64_t`.
unsafe impl Element for i64 {
    const TYPE: c_int = 3;
}

// SAFETY: `CUDNN_TYPE_FLOAT` is a `float`.
unsafe impl Element for f32 {
    const TYPE: c_int = 4;
}

// SAFETY: `CUDNN_TYPE_INT32` is an `int32_t`.
unsafe impl Element for i32 {
    const TYPE: c_int = 23;
}

// SAFETY: `CUDNN_TYPE_CHAR` is a `char`.
unsafe impl Element for u8 {
    const TYPE: c_int = 24;
}

const HANDLE: c_int = 0;
const VOID_PTR: c_int = 6;
const DESCRIPTOR: c_int = 15;

/// A descriptor, destroyed in the end.
#[derive(Debug)]
pub(super) struct Descriptor {
    cudnn: &'static Cudnn,
    raw: Raw,
}

// SAFETY: cuDNN's descriptors may be used by any thread, one at a time.
unsafe impl Send for Descriptor {}

impl Descriptor {
    pub(super) fn new(cudnn: &'static Cudnn, kind: Kind) -> Result<Self, String> {
        Ok(Self { cudnn, raw: cudnn.create_descriptor(kind as c_int)? })
    }

    #[cfg(test)]
    pub(super) fn cudnn(&self) -> &'static Cudnn {
        self.cudnn
    }

    pub(super) fn raw(&self) -> Raw {
        self.raw
    }

    pub(super) fn set<E: Element>(&self, name: c_int, values: &[E]) -> Result<(), String> {
        // SAFETY: it lives; the type is that of the elements.
        unsafe { self.cudnn.set(self.raw, name, E::TYPE, values.len(), values.as_ptr().cast()) }
    }

    pub(super) fn set_descriptors(&self, name: c_int, values: &[&Self]) -> Result<(), String> {
        let raw: Vec<Raw> = values.iter().map(|value| value.raw).collect();
        // SAFETY: it lives, as do those that are set.
        unsafe { self.cudnn.set(self.raw, name, DESCRIPTOR, raw.len(), raw.as_ptr().cast()) }
    }

    pub(super) fn set_descriptor(&self, name: c_int, value: &Self) -> Result<(), String> {
        self.set_descriptors(name, &[value])
    }

    /// # Safety
    /// The handle must live as long as this is used.
    pub(super) unsafe fn set_handle(&self, name: c_int, handle: Raw) -> Result<(), String> {
        // SAFETY: the caller's promise.
        unsafe { self.cudnn.set(self.raw, name, HANDLE, 1, (&raw const handle).cast()) }
    }

    pub(super) fn set_pointers(&self, name: c_int, values: &[*mut c_void]) -> Result<(), String> {
        // SAFETY: it lives; the pointers themselves are copied.
        unsafe { self.cudnn.set(self.raw, name, VOID_PTR, values.len(), values.as_ptr().cast()) }
    }

    pub(super) fn finalize(self) -> Result<Self, String> {
        // SAFETY: it lives.
        unsafe { self.cudnn.finalize(self.raw) }.map(|()| self)
    }

    /// A text, which cuDNN ends with a NUL.
    pub(super) fn get_text(&self, name: c_int) -> Result<String, String> {
        // SAFETY: it lives; nothing is written where there is room for nothing.
        let len = unsafe { self.cudnn.get(self.raw, name, u8::TYPE, 0, std::ptr::null_mut()) }?;
        let text = String::from_utf8(self.get_up_to(name, len)?);
        let text = text.map_err(|_| "what should be a text is none".to_owned())?;
        Ok(text.trim_end_matches('\0').to_owned())
    }

    /// The elements of an attribute that has no more than so many.
    pub(super) fn get_up_to<E: Element>(&self, name: c_int, most: usize) -> Result<Vec<E>, String> {
        let mut values = vec![E::default(); most];
        let place = values.as_mut_ptr().cast();
        // SAFETY: it lives; there is room for as many.
        let count = unsafe { self.cudnn.get(self.raw, name, E::TYPE, most, place) }?;
        values.truncate(count);
        Ok(values)
    }

    pub(super) fn get<E: Element>(&self, name: c_int) -> Result<E, String> {
        let mut value = E::default();
        // SAFETY: it lives; there is room for one.
        unsafe { self.cudnn.get(self.raw, name, E::TYPE, 1, (&raw mut value).cast()) }?;
        Ok(value)
    }

    /// The descriptors of an attribute that has no more than so many; cuDNN fills in those that it is
    /// given.
    pub(super) fn get_descriptors(
        &self,
        name: c_int,
        kind: Kind,
        most: usize,
    ) -> Result<Vec<Self>, String> {
        let made = (0..most).map(|_| Self::new(self.cudnn, kind));
        let mut made = made.collect::<Result<Vec<Self>, String>>()?;
        let mut raw: Vec<Raw> = made.iter().map(|descriptor| descriptor.raw).collect();
        let place = raw.as_mut_ptr().cast();
        // SAFETY: it lives, as do those that are given.
        let count = unsafe { self.cudnn.get(self.raw, name, DESCRIPTOR, most, place) }?;
        made.truncate(count);
        Ok(made)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        unsafe { self.cudnn.destroy_descriptor(self.raw) };
    }
}
