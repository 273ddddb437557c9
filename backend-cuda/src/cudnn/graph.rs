//! A spec as a graph of cuDNN's operations: a conv or a matrix product, and what is added to it.

use std::ffi::c_int;

use super::descriptor::{ConvolutionMode, DataType, Descriptor, Kind, PointwiseMode, attribute};
use super::library::Cudnn;
use super::spec::Spec;
use super::target::Target;
use crate::kernels::Element;
use crate::product::Right;

/// Numbers that tensors of a graph are known by.
pub(super) const LEFT: i64 = 1;
pub(super) const RIGHT: i64 = 2;
pub(super) const BIAS: i64 = 3;
pub(super) const RESIDUAL: i64 = 4;
pub(super) const DECAY: i64 = 5;
pub(super) const OUT: i64 = 6;
/// Sums that are in no memory have numbers from here on.
const SUMS: i64 = 10;

/// Pointers are multiples of this, as channels are multiples of eight.
const ALIGNMENT: i64 = 16;

const ADD: PointwiseMode = PointwiseMode(0);
const MULTIPLY: PointwiseMode = PointwiseMode(1);
const CROSS_CORRELATION: ConvolutionMode = ConvolutionMode(1);

/// A finalized graph, with the descriptors that it is made of.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) graph: Descriptor,
    #[expect(dead_code, reason = "kept as long as the graph is")]
    parts: Vec<Descriptor>,
}

struct Builder<'a> {
    cudnn: &'static Cudnn,
    spec: &'a Spec,
    parts: Vec<Descriptor>,
    /// Of the operations, among the parts.
    operations: Vec<usize>,
    sums: i64,
}

/// A tensor, as its place among the parts.
type Tensor = usize;

fn i64s<const N: usize>(values: [u32; N]) -> [i64; N] {
    values.map(i64::from)
}

impl Graph {
    /// # Errors
    /// What cuDNN says, for graphs that it does not take.
    pub(super) fn new(
        cudnn: &'static Cudnn,
        target: Target<'_>,
        spec: &Spec,
    ) -> Result<Self, String> {
        let mut builder =
            Builder { cudnn, spec, parts: Vec::new(), operations: Vec::new(), sums: SUMS };
        builder.build()?;
        let Builder { parts, operations, .. } = builder;
        let graph = Descriptor::new(cudnn, Kind::OperationGraph)?;
        let operations: Vec<&Descriptor> = operations.iter().map(|&at| &parts[at]).collect();
        graph.set_descriptors(attribute::OPERATIONGRAPH_OPS, &operations)?;
        target.set_handle(&graph, attribute::OPERATIONGRAPH_HANDLE)?;
        Ok(Self { graph: graph.finalize()?, parts })
    }
}

impl Builder<'_> {
    fn build(&mut self) -> Result<(), String> {
        let spec = self.spec;
        // What is added, in the order of our own kernel.
        let mut left = usize::from(spec.bias) + usize::from(spec.residual);
        let mut sums = match spec.is_matmul() {
            true => self.matmul(left == 0)?,
            false => self.conv(left == 0)?,
        };
        if spec.bias {
            let bias = self.per_column(BIAS)?;
            left -= 1;
            sums = self.pointwise(ADD, sums, bias, left == 0)?;
        }
        if spec.residual {
            let mut residual = self.result(RESIDUAL)?;
            if spec.decay {
                let decay = self.per_row(DECAY)?;
                residual = self.pointwise(MULTIPLY, residual, decay, false)?;
            }
            self.pointwise(ADD, sums, residual, true)?;
        }
        Ok(())
    }

    fn add(&mut self, part: Descriptor) -> Result<usize, String> {
        self.parts.push(part.finalize()?);
        Ok(self.parts.len() - 1)
    }

    /// Adds an operation, whose attributes are parts that were added before.
    fn operation(
        &mut self,
        operation: Descriptor,
        parts: [(c_int, usize); 4],
    ) -> Result<(), String> {
        for (name, part) in parts {
            operation.set_descriptor(name, &self.parts[part])?;
        }
        let operation = self.add(operation)?;
        self.operations.push(operation);
        Ok(())
    }

    fn stored(&self) -> DataType {
        match self.spec.element {
            Element::F32 => DataType::F32,
            Element::F16 => DataType::F16,
            Element::Bf16 => DataType::BF16,
        }
    }

    fn tensor(
        &mut self,
        number: i64,
        kind: DataType,
        extents: &[i64],
        strides: &[i64],
    ) -> Result<Tensor, String> {
        let tensor = Descriptor::new(self.cudnn, Kind::Tensor)?;
        tensor.set(attribute::TENSOR_UNIQUE_ID, &[number])?;
        tensor.set(attribute::TENSOR_DATA_TYPE, &[kind])?;
        tensor.set(attribute::TENSOR_DIMENSIONS, extents)?;
        tensor.set(attribute::TENSOR_STRIDES, strides)?;
        tensor.set(attribute::TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT])?;
        tensor.set(attribute::TENSOR_IS_VIRTUAL, &[number >= SUMS])?;
        self.add(tensor)
    }

    /// A tensor where the result lies.
    fn result(&mut self, number: i64) -> Result<Tensor, String> {
        let spec = self.spec;
        let kind = if spec.out_f32 { DataType::F32 } else { self.stored() };
        self.like_result(number, kind)
    }

    fn like_result(&mut self, number: i64, kind: DataType) -> Result<Tensor, String> {
        let Spec { samples, outputs: [rows, width], columns, .. } = *self.spec;
        let [samples, rows, width, columns] = i64s([samples, rows, width, columns]);
        if self.spec.is_matmul() {
            return self.tensor(number, kind, &[1, width, columns], &[width * columns, columns, 1]);
        }
        let [row, step] = i64s([self.spec.out_row, self.spec.out_step]).map(|at| at * columns);
        // That of one sample has no next one.
        let sample = match samples {
            1 => rows * row,
            _ => self.spec.out_sample as i64 * columns,
        };
        self.tensor(number, kind, &[samples, columns, rows, width], &[sample, 1, row, step])
    }

    /// What comes next: the result, or a sum in f32 that is in no memory.
    fn sum(&mut self, is_last: bool) -> Result<Tensor, String> {
        if is_last {
            return self.result(OUT);
        }
        self.sums += 1;
        self.like_result(self.sums, DataType::F32)
    }

    fn per_column(&mut self, number: i64) -> Result<Tensor, String> {
        let columns = i64::from(self.spec.columns);
        match self.spec.is_matmul() {
            true => self.tensor(number, DataType::F32, &[1, 1, columns], &[columns, columns, 1]),
            false => {
                let strides = [columns, 1, columns, columns];
                self.tensor(number, DataType::F32, &[1, columns, 1, 1], &strides)
            }
        }
    }

    fn per_row(&mut self, number: i64) -> Result<Tensor, String> {
        let rows = i64::from(self.spec.outputs[1]);
        self.tensor(number, DataType::F32, &[1, rows, 1], &[rows, 1, 1])
    }

    fn pointwise(
        &mut self,
        mode: PointwiseMode,
        one: Tensor,
        other: Tensor,
        is_last: bool,
    ) -> Result<Tensor, String> {
        let out = self.sum(is_last)?;
        let pointwise = Descriptor::new(self.cudnn, Kind::Pointwise)?;
        pointwise.set(attribute::POINTWISE_MODE, &[mode])?;
        pointwise.set(attribute::POINTWISE_MATH_PREC, &[DataType::F32])?;
        let pointwise = self.add(pointwise)?;
        let operation = Descriptor::new(self.cudnn, Kind::PointwiseOperation)?;
        let parts = [
            (attribute::POINTWISE_PW_DESCRIPTOR, pointwise),
            (attribute::POINTWISE_XDESC, one),
            (attribute::POINTWISE_BDESC, other),
            (attribute::POINTWISE_YDESC, out),
        ];
        self.operation(operation, parts)?;
        Ok(out)
    }

    fn conv(&mut self, is_last: bool) -> Result<Tensor, String> {
        let spec = self.spec;
        let [samples, channels, in_width] = i64s([spec.samples, spec.channels, spec.in_width]);
        let ([rows, width], [taps_y, taps_x]) = (i64s(spec.cells), i64s(spec.taps));
        let columns = i64::from(spec.columns);
        let row = in_width * channels;
        let sample = match samples {
            1 => rows * row,
            _ => spec.left_sample as i64,
        };
        let stored = self.stored();
        let left = self.tensor(
            LEFT,
            stored,
            &[samples, channels, rows, width],
            &[sample, 1, row, channels],
        )?;
        let right = self.tensor(
            RIGHT,
            stored,
            &[columns, channels, taps_y, taps_x],
            &[taps_y * taps_x * channels, 1, taps_x * channels, channels],
        )?;
        let out = self.sum(is_last)?;
        let conv = Descriptor::new(self.cudnn, Kind::Convolution)?;
        conv.set(attribute::CONVOLUTION_COMP_TYPE, &[DataType::F32])?;
        conv.set(attribute::CONVOLUTION_CONV_MODE, &[CROSS_CORRELATION])?;
        conv.set(attribute::CONVOLUTION_SPATIAL_DIMS, &[2i64])?;
        conv.set(attribute::CONVOLUTION_PRE_PADDINGS, &i64s(spec.before))?;
        conv.set(attribute::CONVOLUTION_POST_PADDINGS, &i64s(spec.behind))?;
        conv.set(attribute::CONVOLUTION_DILATIONS, &[1i64, 1])?;
        conv.set(attribute::CONVOLUTION_FILTER_STRIDES, &i64s(spec.stride))?;
        let conv = self.add(conv)?;
        let operation = Descriptor::new(self.cudnn, Kind::ConvolutionForward)?;
        operation.set(attribute::CONVOLUTION_FORWARD_ALPHA, &[1.0f32])?;
        operation.set(attribute::CONVOLUTION_FORWARD_BETA, &[0.0f32])?;
        let parts = [
            (attribute::CONVOLUTION_FORWARD_CONV_DESC, conv),
            (attribute::CONVOLUTION_FORWARD_X, left),
            (attribute::CONVOLUTION_FORWARD_W, right),
            (attribute::CONVOLUTION_FORWARD_Y, out),
        ];
        self.operation(operation, parts)?;
        Ok(out)
    }

    fn matmul(&mut self, is_last: bool) -> Result<Tensor, String> {
        let spec = self.spec;
        let [rows, inner, pitch, columns] =
            i64s([spec.outputs[1], spec.inner, spec.channels, spec.columns]);
        let strides = match spec.right {
            Right::ByColumn => [columns * pitch, 1, pitch],
            Right::Values => [inner * columns, columns, 1],
        };
        let stored = self.stored();
        let left = self.tensor(LEFT, stored, &[1, rows, inner], &[rows * pitch, pitch, 1])?;
        let right = self.tensor(RIGHT, stored, &[1, inner, columns], &strides)?;
        let out = self.sum(is_last)?;
        let matmul = Descriptor::new(self.cudnn, Kind::Matmul)?;
        matmul.set(attribute::MATMUL_COMP_TYPE, &[DataType::F32])?;
        let matmul = self.add(matmul)?;
        let operation = Descriptor::new(self.cudnn, Kind::MatmulOperation)?;
        let parts = [
            (attribute::MATMUL_ADESC, left),
            (attribute::MATMUL_BDESC, right),
            (attribute::MATMUL_CDESC, out),
            (attribute::MATMUL_DESC, matmul),
        ];
        self.operation(operation, parts)?;
        Ok(out)
    }
}
