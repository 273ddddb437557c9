// A product of rows with a matrix: a conv as an implicit product (CONV), a 1x1 conv, the products of
// a Winograd conv, or one of attention's. Each invocation makes TM rows by TN fours of columns in
// registers, reading both sides where they lie: for adapters whose memory is a CPU's.
@include product_head.wgsl

@compute @workgroup_size(${WG})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * ${WG*TM}u + lane;
    let column = group.z % p.tiles * ${TN}u;
    let batch = group.z / p.tiles;
    let begin = p.left + batch * p.left_next;
@for i TM
    // A row beyond the last is computed as the last, and not written.
    let wanted${i} = first + ${i*WG}u < p.rows;
    let row${i} = min(first + ${i*WG}u, p.rows - 1u);
@if CONV
    let y${i} = row${i} / p.width * p.stride_y + p.offset_y;
    let x${i} = row${i} % p.width * p.stride_x + p.offset_x;
@end
@for j TN
    var sum${i}_${j} = vec4f(0.0);
@end
@end
    var r = p.right + batch * p.right_next + column;
@if CONV
    for (var tap = 0u; tap < p.taps; tap++) {
        let tap_y = tap / p.taps_x;
        let tap_x = tap - tap_y * p.taps_x;
@for i TM
        let from${i} =
            begin + ((y${i} + tap_y) / ${UP}u * p.left_row + (x${i} + tap_x) / ${UP}u) * p.channels;
@end
@else
    {
@for i TM
        let from${i} = begin + row${i} * p.left_row;
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
@include product_tail.wgsl
}
