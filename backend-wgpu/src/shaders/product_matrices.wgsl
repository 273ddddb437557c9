// The product of product_shared.wgsl on the matrix units of a GPU, f16 with sums in f32: four subgroups
// of 32 bring 64 rows and 64 columns into their workgroup's memory, 32 channels at a time, and each
// multiplies a quarter of the tile as 2 x 2 matrices of 16 x 16.
@include product_head.wgsl

// Channels of a step; rows and columns of a tile.
const STEP = 32u;
const SIDE = 64u;

// By row: the channels; by channel: the columns; a matrix of sums for each subgroup.
var<workgroup> tile_left: array<f16, 2048>;
var<workgroup> tile_right: array<f16, 2048>;
var<workgroup> tile_out: array<f32, 1024>;

@compute @workgroup_size(${WG})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * SIDE;
    let tile = group.z % p.tiles * ${SIDE_FOURS}u;
    let batch = group.z / p.tiles;
    let begin = p.left + batch * p.left_next;
    // The quarter of this subgroup.
    let down = subgroup / 2u * 32u;
    let across = subgroup % 2u * 32u;
@for i 2
@for j 2
    var sums${i}_${j} = coop_mat16x16<f32, C>();
@end
@end
    // What this invocation brings of the left side: four channels of row `bring` of the tile.
    let four = index % 8u;
@for l 4
    let bring${l} = index / 8u + ${l*16}u;
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
@for l 4
        let from${l} =
            begin + ((y${l} + tap_y) / ${UP}u * p.left_row + (x${l} + tap_x) / ${UP}u) * p.channels;
@end
@else
    {
@for l 4
        let from${l} = begin + source${l} * p.left_row;
@end
@end
        for (var c = 0u; c < p.channels; c += STEP / 4u) {
            workgroupBarrier();
            // Channels beyond the last are zeros on the left, and the right is not read there.
@for l 4
            {
                var a = E4(0.0);
                if c + four < p.channels {
                    a = left[from${l} + c + four];
                }
@for k 4
                tile_left[bring${l} * STEP + four * 4u + ${k}u] = a[${k}];
@end
            }
@end
@for l 4
            {
                let deep = index / 16u + ${l*8}u;
                let channel = c * 4u + deep;
                let wide = index % 16u;
                var b = E4(0.0);
@if LAST
                if channel <= p.last && tile + wide < p.columns {
@else
                if channel < p.channels * 4u && tile + wide < p.columns {
@end
                    b = right[r + channel * p.columns + tile + wide];
                }
@for k 4
                tile_right[deep * SIDE + wide * 4u + ${k}u] = b[${k}];
@end
            }
@end
            workgroupBarrier();
@for k 2
            {
@for i 2
                let a${i} = coopLoadT<coop_mat16x16<f16, A>>(
                    &tile_left[(down + ${i*16}u) * STEP + ${k*16}u], STEP);
@end
@for j 2
                let b${j} = coopLoadT<coop_mat16x16<f16, B>>(
                    &tile_right[${k*16}u * SIDE + across + ${j*16}u], SIDE);
@for i 2
                sums${i}_${j} = coopMultiplyAdd(a${i}, b${j}, sums${i}_${j});
@end
@end
            }
@end
        }
        r += 4u * p.channels * p.columns;
    }
    // Each invocation writes two fours of a row of each matrix.
    let own = subgroup * 256u;
@for u 2
@for v 2
    workgroupBarrier();
    coopStoreT(sums${u}_${v}, &tile_out[own], 16u);
    workgroupBarrier();
    {
        let row0 = first + down + ${u*16}u + lane / 2u;
        let wanted0 = row0 < p.rows;
        let column = tile + (across + ${v*16}u) / 4u + lane % 2u * 2u;
@for j 2
        let at${j} = own + lane / 2u * 16u + lane % 2u * 8u + ${j*4}u;
        let sum0_${j} = vec4f(
            tile_out[at${j}], tile_out[at${j} + 1u], tile_out[at${j} + 2u], tile_out[at${j} + 3u]);
@end
@include product_tail.wgsl
    }
@end
@end
}
