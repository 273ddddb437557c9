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
    u32 keys, columns;
    float scale;
    // 1 if no keys were seen before.
    u32 fresh;
};

const float LOWEST = -3.0e38f;

// One block of keys more in an online softmax (Milakov and Gimelshein, arXiv 1805.02867): scores of a
// query become weights relative to the largest score so far. One block of threads for each query.
KERNEL(softmax, Softmax, THREADS) {
    float* shared = static_cast<float*>(shared_memory());
    const u64 query = blockIdx.x;
    const float* scores = p.scores + query * p.columns;
    float largest = LOWEST;
    for (u32 i = threadIdx.x; i < p.keys; i += THREADS) {
        largest = fmaxf(largest, scores[i] * p.scale);
    }
    const float before = p.fresh ? LOWEST : p.state[2 * query];
    largest = fmaxf(block_largest(largest, shared), before);
    float sum = 0;
    for (u32 i = threadIdx.x; i < p.columns; i += THREADS) {
        E weight = narrowed(0.0f, E());
        if (i < p.keys) {
            weight = narrowed(expf(scores[i] * p.scale - largest), E());
        }
        p.weights[query * p.columns + i] = weight;
        // Of what is stored: the weights that are multiplied then sum up to this.
        sum += widened(weight);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        const float worth = p.fresh ? 0.0f : expf(before - largest);
        p.decay[query] = worth;
        p.state[2 * query] = largest;
        p.state[2 * query + 1] = sum + (p.fresh ? 0.0f : p.state[2 * query + 1] * worth);
    }
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
