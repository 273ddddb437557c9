// The product in f32: exact f32 multiplications and sums, no tensor cores.
//
// A block of 256 threads makes 128 rows by `COLUMNS` columns, 8 channels at a time. What the next
// step needs is on its way to registers while this one computes; two halves of the block's memory
// take turns.
#pragma once
#include "product.cuh"

// By channel, so that a thread reads four rows or four columns at once. The four that are not used
// spread the channels over the banks.
template <int COLUMNS>
struct TileF32 {
    static const int ROWS = 128, STEP = 8;
    float left[2][STEP][ROWS + 4];
    float right[2][STEP][COLUMNS + 4];
};

template <int COLUMNS, bool VALUES>
DEVICE void product_f32_tile(const Product& p) {
    typedef TileF32<COLUMNS> Tile;
    const int ROWS = Tile::ROWS, STEP = Tile::STEP;
    // A thread makes R rows by C columns, in fours that lie apart: the threads of a warp then read
    // neighbouring fours.
    const int C = COLUMNS >= 128 ? 8 : 4, R = ROWS * COLUMNS / THREADS / C;
    const int ACROSS = COLUMNS / C, DOWN = ROWS / R;
    // Fours that a thread loads.
    const int LEFT = ROWS * STEP / 4 / THREADS;
    const int RIGHT = (COLUMNS * STEP / 4 + THREADS - 1) / THREADS;
    Tile& tile = *static_cast<Tile*>(shared_memory());

    const u32 thread = threadIdx.x;
    const u32 first_column = blockIdx.x % p.column_tiles * COLUMNS;
    const u32 first_row = blockIdx.x / p.column_tiles * ROWS;
    const u32 across = thread % ACROSS, down = thread / ACROSS;

    const u32 four = thread % (STEP / 4) * 4;
    const E* cell[LEFT];
    Step step = {0, 0};
    // Positions are computed again for each tap: no registers are left to keep them.
    auto find_cells = [&]() {
#pragma unroll
        for (int l = 0; l < LEFT; l++) {
            const u32 row = first_row + thread / (STEP / 4) + l * (THREADS / (STEP / 4));
            cell[l] = Position::cell(p, Position::at(p, row), step.tap);
        }
    };
    find_cells();
    float left[LEFT][4], right[RIGHT][4];

    auto fetch = [&]() {
#pragma unroll
        for (int l = 0; l < LEFT; l++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                left[l][i] = 0;
            }
            if (cell[l] && step.channel + four < p.channels) {
                load(left[l], cell[l] + step.channel + four);
            }
        }
#pragma unroll
        for (int l = 0; l < RIGHT; l++) {
            const u32 at = thread + l * THREADS;
            const u32 channel = step.channel + (VALUES ? at / (COLUMNS / 4) : at % (STEP / 4) * 4);
            const u32 column = first_column + (VALUES ? at % (COLUMNS / 4) * 4 : at / (STEP / 4));
            const bool is_valid = VALUES ? channel < p.right_valid && column < p.columns
                                      : channel < p.channels && column < p.right_valid;
            // Fewer than 2^32 elements, and few registers are left.
            const u32 from = VALUES ? channel * p.columns + column
                                    : (column * p.taps + step.tap) * p.channels + channel;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                right[l][i] = 0;
            }
            if (at < COLUMNS * STEP / 4 && is_valid) {
                load(right[l], p.right + from);
            }
        }
    };
    auto put = [&](int half) {
#pragma unroll
        for (int l = 0; l < LEFT; l++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                tile.left[half][four + i][thread / (STEP / 4) + l * (THREADS / (STEP / 4))] = left[l][i];
            }
        }
#pragma unroll
        for (int l = 0; l < RIGHT; l++) {
            const u32 at = thread + l * THREADS;
            if (at < COLUMNS * STEP / 4) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const u32 channel = VALUES ? at / (COLUMNS / 4) : at % (STEP / 4) * 4 + i;
                    const u32 column = VALUES ? at % (COLUMNS / 4) * 4 + i : at / (STEP / 4);
                    tile.right[half][channel][column] = right[l][i];
                }
            }
        }
    };

    float sum[R][C] = {};
    fetch();
    put(0);
    __syncthreads();
    for (int half = 0;; half ^= 1) {
        const u32 tap = step.tap;
        step = next<STEP>(p, step);
        const bool more = step.tap < p.taps;
        if (more) {
            if (!VALUES && step.tap != tap) {
                find_cells();
            }
            fetch();
        }
#pragma unroll
        for (int k = 0; k < STEP; k++) {
            float a[R], b[C];
#pragma unroll
            for (int i = 0; i < R; i++) {
                a[i] = tile.left[half][k][i / 4 * (DOWN * 4) + down * 4 + i % 4];
            }
#pragma unroll
            for (int j = 0; j < C; j++) {
                b[j] = tile.right[half][k][j / 4 * (ACROSS * 4) + across * 4 + j % 4];
            }
#pragma unroll
            for (int i = 0; i < R; i++) {
#pragma unroll
                for (int j = 0; j < C; j++) {
                    sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
                }
            }
        }
        if (!more) {
            break;
        }
        // The other half was read before the last barrier.
        put(half ^ 1);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < R; i++) {
        const u32 row = first_row + i / 4 * (DOWN * 4) + down * 4 + i % 4;
#pragma unroll
        for (int j = 0; j < C; j += 4) {
            float four_sums[4] = {sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]};
            finish(p, row, first_column + j / 4 * (ACROSS * 4) + across * 4, four_sums);
        }
    }
}

KERNEL(product_128, Product, THREADS, 2) { product_f32_tile<128, false>(p); }
KERNEL(product_32, Product, THREADS, 2) { product_f32_tile<32, false>(p); }
KERNEL(values_128, Product, THREADS, 2) { product_f32_tile<128, true>(p); }
KERNEL(values_32, Product, THREADS, 2) { product_f32_tile<32, true>(p); }
static_assert(sizeof(TileF32<128>) == SHARED_PRODUCT_128, "the launch gives another size");
static_assert(sizeof(TileF32<32>) == SHARED_PRODUCT_32, "the launch gives another size");
