// The product of `product.wgsl` for GPUs: a workgroup of 16 x 16 invocations brings 16 TM rows and 16
// TN fours of columns into its memory, 16 channels at a time, and each invocation multiplies TM rows
// by TN fours out of it.
@include product_head.wgsl

// Channels of a step, rows and fours of columns of a tile.
const STEP = 16u;
const ROWS = ${16*TM}u;
const COLUMNS = ${16*TN}u;

// By channel: the rows; and by channel: the fours of columns.
var<workgroup> tile_left: array<f32, ${16*16*TM}>;
var<workgroup> tile_right: array<vec4f, ${16*16*TN}>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * ROWS;
    let tile = group.z % p.tiles * COLUMNS;
    let batch = group.z / p.tiles;
    let begin = p.left + batch * p.left_next;
    let across = lane % 16u;
    let down = lane / 16u;
@for i TM
@for j TN
    var sum${i}_${j} = vec4f(0.0);
@end
@end
    // What this invocation brings of the left side: four channels of row `bring` of the tile.
    let four = lane % 4u;
@for l LOADS
    let bring${l} = lane / 4u + ${l*64}u;
    let source${l} = min(first + bring${l}, p.rows - 1u);
@if CONV
    let y${l} = source${l} / p.width * p.stride_y + p.offset_y;
    let x${l} = source${l} % p.width * p.stride_x + p.offset_x;
@end
@end
    var r = p.right + batch * p.right_next;
@if CONV
    for (var tap = 0u; tap < p.taps; tap++) {
        let tap_y = tap / p.taps_x;
        let tap_x = tap - tap_y * p.taps_x;
@for l LOADS
        let from${l} =
            begin + ((y${l} + tap_y) / ${UP}u * p.left_row + (x${l} + tap_x) / ${UP}u) * p.channels;
@end
@else
    {
@for l LOADS
        let from${l} = begin + source${l} * p.left_row;
@end
@end
        for (var c = 0u; c < p.channels; c += STEP / 4u) {
            workgroupBarrier();
            // Channels beyond the last are zeros on the left, and the right is not read there.
@for l LOADS
            if bring${l} < ROWS {
                var a = vec4f(0.0);
                if c + four < p.channels {
                    a = vec4f(left[from${l} + c + four]);
                }
@for k 4
                tile_left[(four * 4u + ${k}u) * ROWS + bring${l}] = a[${k}];
@end
            }
@end
@for j TN
            {
                let channel = c * 4u + down;
                let wide = across + ${j*16}u;
                var b = vec4f(0.0);
@if LAST
                if channel <= p.last && tile + wide < p.columns {
@else
                if channel < p.channels * 4u && tile + wide < p.columns {
@end
                    b = vec4f(right[r + channel * p.columns + tile + wide]);
                }
                tile_right[down * COLUMNS + wide] = b;
            }
@end
            workgroupBarrier();
            for (var k = 0u; k < STEP; k++) {
@for i TM
                let a${i} = vec4f(tile_left[k * ROWS + down * ${TM}u + ${i}u]);
@end
@for j TN
                let b${j} = tile_right[k * COLUMNS + across * ${TN}u + ${j}u];
@for i TM
                sum${i}_${j} = fma(a${i}, b${j}, sum${i}_${j});
@end
@end
            }
        }
        r += 4u * p.channels * p.columns;
    }
    let column = tile + across * ${TN}u;
@for i TM
    let row${i} = first + down * ${TM}u + ${i}u;
    let wanted${i} = row${i} < p.rows;
@end
@include product_tail.wgsl
}
