// A product of rows with a matrix: a conv as an implicit product, a 1x1 conv, or one of attention's.
//
// Row r is an output position. For each tap it reads `channels` channels of one cell of the source
// and multiplies them with as many of each column of the right side, so that
//   out[r][n] = sum over taps t and channels c of left[cell(r, t)][c] * right[n][t][c].
//
// The right side lies as `[columns][taps][channels]`, or, where it is attention's values, as
// `[channels][columns]`.
#pragma once
#include "common.cuh"

struct Product {
    // [samples][in_rows][in_width][channels]
    const E* left;
    const E* right;
    // [positions][columns], of E, or of float if `out_f32`.
    void* out;
    // Added to each column, or null.
    const float* bias;
    // The residual that is added to the results, of their extents and type, or null; and the factors that
    // its rows are multiplied by, or null. It may lie where the result goes.
    const void* residual;
    const float* decay;
    // Elements from one sample of the source to the next.
    u64 left_sample;
    // Positions from one sample to the next where the results go.
    u64 out_sample;
    // Output positions, of one sample, of one row of those.
    u32 rows, sample_rows, width;
    // From one of these rows and positions to the next where they go.
    u32 out_row, out_step;
    // Both multiples of 8.
    u32 columns, channels;
    // Valid columns of the right side, or channels if it is attention's values; beyond lies
    // nothing.
    u32 right_valid;
    u32 taps, taps_x;
    u32 in_rows, in_width;
    u32 stride_y, stride_x;
    // The cell that the first tap of the first output reads.
    int offset_y, offset_x;
    u32 out_f32;
    u32 column_tiles;
    // Tiles in all, where a block makes more than one.
    u32 tiles;
};

// The output position that a thread loads the left side of.
struct Position {
    u32 sample;
    int y, x;

    DEVICE Position at(const Product& p, u32 row) {
        // A row beyond the last is computed as the last, and not written.
        row = min(row, p.rows - 1);
        u32 rest = row % p.sample_rows;
        Position position;
        position.sample = row / p.sample_rows;
        position.y = int(rest / p.width * p.stride_y) + p.offset_y;
        position.x = int(rest % p.width * p.stride_x) + p.offset_x;
        return position;
    }

    // The cell that a tap reads, or null where zeros are.
    DEVICE const E* cell(const Product& p, const Position& at, u32 tap) {
        // A negative row or column is a large number too.
        u32 y = at.y + tap / p.taps_x, x = at.x + tap % p.taps_x;
        if (y >= p.in_rows || x >= p.in_width) {
            return nullptr;
        }
        return p.left + at.sample * p.left_sample + (u64(y) * p.in_width + x) * p.channels;
    }
};

// What is added to N sums of a row.
template <int N>
struct Added {
    float residual[N], factor;
};

// Sums and results lie at a position.
template <int N>
DEVICE Added<N> added_at(const Product& p, u64 position, u32 row, u32 column) {
    Added<N> added = {};
    if (p.residual) {
        added.factor = p.decay ? p.decay[row] : 1.0f;
        const u64 at = position * p.columns + column;
        if (p.out_f32) {
            load(added.residual, static_cast<const float*>(p.residual) + at);
        } else {
            load(added.residual, static_cast<const E*>(p.residual) + at);
        }
    }
    return added;
}

// What becomes of N sums of a row.
template <int N>
DEVICE void finish_at(const Product& p, u64 position, u32 column, float (&sum)[N], const Added<N>& added) {
    const u64 at = position * p.columns + column;
    if (p.bias) {
        float bias[N];
        load(bias, p.bias + column);
#pragma unroll
        for (int i = 0; i < N; i++) {
            sum[i] += bias[i];
        }
    }
    if (p.residual) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            sum[i] = fmaf(added.residual[i], added.factor, sum[i]);
        }
    }
    if (p.out_f32) {
        store(static_cast<float*>(p.out) + at, sum);
    } else {
        store(static_cast<E*>(p.out) + at, sum);
    }
}

template <int N>
DEVICE void finish(const Product& p, u32 row, u32 column, float (&sum)[N]) {
    if (row >= p.rows || column >= p.columns) {
        return;
    }
    const u32 rest = row % p.sample_rows;
    const u64 position =
        row / p.sample_rows * p.out_sample + u64(rest / p.width) * p.out_row + u64(rest % p.width) * p.out_step;
    finish_at(p, position, column, sum, added_at<N>(p, position, row, column));
}

// Steps of channels, tap after tap.
struct Step {
    u32 tap, channel;
};

template <int CHANNELS>
DEVICE Step next(const Product& p, Step step) {
    step.channel += CHANNELS;
    return step.channel < p.channels ? step : Step{step.tap + 1, 0};
}
