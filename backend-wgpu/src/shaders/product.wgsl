// A product of rows with a matrix: a conv as an implicit product (CONV), a 1x1 conv, or one of
// attention's. Each invocation makes TM rows by TN fours of columns in registers.
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

@compute @workgroup_size(${WG})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * ${WG*TM}u + lane;
    let column = group.z * ${TN}u;
@for i TM
    // A row beyond the last is computed as the last, and not written.
    let row${i} = min(first + ${i*WG}u, p.rows - 1u);
@if CONV
    let y${i} = row${i} / p.width * p.stride_y + p.offset_y;
    let x${i} = row${i} % p.width * p.stride_x + p.offset_x;
@end
@for j TN
    var sum${i}_${j} = vec4f(0.0);
@end
@end
    var r = p.right + column;
@if CONV
    for (var tap = 0u; tap < p.taps; tap++) {
        let tap_y = tap / p.taps_x;
        let tap_x = tap - tap_y * p.taps_x;
@for i TM
        let from${i} =
            p.left + ((y${i} + tap_y) / ${UP}u * p.left_row + (x${i} + tap_x) / ${UP}u) * p.channels;
@end
@else
    {
@for i TM
        let from${i} = p.left + row${i} * p.left_row;
@end
@end
        for (var c = 0u; c < p.channels; c++) {
@for i TM
            let a${i} = vec4f(left[from${i} + c]);
@end
@for k 4
            {
@if LAST
                let rk = p.right + column + min(c * 4u + ${k}u, p.last) * p.columns;
@else
                let rk = r + ${k}u * p.columns;
@end
@for j TN
                let b${j} = vec4f(right[rk + ${j}u]);
@end
@for i TM
@for j TN
                sum${i}_${j} = fma(vec4f(a${i}[${k}]), b${j}, sum${i}_${j});
@end
@end
            }
@end
            r += 4u * p.columns;
        }
    }
@for i TM
    if first + ${i*WG}u < p.rows {
        let to = p.out + row${i} * p.columns + column;
@for j TN
        {
            var value = sum${i}_${j};
@if BIAS
            value += bias[column + ${j}u];
@end
@if DECAY
            value = fma(vec4f(out[to + ${j}u]), vec4f(decay[row${i}]), value);
@end
@if RESIDUAL
            value += vec4f(out[to + ${j}u]);
@end
            out[to + ${j}u] = O4(value);
        }
@end
    }
@end
}
