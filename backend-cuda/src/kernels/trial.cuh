// Made-up numbers, and how far two results are apart: for trials of engines.
#pragma once
#include "common.cuh"

struct Noise {
    // Of E, or of float if `out_f32`.
    void* out;
    // Eights to write.
    u32 count;
    u32 seed;
    // The largest of them.
    float scale;
    u32 out_f32;
};

// Numbers between -scale and scale, by the finalizer of MurmurHash3.
DEVICE float noise_at(u64 at, u32 seed) {
    u32 x = u32(at) ^ u32(at >> 32) * 0x9e3779b9u ^ seed * 0x85ebca6bu;
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    x ^= x >> 16;
    return float(x >> 8) * (2.0f / 16777216.0f) - 1.0f;
}

KERNEL(noise, Noise, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    float value[EIGHT];
#pragma unroll
    for (int i = 0; i < EIGHT; i++) {
        value[i] = noise_at(element(at) + i, p.seed) * p.scale;
    }
    if (p.out_f32) {
        store(static_cast<float*>(p.out) + element(at), value);
    } else {
        store(static_cast<E*>(p.out) + element(at), value);
    }
}

struct Deviation {
    const void* one;
    const void* other;
    // For each block the sums of the squares of differences and of `one`, and the largest of both.
    float* out;
    // Eights to compare, and blocks that do.
    u32 count, blocks;
    u32 of_f32;
};

DEVICE void load_any(float (&value)[EIGHT], const void* from, u64 at, u32 of_f32) {
    if (of_f32) {
        load(value, static_cast<const float*>(from) + at);
    } else {
        load(value, static_cast<const E*>(from) + at);
    }
}

KERNEL(deviation, Deviation, THREADS) {
    float* shared = static_cast<float*>(shared_memory());
    float squares[2] = {}, largest[2] = {};
    for (u64 at = place(); at < p.count; at += u64(p.blocks) * THREADS) {
        float one[EIGHT], other[EIGHT];
        load_any(one, p.one, at * EIGHT, p.of_f32);
        load_any(other, p.other, at * EIGHT, p.of_f32);
#pragma unroll
        for (int i = 0; i < EIGHT; i++) {
            const float difference = one[i] - other[i];
            squares[0] += difference * difference;
            squares[1] += one[i] * one[i];
            largest[0] = fmaxf(largest[0], fabsf(difference));
            largest[1] = fmaxf(largest[1], fabsf(one[i]));
        }
    }
    for (int i = 0; i < 2; i++) {
        const float sum = block_sum(squares[i], shared);
        const float most = block_largest(largest[i], shared);
        if (threadIdx.x == 0) {
            p.out[blockIdx.x * 4 + i] = sum;
            p.out[blockIdx.x * 4 + 2 + i] = most;
        }
    }
}
