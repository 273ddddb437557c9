// Factors and summands of a norm, by sample and channel, so that applying it is one multiply-add.
@include common.wgsl

struct Params {
    batch: u32,
    channels: u32,
    quads: u32,
    groups: u32,
    eps: f32,
}

var<immediate> p: Params;
// Mean and variance by sample and group.
@group(0) @binding(0) var<storage, read> stats: array<vec4f>;
@group(0) @binding(1) var<storage, read> gamma: array<f32>;
@group(0) @binding(2) var<storage, read> beta: array<f32>;
// By sample: the factors, then the summands.
@group(0) @binding(3) var<storage, read_write> affine: array<f32>;

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    let wide = p.quads * 4u;
    if at >= p.batch * wide {
        return;
    }
    let sample = at / wide;
    let channel = at % wide;
    var factor = 0.0;
    var summand = 0.0;
    // Channels that only fill a quad up stay zero.
    if channel < p.channels {
        let moments = stats[sample * p.groups + channel / (p.channels / p.groups)];
        factor = gamma[channel] / sqrt(moments.y + p.eps);
        summand = beta[channel] - moments.x * factor;
    }
    affine[sample * 2u * wide + channel] = factor;
    affine[sample * 2u * wide + wide + channel] = summand;
}
