// Mean and sum of squared deviations of each channel over blocks of positions. Two passes over a
// block: E[x^2] - E[x]^2 would lose every digit where the mean is far above the deviation.
@include common.wgsl

struct Params {
    // Positions, positions of a block, fours of channels.
    positions: u32,
    block: u32,
    quads: u32,
    // The first four to read, the first block's place among all of its sample.
    input: u32,
    slot: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> input: array<E4>;
// By block and four of channels: means, then sums of squared deviations.
@group(0) @binding(1) var<storage, read_write> parts: array<vec4f>;
// Positions of each block.
@group(0) @binding(2) var<storage, read_write> counts: array<f32>;

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    let quad = at % p.quads;
    let block = at / p.quads;
    let begin = block * p.block;
    if begin >= p.positions {
        return;
    }
    let end = min(begin + p.block, p.positions);
    let count = f32(end - begin);
    var sum = vec4f(0.0);
    for (var i = begin; i < end; i++) {
        sum += vec4f(input[p.input + i * p.quads + quad]);
    }
    let mean = sum / count;
    var squares = vec4f(0.0);
    // What rounding left in the mean.
    var rest = vec4f(0.0);
    for (var i = begin; i < end; i++) {
        let deviation = vec4f(input[p.input + i * p.quads + quad]) - mean;
        squares = fma(deviation, deviation, squares);
        rest += deviation;
    }
    let slot = p.slot + block;
    parts[(slot * p.quads + quad) * 2u] = mean;
    parts[(slot * p.quads + quad) * 2u + 1u] = squares - rest * rest / count;
    if quad == 0u {
        counts[slot] = count;
    }
}
