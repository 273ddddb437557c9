// The product of product.wgsl where the subgroups of an adapter all have LANES invocations, and memory
// is a CPU's: what a subgroup reads of the right side is the same for all its rows, so each
// invocation reads another four of it and tells it to the others.
@include product_head.wgsl

@compute @workgroup_size(${WG})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * ${WG*TM}u + index;
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
    // A read covers DEEP channels of ACROSS fours, one for each invocation.
    let channel = lane / ${ACROSS}u;
    let across = column + lane % ${ACROSS}u;
    var r = p.right + batch * p.right_next + across;
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
@for f READS
@if LAST
            let at${f} = min(c * 4u + ${f*DEEP}u + channel, p.last) * p.columns + p.right + across;
@else
            let at${f} = r + (${f*DEEP}u + channel) * p.columns;
@end
@for h WIDE
            let w${f}_${h} = vec4f(right[at${f} + ${h*LANES}u]);
@end
@end
@for i TM
            let a${i} = vec4f(left[from${i} + c]);
@end
@for h WIDE
@for l ACROSS
            {
@for f READS
@for d DEEP
                let b${f*DEEP+d} = subgroupBroadcast(w${f}_${h}, ${d*ACROSS+l}u);
@end
@end
@for i TM
@for k 4
                sum${i}_${h*LANES+l} = fma(vec4f(a${i}[${k}]), b${k}, sum${i}_${h*LANES+l});
@end
@end
            }
@end
@end
            r += 4u * p.columns;
        }
    }
@include product_tail.wgsl
}
