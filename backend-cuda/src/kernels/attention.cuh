// What attention needs beside its products: weights of an online softmax, and the division by their
// sum at the end.
#pragma once
#include "common.cuh"

struct Softmax {
    // `[queries][columns]`; `columns` is `keys` filled up to an eight.
    const float* scores;
    E* weights;
    // For each query the largest score and the sum of weights so far.
    float* state;
    // What the sums so far are worth now.
    float* decay;
    u32 queries, keys, columns;
    float scale;
    // 1 if no keys were seen before.
    u32 fresh;
};

// Scaled scores of an eight; of keys that only fill up, what weighs nothing.
DEVICE void load_scores(float (&value)[EIGHT], const Softmax& p, const float* scores, u32 eight) {
    load(value, scores + eight * EIGHT);
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        value[i] = eight * EIGHT + i < p.keys ? value[i] * p.scale : LOWEST;
    }
}

// Writes what scores below the largest one weigh, and gives their sum: of what is stored, so that the weights that
// are multiplied sum up to this.
DEVICE float store_weights(const float (&below)[EIGHT], E* to) {
    const u32 n = 16 / sizeof(E);
    float weight[EIGHT], stored[EIGHT], sum = 0;
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        weight[i] = exponential(below[i], E());
    }
#pragma unroll
    for (u32 part = 0; part < EIGHT / n; part++) {
        const Packed weights = packed(weight + part * n, E());
        reinterpret_cast<Packed*>(to)[part] = weights;
        unpack(stored + part * n, weights, E());
    }
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        sum += stored[i];
    }
    return sum;
}

DEVICE float store_weights(float (&score)[EIGHT], float largest, E* to) {
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        score[i] -= largest;
    }
    return store_weights(score, to);
}

// What a query's sums are worth now, and what it has seen.
template <class Params>
DEVICE void remember(const Params& p, u64 query, float before, float largest, float sum) {
    const float worth = p.fresh ? 0.0f : expf(before - largest);
    p.decay[query] = worth;
    p.state[2 * query] = largest;
    p.state[2 * query + 1] = sum + (p.fresh ? 0.0f : p.state[2 * query + 1] * worth);
}

// One block of keys more in an online softmax (Milakov and Gimelshein, arXiv 1805.02867): scores of a
// query become weights relative to the largest score so far. One warp for each query, which keeps the
// first scores.
KERNEL(softmax, Softmax, THREADS) {
    const u32 KEPT = 8;
    const u32 lane = threadIdx.x % WARP;
    const u64 query = place() / WARP;
    if (query >= p.queries) {
        return;
    }
    const u32 eights = p.columns / EIGHT;
    const float* scores = p.scores + query * p.columns;
    E* weights = p.weights + query * p.columns;
    float kept[KEPT][EIGHT], score[EIGHT];
    float largest = LOWEST;
#pragma unroll
    for (u32 n = 0; n < KEPT; n++) {
        if (n * WARP + lane < eights) {
            load_scores(kept[n], p, scores, n * WARP + lane);
#pragma unroll
            for (u32 i = 0; i < EIGHT; i++) {
                largest = fmaxf(largest, kept[n][i]);
            }
        }
    }
    for (u32 at = KEPT * WARP + lane; at < eights; at += WARP) {
        load_scores(score, p, scores, at);
#pragma unroll
        for (u32 i = 0; i < EIGHT; i++) {
            largest = fmaxf(largest, score[i]);
        }
    }
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        largest = fmaxf(largest, shuffled(largest, mask));
    }
    const float before = p.fresh ? LOWEST : p.state[2 * query];
    largest = fmaxf(largest, before);
    float sum = 0;
#pragma unroll
    for (u32 n = 0; n < KEPT; n++) {
        if (n * WARP + lane < eights) {
            sum += store_weights(kept[n], largest, weights + (n * WARP + lane) * EIGHT);
        }
    }
    for (u32 at = KEPT * WARP + lane; at < eights; at += WARP) {
        load_scores(score, p, scores, at);
        sum += store_weights(score, largest, weights + at * EIGHT);
    }
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        sum += shuffled(sum, mask);
    }
    if (lane == 0) {
        remember(p, query, before, largest, sum);
    }
}

#if HOPPER
struct SoftmaxHopper {
    // `[queries][columns]`: how far scores, as f16, are below the largest one of their query and tile; then weights.
    void* scores;
    // `[queries][tiles]`
    const float* largest;
    float* state;
    float* decay;
    u32 queries, keys, columns;
    // Tiles of 128 columns.
    u32 tiles;
    // Above zero: what is the largest before it is so after.
    float scale;
    u32 fresh;
};

// The same for scores that are known by tile. The largest one of all is known before any of them is read, and weights
// take their places.
KERNEL(softmax_hopper, SoftmaxHopper, THREADS) {
    const u32 AT_ONCE = 4, TILE = 128 / EIGHT;
    const u32 lane = threadIdx.x % WARP;
    const u64 query = place() / WARP;
    if (query >= p.queries) {
        return;
    }
    const float* largest_of = p.largest + query * p.tiles;
    float largest = LOWEST;
    for (u32 tile = lane; tile < p.tiles; tile += WARP) {
        largest = fmaxf(largest, largest_of[tile] * p.scale);
    }
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        largest = fmaxf(largest, shuffled(largest, mask));
    }
    const float before = p.fresh ? LOWEST : p.state[2 * query];
    largest = fmaxf(largest, before);
    const u32 eights = p.columns / EIGHT;
    Packed* scores = static_cast<Packed*>(p.scores) + query * eights;
    float sum = 0;
    for (u32 first = lane; first < eights; first += AT_ONCE * WARP) {
        Packed below[AT_ONCE];
        float shift[AT_ONCE];
#pragma unroll
        for (u32 n = 0; n < AT_ONCE; n++) {
            // Beyond the last one it is read again.
            const u32 eight = min(first + n * WARP, eights - 1);
            below[n] = scores[eight];
            shift[n] = largest_of[eight / TILE] * p.scale - largest;
        }
#pragma unroll
        for (u32 n = 0; n < AT_ONCE; n++) {
            const u32 eight = first + n * WARP;
            if (eight < eights) {
                float score[EIGHT];
                unpack(score, below[n], F16());
#pragma unroll
                for (u32 i = 0; i < EIGHT; i++) {
                    score[i] = eight * EIGHT + i < p.keys ? fmaf(score[i], p.scale, shift[n]) : LOWEST;
                }
                sum += store_weights(score, reinterpret_cast<E*>(scores + eight));
            }
        }
    }
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        sum += shuffled(sum, mask);
    }
    if (lane == 0) {
        remember(p, query, before, largest, sum);
    }
}
#endif

struct Transpose {
    // `[rows][columns]`
    const E* in;
    // `[columns][rows, filled up to an eight]`
    E* out;
    // Eights to write.
    u32 count;
    u32 rows, columns;
};

// Values, so that those of a channel lie one after the other, as a kernel of a conv does.
KERNEL(transpose, Transpose, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    const u32 column = at % p.columns, row = at / p.columns * EIGHT;
    const u32 rows = (p.rows + EIGHT - 1) / EIGHT * EIGHT;
    float value[EIGHT];
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        value[i] = row + i < p.rows ? widened(p.in[u64(row + i) * p.columns + column]) : 0.0f;
    }
    store(p.out + u64(column) * rows + row, value);
}

struct Attended {
    // Weighted sums, and for each query its largest score and sum of weights.
    const float* sums;
    const float* state;
    E* out;
    // Eights in all and of a position.
    u32 count, eights;
};

KERNEL(attended, Attended, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    float value[EIGHT];
    load(value, p.sums + element(at));
    const float total = p.state[u64(at / p.eights) * 2 + 1];
#pragma unroll
    for (int i = 0; i < EIGHT; i++) {
        value[i] /= total;
    }
    store(p.out + element(at), value);
}
