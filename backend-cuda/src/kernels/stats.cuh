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
    // Positions of a sample, of a block; blocks of a sample; eights of a position, and those that a block
    // of threads has at once.
    u32 positions, block, blocks, eights, across;
};

// Of each thread, on its way to others: means and sums of squared deviations of eight channels, and of how
// many positions.
struct PartOfThread {
    float mean[EIGHT], squares[EIGHT], count;
};

// One block of threads for some eights of a block of positions. Threads of a row have an eight each, and
// rows take turns with positions; in the end they are merged in pairs. Sums are of what is beyond a
// thread's first position: E[x^2] - E[x]^2 would lose every digit where the mean is far above the
// deviation.
KERNEL(stats_part, StatsPart, THREADS, HALF ? 4 : 3) {
    PartOfThread* shared = static_cast<PartOfThread*>(shared_memory());
    const u32 rows = THREADS / p.across, chunks = (p.eights + p.across - 1) / p.across;
    const u32 row = threadIdx.x / p.across;
    const u32 eight = blockIdx.x % chunks * p.across + threadIdx.x % p.across;
    const u32 block = blockIdx.x / chunks % p.blocks;
    const u64 sample = blockIdx.x / chunks / p.blocks;
    const u32 begin = block * p.block, end = min(begin + p.block, p.positions);
    const u64 padded = p.eights * EIGHT;
    const bool is_there = row < rows && eight < p.eights;
    PartOfThread& part = shared[threadIdx.x];
    part.count = 0;
    if (is_there && begin + row < end) {
        const E* from = p.in + (sample * p.positions + begin + row) * padded + eight * EIGHT;
        float first[EIGHT], sum[EIGHT] = {}, squares[EIGHT] = {};
        load(first, from);
        const u32 AT_ONCE = 4;
        for (u32 i = begin + row + rows; i < end; i += rows * AT_ONCE) {
            // Several are under way at once. Beyond the end it is the first one again, which does not deviate.
            float value[AT_ONCE][EIGHT];
#pragma unroll
            for (u32 n = 0; n < AT_ONCE; n++) {
                const u32 position = i + n * rows;
                load(value[n], position < end ? from + u64(position - begin - row) * padded : from);
            }
#pragma unroll
            for (u32 n = 0; n < AT_ONCE; n++) {
#pragma unroll
                for (int c = 0; c < EIGHT; c++) {
                    const float deviation = value[n][c] - first[c];
                    sum[c] += deviation;
                    squares[c] = fmaf(deviation, deviation, squares[c]);
                }
            }
        }
        part.count = (end - begin - row + rows - 1) / rows;
#pragma unroll
        for (int c = 0; c < EIGHT; c++) {
            part.mean[c] = first[c] + sum[c] / part.count;
            part.squares[c] = fmaxf(squares[c] - sum[c] * (sum[c] / part.count), 0.0f);
        }
    }
    u32 half = 1;
    while (half < rows) {
        half *= 2;
    }
    while (half > 1) {
        half /= 2;
        __syncthreads();
        if (row < half && row + half < rows) {
            const PartOfThread& other = shared[threadIdx.x + half * p.across];
            const float count = part.count;
            // Rows that have no position any more come last.
            if (other.count > 0) {
#pragma unroll
                for (int c = 0; c < EIGHT; c++) {
                    const Moments both = merged(Moments{count, part.mean[c], part.squares[c]},
                                                Moments{other.count, other.mean[c], other.squares[c]});
                    part.mean[c] = both.mean;
                    part.squares[c] = both.squares;
                }
                part.count = count + other.count;
            }
        }
    }
    if (row == 0 && is_there) {
        float* to = p.parts + (sample * p.blocks + block) * 2 * padded + eight * EIGHT;
        store(to, part.mean);
        store(to + padded, part.squares);
    }
}

struct StatsMerge {
    const float* parts;
    // By sample and group: mean and biased variance, filled up to an eight.
    float* stats;
    u32 positions, block, blocks, eights, groups, per_group;
};

// One block for each sample and group: their mean, then deviations from that. Means are summed as what they
// are beyond one of them, since they may be far above their deviations.
KERNEL(stats_merge, StatsMerge, THREADS, 2) {
    float* shared = static_cast<float*>(shared_memory());
    const u32 group = blockIdx.x % p.groups, sample = blockIdx.x / p.groups;
    const u64 padded = p.eights * EIGHT;
    const float* parts = p.parts + u64(sample) * p.blocks * 2 * padded + group * p.per_group;
    // Threads of a row have a channel each, and rows take turns with blocks.
    const u32 across = min(p.per_group, u32(THREADS)), rows = THREADS / across;
    const u32 row = threadIdx.x / across, begin = row < rows ? row : p.blocks;
    const float first = parts[0];
    const u32 AT_ONCE = 8;
    // Of the last block there may be less; beyond it there is nothing, and what is read counts for none.
    auto count_of = [&](u32 block) {
        return block < p.blocks ? float(min(p.block, p.positions - block * p.block)) : 0.0f;
    };
    auto part_of = [&](u32 block, u32 channel) {
        return parts + u64(block < p.blocks ? block : 0) * 2 * padded + channel;
    };
    float beyond = 0;
    for (u32 channel = threadIdx.x % across; channel < p.per_group; channel += across) {
        for (u32 block = begin; block < p.blocks; block += rows * AT_ONCE) {
            float mean[AT_ONCE];
#pragma unroll
            for (u32 n = 0; n < AT_ONCE; n++) {
                mean[n] = part_of(block + n * rows, channel)[0];
            }
#pragma unroll
            for (u32 n = 0; n < AT_ONCE; n++) {
                beyond = fmaf(count_of(block + n * rows), mean[n] - first, beyond);
            }
        }
    }
    const float count = float(p.positions) * p.per_group;
    beyond = block_sum(beyond, shared) / count;
    float squares = 0;
    for (u32 channel = threadIdx.x % across; channel < p.per_group; channel += across) {
        for (u32 block = begin; block < p.blocks; block += rows * AT_ONCE) {
            float mean[AT_ONCE], own[AT_ONCE];
#pragma unroll
            for (u32 n = 0; n < AT_ONCE; n++) {
                const float* part = part_of(block + n * rows, channel);
                mean[n] = part[0];
                own[n] = part[padded];
            }
#pragma unroll
            for (u32 n = 0; n < AT_ONCE; n++) {
                const float count = count_of(block + n * rows), deviation = mean[n] - first - beyond;
                squares += fmaf(count * deviation, deviation, count > 0 ? own[n] : 0.0f);
            }
        }
    }
    squares = block_sum(squares, shared);
    if (threadIdx.x == 0) {
        const float stats[EIGHT] = {first + beyond, squares / count};
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
    const u32 padded = p.eights * EIGHT;
    if (at >= p.samples * padded) {
        return;
    }
    const u32 sample = at / padded, channel = at % padded;
    float factor = 0, summand = 0;
    // Channels that only fill up stay zero.
    if (channel < p.channels) {
        const u32 group = channel / (p.channels / p.groups);
        const float* stats = p.stats + (u64(sample) * p.groups + group) * EIGHT;
        factor = p.gamma[channel] / sqrtf(stats[1] + p.eps);
        summand = p.beta[channel] - stats[0] * factor;
    }
    p.affine[sample * 2 * padded + channel] = factor;
    p.affine[sample * 2 * padded + padded + channel] = summand;
}
