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

const float LOWEST = -3.0e38f;

// Scaled scores of an eight; of keys that only fill up, what weighs nothing.
DEVICE void load_scores(float (&value)[EIGHT], const Softmax& p, const float* scores, u32 eight) {
    load(value, scores + eight * EIGHT);
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        value[i] = eight * EIGHT + i < p.keys ? value[i] * p.scale : LOWEST;
    }
}

// Writes weights relative to a largest score, and gives their sum: of what is stored, so that the weights
// that are multiplied sum up to this.
DEVICE float store_weights(const float (&score)[EIGHT], float largest, E* to) {
    float weight[EIGHT], sum = 0;
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        weight[i] = exponential(score[i] - largest, E());
        sum += widened(narrowed(weight[i], E()));
    }
    store(to, weight);
    return sum;
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
        const float worth = p.fresh ? 0.0f : expf(before - largest);
        p.decay[query] = worth;
        p.state[2 * query] = largest;
        p.state[2 * query + 1] = sum + (p.fresh ? 0.0f : p.state[2 * query + 1] * worth);
    }
}

struct Turn {
    // `[rows][columns]`
    const E* in;
    // `[columns][rows, filled up to an eight]`
    E* out;
    // Eights to write.
    u32 count;
    u32 rows, columns;
};

// Values, so that those of a channel lie one after the other, as a kernel of a conv does.
KERNEL(turn, Turn, THREADS) {
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
