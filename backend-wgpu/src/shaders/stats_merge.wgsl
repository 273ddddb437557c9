// Merges the moments of blocks and channels into those of a group: one workgroup for each.
@include common.wgsl

struct Params {
    // Blocks of the sample, fours of channels, channels of a group.
    slots: u32,
    quads: u32,
    per_group: u32,
    // The sample's first group among all.
    first: u32,
}

// Count, mean and sum of squared deviations.
struct Moments {
    count: f32,
    mean: f32,
    squares: f32,
}

var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> parts: array<f32>;
@group(0) @binding(1) var<storage, read> counts: array<f32>;
// Mean and biased variance.
@group(0) @binding(2) var<storage, read_write> stats: array<vec4f>;

var<workgroup> shared_moments: array<Moments, ${GROUP}>;

// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
// variances" (1979).
fn merged(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    if count == 0.0 {
        return a;
    }
    let delta = b.mean - a.mean;
    let share = b.count / count;
    return Moments(
        count,
        a.mean + delta * share,
        a.squares + b.squares + delta * delta * a.count * share,
    );
}

@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    var sum = Moments(0.0, 0.0, 0.0);
    for (var i = lane; i < p.slots * p.per_group; i += ${GROUP}u) {
        let slot = i / p.per_group;
        let channel = group.x * p.per_group + i % p.per_group;
        let at = (slot * p.quads + channel / 4u) * 8u + channel % 4u;
        sum = merged(sum, Moments(counts[slot], parts[at], parts[at + 4u]));
    }
    shared_moments[lane] = sum;
    for (var half = ${GROUP}u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            shared_moments[lane] = merged(shared_moments[lane], shared_moments[lane + half]);
        }
    }
    if lane == 0u {
        let total = shared_moments[0];
        stats[p.first + group.x] = vec4f(total.mean, total.squares / total.count, 0.0, 0.0);
    }
}
