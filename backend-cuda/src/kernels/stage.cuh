// Brings a window of a conv's input together: the part, what neighbours hold around it, zeros where
// the picture ends. A norm and SiLU are applied on the way: once per element, and the zeros around
// stay zeros.
#pragma once
#include "common.cuh"

struct Stage {
    // The part, `[height][width][channels]`, and its strips, null where the picture ends. Those above
    // and below are `left + width + right` wide.
    const E* part;
    const E* strip_top;
    const E* strip_bottom;
    const E* strip_left;
    const E* strip_right;
    E* band;
    // Factors, then summands, of the sample's channels; or null.
    const float* affine;
    u32 silu;
    // Eights of channels.
    u32 eights;
    u32 height, width;
    // Cells that the strips are deep.
    u32 margin_top, margin_left, margin_right;
    u32 margin_bottom;
    // The window: its first row and column in the coordinates of the part, and its extents.
    int top, left;
    u32 rows, columns;
};

DEVICE const E* staged_cell(const Stage& p, int y, int x) {
    const int height = p.height, width = p.width;
    const int left = p.margin_left, right = p.margin_right;
    if (x < -left || x >= width + right) {
        return nullptr;
    }
    const E* strip;
    u64 at;
    if (y < 0 || y >= height) {
        const int row = y < 0 ? y + int(p.margin_top) : y - height;
        if (row < 0 || row >= int(y < 0 ? p.margin_top : p.margin_bottom)) {
            return nullptr;
        }
        strip = y < 0 ? p.strip_top : p.strip_bottom;
        at = u64(row) * (left + width + right) + left + x;
    } else if (x < 0) {
        strip = p.strip_left;
        at = u64(y) * left + left + x;
    } else if (x >= width) {
        strip = p.strip_right;
        at = u64(y) * right + x - width;
    } else {
        strip = p.part;
        at = u64(y) * width + x;
    }
    return strip ? strip + at * p.eights * EIGHT : nullptr;
}

// Cells that a thread loads: as far from each other as it gets, so that threads next to each other read what lies
// next to each other, and all are under way at once. They are of the same channels.
const u32 STAGED = 4;

KERNEL(stage, Stage, THREADS) {
    const u32 at = place(), cells = p.rows * p.columns, apart = (cells + STAGED - 1) / STAGED;
    if (at >= apart * p.eights) {
        return;
    }
    const u32 channel = at % p.eights * EIGHT, first = at / p.eights;
    float value[STAGED][EIGHT];
    bool is_there[STAGED];
#pragma unroll
    for (u32 n = 0; n < STAGED; n++) {
        const u32 position = min(first + n * apart, cells - 1);
        const int y = int(position / p.columns) + p.top, x = int(position % p.columns) + p.left;
        const E* cell = staged_cell(p, y, x);
        is_there[n] = cell;
        load(value[n], (cell ? cell : p.part) + channel);
    }
    float factor[EIGHT], summand[EIGHT];
    if (p.affine) {
        load(factor, p.affine + channel);
        load(summand, p.affine + p.eights * EIGHT + channel);
    }
#pragma unroll
    for (u32 n = 0; n < STAGED; n++) {
        const u32 position = first + n * apart;
        if (position >= cells) {
            return;
        }
        if (p.affine) {
#pragma unroll
            for (int i = 0; i < EIGHT; i++) {
                value[n][i] = fmaf(value[n][i], factor[i], summand[i]);
            }
        }
        if (p.silu) {
            apply_silu(value[n], E());
        }
#pragma unroll
        for (int i = 0; i < EIGHT; i++) {
            value[n][i] = is_there[n] ? value[n][i] : 0.0f;
        }
        store(p.band + u64(position) * p.eights * EIGHT + channel, value[n]);
    }
}
