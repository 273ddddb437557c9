// Ends an attention: weighted sums by the sum of their weights.
@include common.wgsl

struct Params {
    // Fours of channels in all and of a position.
    count: u32,
    quads: u32,
    // The first position's place in the state, the first fours to write and to read.
    first: u32,
    out: u32,
    input: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> sums: array<vec4f>;
@group(0) @binding(1) var<storage, read> state: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> out: array<E4>;

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    if at >= p.count {
        return;
    }
    out[p.out + at] = E4(sums[p.input + at] / state[p.first + at / p.quads].y);
}
