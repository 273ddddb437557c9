// Copies a rectangle into the band that a conv reads, zeros where the source ends, each row and column
// UP times. A norm (NORM) and SiLU (SILU) are applied on the way: once per element, and the zeros
// around stay zeros. An invocation does EACH positions of a row: divisions cost more than copies.
@include common.wgsl

struct Params {
    // Rows, positions of a row and fours of channels to write.
    rows: u32,
    width: u32,
    quads: u32,
    // The first four to write, positions of a row of the band.
    out: u32,
    out_width: u32,
    // The source: its first four, the row and column that go to the first ones written, which may
    // lie outside, and its rows, all as often as they are repeated; positions of a row.
    input: u32,
    row: i32,
    column: i32,
    in_rows: u32,
    in_width: u32,
    // The sample's factors.
    affine: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> input: array<E4>;
@group(0) @binding(1) var<storage, read_write> band: array<E4>;
@if NORM
@group(0) @binding(2) var<storage, read> affine: array<vec4f>;
@end
@include staged.wgsl

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    let wide = (p.width + ${EACH-1}u) / ${EACH}u;
    if at >= p.rows * wide * p.quads {
        return;
    }
    let position = at / p.quads;
    let quad = at - position * p.quads;
    let y = position / wide;
    let first = (position - y * wide) * ${EACH}u;
    let norm = norm_of(quad);
    let row = u32(i32(y) + p.row);
@for i EACH
    if first + ${i}u < p.width {
        let x = first + ${i}u;
        let to = p.out + (y * p.out_width + x) * p.quads + quad;
        band[to] = staged(row, u32(i32(x) + p.column), quad, norm);
    }
@end
}
