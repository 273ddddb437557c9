// Winograd F(2x2, 3x3): 16 products back to 2x2 outputs, with bias and residual.
@include common.wgsl

struct Params {
    // Windows, windows of a row, fours of channels.
    windows: u32,
    width: u32,
    quads: u32,
    // The first four to write, rows and positions of a row that are wanted.
    out: u32,
    rows: u32,
    out_width: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> products: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<E4>;
@if BIAS
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@end

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    if at >= p.windows * p.quads {
        return;
    }
    let quad = at % p.quads;
    let window = at / p.quads;
    let y = window / p.width * 2u;
    let x = window % p.width * 2u;
    let next = p.windows * p.quads;
@for j 4
    let m0${j} = products[at + ${j}u * next];
    let m1${j} = products[at + ${j+4}u * next];
    let m2${j} = products[at + ${j+8}u * next];
    let m3${j} = products[at + ${j+12}u * next];
    let t0${j} = m0${j} + m1${j} + m2${j};
    let t1${j} = m1${j} - m2${j} - m3${j};
@end
@for i 2
@for j 2
    if y + ${i}u < p.rows && x + ${j}u < p.out_width {
        let to = p.out + ((y + ${i}u) * p.out_width + x + ${j}u) * p.quads + quad;
@if ${j}
        var value = t${i}1 - t${i}2 - t${i}3;
@else
        var value = t${i}0 + t${i}1 + t${i}2;
@end
@if BIAS
        value += bias[quad];
@end
@if RESIDUAL
        value += vec4f(out[to]);
@end
        out[to] = E4(value);
    }
@end
@end
}
