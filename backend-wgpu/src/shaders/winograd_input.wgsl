// Winograd F(2x2, 3x3): 4x4 windows of a staged band, two apart, as 16 matrices of windows by
// channels (Lavin and Gray, arXiv 1509.09308).
@include common.wgsl

struct Params {
    // Windows, windows of a row, fours of channels, positions of a row of the band.
    windows: u32,
    width: u32,
    quads: u32,
    band_width: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> band: array<E4>;
@group(0) @binding(1) var<storage, read_write> out: array<E4>;

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
@for i 4
@for j 4
    let d${i}${j} = vec4f(band[((y + ${i}u) * p.band_width + x + ${j}u) * p.quads + quad]);
@end
@end
    // Rows, then columns: d0 - d2, d1 + d2, d2 - d1, d1 - d3.
@for j 4
    let t0${j} = d0${j} - d2${j};
    let t1${j} = d1${j} + d2${j};
    let t2${j} = d2${j} - d1${j};
    let t3${j} = d1${j} - d3${j};
@end
    let next = p.windows * p.quads;
@for i 4
    out[at + ${i*4}u * next] = E4(t${i}0 - t${i}2);
    out[at + ${i*4+1}u * next] = E4(t${i}1 + t${i}2);
    out[at + ${i*4+2}u * next] = E4(t${i}2 - t${i}1);
    out[at + ${i*4+3}u * next] = E4(t${i}1 - t${i}3);
@end
}
