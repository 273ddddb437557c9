// Winograd F(OUTPUTS x OUTPUTS, 3x3): windows of a staged band, OUTPUTS apart, as matrices of windows
// by channels, one for each place of a window (Lavin and Gray, arXiv 1509.09308). Or of the conv's
// input itself (UNSTAGED), of which this does then what stage.wgsl does to it.
@include common.wgsl
@include winograd.wgsl

struct Params {
    // Windows, windows of a row, fours of channels, positions of a row of the band.
    windows: u32,
    width: u32,
    quads: u32,
    band_width: u32,
    // UNSTAGED: as in stage.wgsl.
    input: u32,
    row: i32,
    column: i32,
    in_rows: u32,
    in_width: u32,
    affine: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> input: array<E4>;
@group(0) @binding(1) var<storage, read_write> out: array<E4>;
@if NORM
@group(0) @binding(2) var<storage, read> affine: array<vec4f>;
@end
@if UNSTAGED
@include staged.wgsl
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
@if UNSTAGED
    let norm = norm_of(quad);
    let row = u32(i32(y) + p.row);
    let column = u32(i32(x) + p.column);
@else
    let first = (y * p.band_width + x) * p.quads + quad;
    let below = p.band_width * p.quads;
@end
@for j WINDOW
    let column${j} = windowed(array(
@for i WINDOW
@if UNSTAGED
        vec4f(staged(row + ${i}u, column + ${j}u, quad, norm)),
@else
        vec4f(input[first + ${i}u * below + ${j}u * p.quads]),
@end
@end
    ));
@end
    let next = p.windows * p.quads;
@for i WINDOW
    let row${i} = windowed(array(
@for j WINDOW
        column${j}[${i}],
@end
    ));
@for j WINDOW
    out[at + ${i*WINDOW+j}u * next] = E4(row${i}[${j}]);
@end
@end
}
