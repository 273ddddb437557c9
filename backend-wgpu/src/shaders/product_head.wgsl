// What the product kernels share: their numbers and operands.
@include common.wgsl

struct Params {
    // Rows; fours of columns; fours of channels summed over, for each tap; taps; taps of a row.
    rows: u32,
    columns: u32,
    channels: u32,
    taps: u32,
    taps_x: u32,
    // The first four of the left side, and fours of a row of it (CONV: positions of a row of the
    // band).
    left: u32,
    left_row: u32,
    // The first four of the right side and of the result.
    right: u32,
    out: u32,
    // CONV: positions of a row of the result, strides, and where the first tap of the first output
    // lies in the band, upsampled.
    width: u32,
    stride_y: u32,
    stride_x: u32,
    offset_y: u32,
    offset_x: u32,
    // LAST: the last row of the right side. Further ones meet zeros on the left.
    last: u32,
    // Tiles of columns, and fours from one product of a batch to the next.
    tiles: u32,
    left_next: u32,
    right_next: u32,
    out_next: u32,
}

@if OUT_F32
alias O4 = vec4f;
@else
alias O4 = E4;
@end

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> left: array<E4>;
@group(0) @binding(1) var<storage, read> right: array<E4>;
@group(0) @binding(2) var<storage, read_write> out: array<O4>;
@if BIAS
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@end
@if DECAY
@group(0) @binding(3) var<storage, read> decay: array<f32>;
@end
