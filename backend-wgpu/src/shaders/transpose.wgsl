// Keys as the right side of a product: from a row for each key to a row for each channel.
@include common.wgsl

struct Params {
    // Keys, fours of them, fours of channels.
    keys: u32,
    key_quads: u32,
    quads: u32,
    // The first four to read.
    input: u32,
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
    if at >= p.key_quads * p.quads {
        return;
    }
    let quad = at % p.quads;
    let four = at / p.quads;
@for i 4
    var row${i} = E4();
    if four * 4u + ${i}u < p.keys {
        row${i} = input[p.input + (four * 4u + ${i}u) * p.quads + quad];
    }
@end
@for i 4
    out[(quad * 4u + ${i}u) * p.key_quads + four] = E4(row0[${i}], row1[${i}], row2[${i}], row3[${i}]);
@end
}
