// Repeats rows and columns.
@include common.wgsl

struct Params {
    // Rows to write, positions of a row, fours of channels of a position.
    rows: u32,
    width: u32,
    quads: u32,
    factor: u32,
    // The first row's place in the sample and in its buffer.
    row: u32,
    out_row: u32,
    // What to add to a source row's place in the sample for that in its buffer.
    in_shift: i32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> input: array<E4>;
@group(0) @binding(1) var<storage, read_write> out: array<E4>;

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    if at >= p.rows * p.width * p.quads {
        return;
    }
    let quad = at % p.quads;
    let x = at / p.quads % p.width;
    let y = at / p.quads / p.width;
    let in_row = u32(i32((p.row + y) / p.factor) + p.in_shift);
    let in_width = p.width / p.factor;
    out[p.out_row * p.width * p.quads + at] =
        input[(in_row * in_width + x / p.factor) * p.quads + quad];
}
