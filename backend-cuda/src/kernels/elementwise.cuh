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
    u32 count, sample, eights;
    u32 silu;
};

KERNEL(elementwise, Elementwise, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    float value[EIGHT], operand[EIGHT];
    load(value, p.in + element(at));
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
        apply_silu(value, E());
    }
    if (p.other) {
        load(operand, p.other + element(at));
#pragma unroll
        for (int i = 0; i < EIGHT; i++) {
            value[i] += operand[i];
        }
    }
    store(p.out + element(at), value);
}

struct Upsample {
    const E* in;
    E* out;
    // Eights to write.
    u32 count;
    // Positions of a row that is written; eights of a position.
    u32 width, eights;
    u32 factor;
};

// Rows of all samples are one after the other, so a sample's first row needs no care.
KERNEL(upsample, Upsample, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    const u32 position = at / p.eights;
    const u32 y = position / p.width / p.factor;
    const u32 x = position % p.width / p.factor;
    const u32 from = (y * (p.width / p.factor) + x) * p.eights + at % p.eights;
    float value[EIGHT];
    load(value, p.in + element(from));
    store(p.out + element(at), value);
}
