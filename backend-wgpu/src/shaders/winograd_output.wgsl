// Winograd F(OUTPUTS x OUTPUTS, 3x3): products back to outputs, with bias and residual.
@include common.wgsl
@include winograd.wgsl

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
    let y = window / p.width * ${OUTPUTS}u;
    let x = window % p.width * ${OUTPUTS}u;
    let next = p.windows * p.quads;
@for j WINDOW
    let column${j} = outputs(array(
@for i WINDOW
        products[at + ${i*WINDOW+j}u * next],
@end
    ));
@end
@for i OUTPUTS
    let row${i} = outputs(array(
@for j WINDOW
        column${j}[${i}],
@end
    ));
@for j OUTPUTS
    if y + ${i}u < p.rows && x + ${j}u < p.out_width {
        let to = p.out + ((y + ${i}u) * p.out_width + x + ${j}u) * p.quads + quad;
        var value = row${i}[${j}];
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
