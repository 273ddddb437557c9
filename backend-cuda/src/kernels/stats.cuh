// Statistics of a group norm, and the factors that apply it.
#pragma once
#include "common.cuh"

// Count, mean and sum of squared deviations.
struct Moments {
    float count, mean, squares;
};

// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
// variances" (1979).
DEVICE Moments merged(Moments a, Moments b) {
    const float count = a.count + b.count;
    if (count == 0) {
        return a;
    }
    const float delta = b.mean - a.mean, share = b.count / count;
    return {count, fmaf(delta, share, a.mean), a.squares + b.squares + delta * delta * a.count * share};
}

struct StatsPart {
    const E* in;
    // By sample, block and channel: means, then sums of squared deviations of a position's channels.
    float* parts;
    // Positions of a sample, of a block; blocks of a sample; eights of a position; samples.
    u32 positions, block, blocks, eights, samples;
};

// One thread for eight channels of a block of positions. Sums are of what is beyond the block's first
// position: E[x^2] - E[x]^2 would lose every digit where the mean is far above the deviation.
KERNEL(stats_part, StatsPart, THREADS) {
    const u32 at = place();
    if (at >= p.samples * p.blocks * p.eights) {
        return;
    }
    const u32 channel = at % p.eights * EIGHT, block = at / p.eights % p.blocks;
    const u64 sample = at / p.eights / p.blocks;
    const u32 begin = block * p.block, end = min(begin + p.block, p.positions);
    const u64 wide = p.eights * EIGHT;
    const E* from = p.in + (sample * p.positions + begin) * wide + channel;
    float first[EIGHT], sum[EIGHT] = {}, squares[EIGHT] = {};
    load(first, from);
    for (u32 i = begin + 1; i < end; i++) {
        from += wide;
        float value[EIGHT];
        load(value, from);
#pragma unroll
        for (int c = 0; c < EIGHT; c++) {
            const float deviation = value[c] - first[c];
            sum[c] += deviation;
            squares[c] = fmaf(deviation, deviation, squares[c]);
        }
    }
    const float count = end - begin;
    float mean[EIGHT], deviations[EIGHT];
#pragma unroll
    for (int c = 0; c < EIGHT; c++) {
        mean[c] = first[c] + sum[c] / count;
        deviations[c] = fmaxf(squares[c] - sum[c] * (sum[c] / count), 0.0f);
    }
    float* to = p.parts + (sample * p.blocks + block) * 2 * wide + channel;
    store(to, mean);
    store(to + wide, deviations);
}

struct StatsMerge {
    const float* parts;
    // By sample and group: mean and biased variance, filled up to an eight.
    float* stats;
    u32 positions, block, blocks, eights, groups, per_group;
};

// One block for each sample and group.
KERNEL(stats_merge, StatsMerge, THREADS) {
    Moments* shared = static_cast<Moments*>(shared_memory());
    const u32 thread = threadIdx.x;
    const u32 group = blockIdx.x % p.groups, sample = blockIdx.x / p.groups;
    const u64 wide = p.eights * EIGHT;
    const float* parts = p.parts + u64(sample) * p.blocks * 2 * wide;
    Moments sum = {};
    for (u32 i = thread; i < p.blocks * p.per_group; i += THREADS) {
        const u32 block = i / p.per_group, channel = group * p.per_group + i % p.per_group;
        const float* from = parts + block * 2 * wide + channel;
        const float count = min(p.block, p.positions - block * p.block);
        sum = merged(sum, Moments{count, from[0], from[wide]});
    }
    shared[thread] = sum;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) {
            shared[thread] = merged(shared[thread], shared[thread + half]);
        }
    }
    if (thread == 0) {
        const float stats[EIGHT] = {shared[0].mean, shared[0].squares / shared[0].count};
        store(p.stats + u64(blockIdx.x) * EIGHT, stats);
    }
}

struct PartStats {
    const float* stats;
    // How many values they are of.
    double count;
};

struct StatsJoin {
    const PartStats* parts;
    float* stats;
    // Parts, and groups over all samples.
    u32 count, groups;
};

// One thread for each group. Part by part, and rounded after each operation, as the engine does it on
// the host: ranks that have their statistics merged here and there get the same bytes.
KERNEL(stats_join, StatsJoin, THREADS) {
    const u32 group = place();
    if (group >= p.groups) {
        return;
    }
    double count = 0, mean = 0, squares = 0;
    for (u32 i = 0; i < p.count; i++) {
        const double own = p.parts[i].count;
        const float* stats = p.parts[i].stats + u64(group) * EIGHT;
        const double total = __dadd_rn(count, own), delta = __dsub_rn(stats[0], mean);
        const double between = __dmul_rn(__dmul_rn(__dmul_rn(delta, delta), count), own) / total;
        squares = __dadd_rn(squares, __dadd_rn(__dmul_rn(stats[1], own), between));
        mean = __dadd_rn(mean, __dmul_rn(delta, own) / total);
        count = total;
    }
    const float joined[EIGHT] = {float(mean), float(squares / count)};
    store(p.stats + u64(group) * EIGHT, joined);
}

struct Affine {
    const float* stats;
    const float* gamma;
    const float* beta;
    // By sample: factors, then summands.
    float* affine;
    u32 samples, channels, eights, groups;
    float eps;
};

// Applying the norm is then one multiply-add.
KERNEL(affine, Affine, THREADS) {
    const u32 at = place();
    const u32 wide = p.eights * EIGHT;
    if (at >= p.samples * wide) {
        return;
    }
    const u32 sample = at / wide, channel = at % wide;
    float factor = 0, summand = 0;
    // Channels that only fill up stay zero.
    if (channel < p.channels) {
        const u32 group = channel / (p.channels / p.groups);
        const float* stats = p.stats + (u64(sample) * p.groups + group) * EIGHT;
        factor = p.gamma[channel] / sqrtf(stats[1] + p.eps);
        summand = p.beta[channel] - stats[0] * factor;
    }
    p.affine[sample * 2 * wide + channel] = factor;
    p.affine[sample * 2 * wide + wide + channel] = summand;
}
