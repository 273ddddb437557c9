// Element by element: a norm whose factors are known (NORM), SiLU (SILU), a sum (ADD); in the memory
// of the operand (INPLACE) or of another value.
@include common.wgsl

struct Params {
    // Fours of channels in all, in a row of positions, in a position.
    count: u32,
    row: u32,
    quads: u32,
    // The first row's place among all, rows of a sample.
    first: u32,
    height: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> out: array<E4>;
@if !INPLACE
@group(0) @binding(1) var<storage, read> a: array<E4>;
@end
@if ADD
@group(0) @binding(${2-INPLACE}) var<storage, read> b: array<E4>;
@end
@if NORM
@group(0) @binding(${2-INPLACE}) var<storage, read> affine: array<vec4f>;
@end

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
@if INPLACE
    var x = vec4f(out[at]);
@else
    var x = vec4f(a[at]);
@end
@if NORM
    let factor = (p.first + at / p.row) / p.height * 2u * p.quads + at % p.quads;
    x = fma(x, affine[factor], affine[factor + p.quads]);
@end
@if SILU
    x = silu(x);
@end
@if ADD
    x += vec4f(b[at]);
@end
    out[at] = E4(x);
}
