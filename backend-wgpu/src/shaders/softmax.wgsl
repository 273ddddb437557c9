// One block of keys more in an online softmax (Milakov and Gimelshein, arXiv 1805.02867): the scores
// of a query become weights relative to the largest score so far. One workgroup for each query.
@include common.wgsl

struct Params {
    // Queries, keys, fours of keys.
    queries: u32,
    keys: u32,
    key_quads: u32,
    // The first query's place in the state.
    first: u32,
    scale: f32,
    // 1 if no keys were seen before.
    fresh: u32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> scores: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> weights: array<E4>;
// The largest score and the sum of weights so far.
@group(0) @binding(2) var<storage, read_write> state: array<vec2f>;
// What the sums so far are worth now.
@group(0) @binding(3) var<storage, read_write> decay: array<f32>;

var<workgroup> partial: array<f32, ${GROUP}>;

const LOWEST = -3.0e38;

// A four's scores, those of keys that only fill it up being the lowest.
fn scaled(query: u32, four: u32) -> vec4f {
    let keys = vec4u(four * 4u) + vec4u(0u, 1u, 2u, 3u);
    let s = scores[query * p.key_quads + four] * p.scale;
    return select(vec4f(LOWEST), s, keys < vec4u(p.keys));
}

@compute @workgroup_size(${GROUP})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    // The same for the whole workgroup, so barriers below stay in uniform control flow.
    let query = min(group.y * groups.x + group.x, p.queries - 1u);
    var largest = LOWEST;
    for (var i = lane; i < p.key_quads; i += ${GROUP}u) {
        let s = scaled(query, i);
        largest = max(largest, max(max(s.x, s.y), max(s.z, s.w)));
    }
    partial[lane] = largest;
    for (var half = ${GROUP}u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
    }
    workgroupBarrier();
    var before = vec2f(LOWEST, 0.0);
    if p.fresh == 0u {
        before = state[p.first + query];
    }
    largest = max(partial[0], before.x);
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lane; i < p.key_quads; i += ${GROUP}u) {
        // The differences of keys that only fill up are far below where exp is 0.
        let w = exp(max(scaled(query, i) - largest, vec4f(-200.0)));
        weights[query * p.key_quads + i] = E4(w);
        sum += w.x + w.y + w.z + w.w;
    }
    partial[lane] = sum;
    for (var half = ${GROUP}u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    if lane == 0u {
        let worth = exp(max(before.x - largest, -200.0));
        decay[query] = worth;
        state[p.first + query] = vec2f(largest, before.y * worth + partial[0]);
    }
}
