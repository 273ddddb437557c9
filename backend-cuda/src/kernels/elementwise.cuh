// Element by element: a norm whose factors are known, SiLU, a sum; nearest upsampling.
#pragma once
#include "common.cuh"

struct Elementwise {
    // May be the same.
    const E* in;
    E* out;
    // Added, or null.
    const E* other;
    // By sample: factors, then summands of channels; or null.
    const float* affine;
    // Eights in all, of a sample, of a position.
    u64 count;
    u64 sample;
    u32 eights;
    u32 silu;
};

KERNEL(elementwise, Elementwise, THREADS) {
    const u64 at = place();
    if (at >= p.count) {
        return;
    }
    float value[EIGHT], operand[EIGHT];
    load(value, p.in + at * EIGHT);
    if (p.affine) {
        const float* factors = p.affine + (at / p.sample * 2 * p.eights + at % p.eights) * EIGHT;
        float summand[EIGHT];
        load(operand, factors);
        load(summand, factors + p.eights * EIGHT);
#pragma unroll
        for (int i = 0; i < EIGHT; i++) {
            value[i] = fmaf(value[i], operand[i], summand[i]);
        }
    }
    if (p.silu) {
#pragma unroll
        for (int i = 0; i < EIGHT; i++) {
            value[i] = silu(value[i]);
        }
    }
    if (p.other) {
        load(operand, p.other + at * EIGHT);
#pragma unroll
        for (int i = 0; i < EIGHT; i++) {
            value[i] += operand[i];
        }
    }
    store(p.out + at * EIGHT, value);
}

struct Upsample {
    const E* in;
    E* out;
    // Eights to write.
    u64 count;
    // Positions of a row that is written; eights of a position.
    u32 width, eights;
    u32 factor;
};

// Rows of all samples are one after the other, so a sample's first row needs no care.
KERNEL(upsample, Upsample, THREADS) {
    const u64 at = place();
    if (at >= p.count) {
        return;
    }
    const u64 position = at / p.eights;
    const u64 y = position / p.width / p.factor;
    const u32 x = position % p.width / p.factor;
    const u64 from = (y * (p.width / p.factor) + x) * p.eights + at % p.eights;
    reinterpret_cast<Packed<E>*>(p.out)[at * (sizeof(E) / 2)] =
        reinterpret_cast<const Packed<E>*>(p.in)[from * (sizeof(E) / 2)];
    if (sizeof(E) == 4) {
        reinterpret_cast<Packed<E>*>(p.out)[at * 2 + 1] = reinterpret_cast<const Packed<E>*>(p.in)[from * 2 + 1];
    }
}
