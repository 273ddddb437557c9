// The product on tensor cores: f16 or bf16 on both sides, sums in f32.
//
// A block of eight warps makes 128 rows by `COLUMNS` columns, 32 channels at a time. Both sides come
// by asynchronous copies, `STAGES` - 1 steps ahead.
#pragma once
#include "product.cuh"

// Eight elements of each row are not used: rows of 8x8 matrices then lie in different banks.
template <int COLUMNS, bool VALUES>
struct TileHalf {
    static const int ROWS = 128, STEP = 32, STAGES = 3;
    E left[STAGES][ROWS][STEP + 8];
    E right[STAGES][VALUES ? STEP : COLUMNS][(VALUES ? COLUMNS : STEP) + 8];
};

// Sums of a warp on their way out.
struct WarpSums {
    float at[16][16 + 4];
};

template <int COLUMNS, bool VALUES>
DEVICE void product_half_tile(const Product& p) {
    typedef TileHalf<COLUMNS, VALUES> Tile;
    const int ROWS = Tile::ROWS, STEP = Tile::STEP, STAGES = Tile::STAGES;
    // The part of a warp: M by N matrices of 16 by 16.
    const int ACROSS = COLUMNS >= 128 ? 4 : 2, DOWN = THREADS / WARP / ACROSS;
    const int M = ROWS / DOWN / 16, N = COLUMNS / ACROSS / 16;
    // Eights that a thread loads.
    const int LEFT = ROWS * STEP / EIGHT / THREADS;
    const int RIGHT = (COLUMNS * STEP / EIGHT + THREADS - 1) / THREADS;
    Tile& tile = *static_cast<Tile*>(shared_memory());

    const u32 thread = threadIdx.x, warp = thread / WARP, lane = thread % WARP;
    const u32 first_column = blockIdx.x % p.column_tiles * COLUMNS;
    const u32 first_row = blockIdx.x / p.column_tiles * ROWS;

    const u32 eight = thread % (STEP / EIGHT) * EIGHT;
    Position position[LEFT];
    const E* cell[LEFT];
#pragma unroll
    for (int l = 0; l < LEFT; l++) {
        const u32 row = thread / (STEP / EIGHT) + l * (THREADS / (STEP / EIGHT));
        position[l] = Position::at(p, first_row + row);
        cell[l] = Position::cell(p, position[l], 0);
    }
    // The step that is loaded next.
    Step step = {0, 0};
    auto fetch = [&](int stage) {
        if (step.tap < p.taps) {
#pragma unroll
            for (int l = 0; l < LEFT; l++) {
                const u32 row = thread / (STEP / EIGHT) + l * (THREADS / (STEP / EIGHT));
                const u32 channel = step.channel + eight;
                const bool is_valid = cell[l] && channel < p.channels;
                // Nothing is read of an address with no bytes, but it has to be one.
                const E* from = is_valid ? cell[l] + channel : p.left;
                copy_async(&tile.left[stage][row][eight], from, is_valid ? 16 : 0);
            }
#pragma unroll
            for (int l = 0; l < RIGHT; l++) {
                const u32 at = thread + l * THREADS;
                if (at >= COLUMNS * STEP / EIGHT) {
                    continue;
                }
                const u32 across = VALUES ? COLUMNS / EIGHT : STEP / EIGHT;
                const u32 row = at / across, first = at % across * EIGHT;
                const u32 channel = step.channel + (VALUES ? row : first);
                const u32 column = first_column + (VALUES ? first : row);
                const bool is_valid = VALUES ? channel < p.right_valid && column < p.columns
                                          : channel < p.channels && column < p.right_valid;
                // Fewer than 2^32 elements, and few registers are left.
                const u32 from = VALUES ? channel * p.columns + column
                                        : (column * p.taps + step.tap) * p.channels + channel;
                copy_async(&tile.right[stage][row][first], is_valid ? p.right + from : p.right, is_valid ? 16 : 0);
            }
            const u32 tap = step.tap;
            step = next<STEP>(p, step);
            if (step.tap != tap && step.tap < p.taps) {
#pragma unroll
                for (int l = 0; l < LEFT; l++) {
                    cell[l] = Position::cell(p, position[l], step.tap);
                }
            }
        }
        // A group without copies counts too, so that the number to wait for stays the same.
        commit_copies();
    };

    const u32 warp_row = warp / ACROSS * (M * 16), warp_column = warp % ACROSS * (N * 16);
    // Of each matrix of 16 by 16 two of 16 by 8, as `multiply_add` has them.
    float sum[M][N][2][4] = {};
    const u32 steps = p.taps * ((p.channels + STEP - 1) / STEP);
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        fetch(stage);
    }
    for (u32 done = 0; done < steps; done++) {
        await_copies<STAGES - 2>();
        __syncthreads();
        // That stage was read before the barrier.
        fetch((done + STAGES - 1) % STAGES);
        const u32 stage = done % STAGES;
#pragma unroll
        for (int k = 0; k < STEP; k += 16) {
            u32 a[M][4], b[N][4];
#pragma unroll
            for (int m = 0; m < M; m++) {
                // Upper left, lower left, upper right, lower right.
                load_matrices(a[m], &tile.left[stage][warp_row + m * 16 + lane % 16][k + lane / 16 * 8]);
            }
#pragma unroll
            for (int n = 0; n < N; n++) {
                // Registers 0 and 1 are the left eight columns, upper and lower channels.
                const u32 column = warp_column + n * 16 + lane / 16 * 8;
                if (VALUES) {
                    load_transposed(b[n], &tile.right[stage][k + lane % 16][column]);
                } else {
                    load_matrices(b[n], &tile.right[stage][column + lane % 8][k + lane / 8 % 2 * 8]);
                }
            }
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int n = 0; n < N; n++) {
                    multiply_add(sum[m][n][0], a[m], &b[n][0], E());
                    multiply_add(sum[m][n][1], a[m], &b[n][2], E());
                }
            }
        }
    }
    await_copies<0>();
    __syncthreads();
    // By way of the block's memory, so that a thread has eight columns of a row.
    WarpSums& sums = static_cast<WarpSums*>(shared_memory())[warp];
    const u32 g = lane / 4, t = lane % 4;
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int n = 0; n < N; n++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float(&c)[4] = sum[m][n][half];
                sums.at[g][half * 8 + 2 * t] = c[0];
                sums.at[g][half * 8 + 2 * t + 1] = c[1];
                sums.at[g + 8][half * 8 + 2 * t] = c[2];
                sums.at[g + 8][half * 8 + 2 * t + 1] = c[3];
            }
            __syncwarp();
            float eight_sums[EIGHT];
            load(eight_sums, &sums.at[lane / 2][lane % 2 * EIGHT]);
            const u32 row = first_row + warp_row + m * 16 + lane / 2;
            finish(p, row, first_column + warp_column + n * 16 + lane % 2 * EIGHT, eight_sums);
            __syncwarp();
        }
    }
}

KERNEL(product_128, Product, THREADS, 2) { product_half_tile<128, false>(p); }
KERNEL(product_32, Product, THREADS, 2) { product_half_tile<32, false>(p); }
KERNEL(values_128, Product, THREADS, 2) { product_half_tile<128, true>(p); }
KERNEL(values_32, Product, THREADS, 2) { product_half_tile<32, true>(p); }
static_assert(sizeof(TileHalf<128, false>) == SHARED_PRODUCT_128, "the launch gives another size");
static_assert(sizeof(TileHalf<32, false>) == SHARED_PRODUCT_32, "the launch gives another size");
static_assert(sizeof(TileHalf<128, true>) == SHARED_VALUES_128, "the launch gives another size");
static_assert(sizeof(TileHalf<32, true>) == SHARED_VALUES_32, "the launch gives another size");
static_assert(sizeof(WarpSums) * (THREADS / WARP) <= SHARED_PRODUCT_32, "sums do not fit");
static_assert(sizeof(WarpSums) * (THREADS / WARP) <= SHARED_VALUES_32, "sums do not fit");
