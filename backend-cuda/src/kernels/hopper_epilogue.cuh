// A tile of Hopper's product in a block's memory, and the epilogue of its sums.
#pragma once
#include "hopper.cuh"
#include "product.cuh"

struct HopperProduct {
    // The left side as `[cells][channels]`, the right one as `[columns][taps][channels]`.
    TensorMap left, right;
    Product product;
    // Of scores of attention: by row and tile of columns the largest of them, which the others are related to. They
    // are stored as f16.
    float* largest;
};

// Rows are 128 bytes, in which 16 bytes lie where the matrices' layout has them.
template <int TAPS, int COLUMNS>
struct TileHopper {
    static const int ROWS = 256, WIDTH = COLUMNS, STEP = 64;
    // Warps that multiply.
    static const int WARPS = 8;
    // The last taps of the last rows read some more. They come in two boxes, of whole eights of rows.
    static const int CELLS = TAPS == 1 ? ROWS : ROWS + 16, BOX = CELLS / 2;
    // What is kept of each side.
    static const int LEFTS = TAPS == 1 ? 4 : 3, RIGHTS = TAPS == 1 ? 4 : 5;
    E left[LEFTS][CELLS][STEP];
    E right[RIGHTS][COLUMNS][STEP];
    // Of each warp some rows of sums on their way out. They are eight longer, so that banks do not collide.
    float sums[WARPS][8][COLUMNS + 8];
    // Whether a place has been filled, and whether all warps are through with it.
    Barrier left_full[LEFTS], left_free[LEFTS], right_full[RIGHTS], right_free[RIGHTS];
};

const u32 NOWHERE = 0xffffffffu;

// A tile's first row and column.
struct TilePlace {
    u32 row, column;

    template <class Tile>
    DEVICE TilePlace of(const Product& p, u32 tile) {
        // Tiles of the same rows at the same time: these are loaded into the multiprocessors' cache once.
        return {tile / p.column_tiles * Tile::ROWS, tile % p.column_tiles * Tile::WIDTH};
    }
};

// The results of a warp's rows: two matrices of sixteen rows, 64 rows apart.
template <int TAPS, int COLUMNS>
struct WarpResults {
    typedef TileHopper<TAPS, COLUMNS> Tile;
    // Eights of a row, rows that a warp has at once, and how often it has some of eight rows.
    static const u32 ACROSS = COLUMNS / EIGHT, AT_ONCE = WARP / ACROSS, TIMES = (8 + AT_ONCE - 1) / AT_ONCE;
    u32 first_row, column;
    // Where the result of a row goes, for each lane another row: 16 of one matrix, 16 of the other.
    u32 own_place;
    bool is_used;
    // Of the eight columns of this lane.
    float bias[EIGHT];

    DEVICE WarpResults of(const Product& p, TilePlace tile) {
        const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        WarpResults results;
        results.first_row = tile.row + warp / 4 * (Tile::ROWS / 2) + warp % 4 * 16;
        const u32 own_row = results.first_row + lane / 16 * 64 + lane % 16;
        const u32 own_y = own_row / p.in_width, own_x = own_row % p.in_width;
        const bool is_there = own_x < p.width && own_y < p.rows / p.width;
        results.own_place = is_there ? own_y * p.out_row + own_x * p.out_step : NOWHERE;
        results.column = tile.column + lane % ACROSS * EIGHT;
        results.is_used = lane / ACROSS < 8 && results.column < p.columns;
#pragma unroll
        for (int c = 0; c < EIGHT; c++) {
            results.bias[c] = 0;
        }
        if (p.bias && results.column < p.columns) {
            load(results.bias, p.bias + results.column);
        }
        return results;
    }
};

// The residual is read when all products are done, which takes long: it is prefetched into L2 meanwhile.
template <int TAPS, int COLUMNS>
DEVICE void prefetch_residual(const Product& p, const WarpResults<TAPS, COLUMNS>& results) {
    if (!p.residual || results.own_place == NOWHERE) {
        return;
    }
    const u64 first = u64(results.own_place) * p.columns + results.column / COLUMNS * COLUMNS;
    const u32 stored = p.out_f32 ? sizeof(float) : sizeof(E);
    const char* row = static_cast<const char*>(p.residual) + first * stored;
    const u32 bytes = min(u32(COLUMNS), p.columns - results.column / COLUMNS * COLUMNS) * stored;
    for (u32 at = 0; at < bytes; at += 128) {
        prefetch_l2(row + at);
    }
}

// What is added to some eights of results, as it is stored; and where these go.
template <class Result, int TIMES>
struct ResidualRaw {
    static const bool IS_F32 = sizeof(Result) == sizeof(float);
    static const int PARTS = IS_F32 ? 2 : 1;
    Packed parts[TIMES][PARTS];
    float factor[TIMES];
    u32 place[TIMES];
};

// Of eight rows of one of the two matrices, all of it under way at once.
template <class Result, int TAPS, int COLUMNS>
DEVICE ResidualRaw<Result, WarpResults<TAPS, COLUMNS>::TIMES> residual_of(const Product& p,
                                                                   const WarpResults<TAPS, COLUMNS>& results, u32 m,
                                                                   u32 half) {
    typedef WarpResults<TAPS, COLUMNS> Results;
    typedef ResidualRaw<Result, Results::TIMES> Raw;
    Raw raw = {};
    u32 row[Results::TIMES];
#pragma unroll
    for (u32 i = 0; i < Results::TIMES; i++) {
        row[i] = half * 8 + (i * Results::AT_ONCE + threadIdx.x % WARP / Results::ACROSS) % 8;
        const u32 place = lane_value(results.own_place, m * 16 + row[i]);
        raw.place[i] = results.is_used ? place : NOWHERE;
    }
    if (p.residual) {
#pragma unroll
        for (u32 i = 0; i < Results::TIMES; i++) {
            const bool is_there = raw.place[i] != NOWHERE;
            const u64 at = is_there ? u64(raw.place[i]) * p.columns + results.column : 0;
            const Packed* from = reinterpret_cast<const Packed*>(static_cast<const Result*>(p.residual) + at);
#pragma unroll
            for (int part = 0; part < Raw::PARTS; part++) {
                raw.parts[i][part] = from[part];
            }
            // Only sums of attention are worth less than they were.
            raw.factor[i] = Raw::IS_F32 && p.decay && is_there ? p.decay[results.first_row + m * 64 + row[i]] : 1;
        }
    }
    return raw;
}

// Writes a warp's results, of which `Result` is the type. Nothing is multiplied meanwhile and two warps share a
// scheduler, so there are few branches, and what is loaded is under way while sums are exchanged.
template <class Result, int TAPS, int COLUMNS>
DEVICE void finish_as(const Product& p, TileHopper<TAPS, COLUMNS>& memory, const WarpResults<TAPS, COLUMNS>& results,
                      const float (&sum)[2][COLUMNS / 2]) {
    typedef WarpResults<TAPS, COLUMNS> Results;
    const u32 TIMES = Results::TIMES, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const u32 down = lane / Results::ACROSS, within = lane % Results::ACROSS * EIGHT;
    typedef ResidualRaw<Result, TIMES> Raw;
    // By way of the block's memory, so that threads next to each other have eights of a row.
    float(&sums)[8][COLUMNS + 8] = memory.sums[warp];
#pragma unroll
    for (int turn = 0; turn < 4; turn++) {
        const int m = turn / 2, half = turn % 2;
        Raw residual = residual_of<Result>(p, results, m, half);
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; n++) {
            store_pair(&sums[g][n * 8 + 2 * t], sum[m][n * 4 + half * 2], sum[m][n * 4 + half * 2 + 1]);
        }
        __syncwarp();
        float eight_sums[TIMES][EIGHT];
#pragma unroll
        for (u32 i = 0; i < TIMES; i++) {
            load(eight_sums[i], &sums[(i * Results::AT_ONCE + down) % 8][within]);
        }
        // All of them before the first branch.
        pin(eight_sums);
#pragma unroll
        for (u32 i = 0; i < TIMES; i++) {
#pragma unroll
            for (int part = 0; part < Raw::PARTS; part++) {
                keep(residual.parts[i][part].v);
            }
            float added[EIGHT];
#pragma unroll
            for (int part = 0; part < Raw::PARTS; part++) {
                unpack(added + part * EIGHT / Raw::PARTS, residual.parts[i][part], Result());
            }
#pragma unroll
            for (int c = 0; c < EIGHT; c++) {
                eight_sums[i][c] += results.bias[c];
                eight_sums[i][c] += Raw::IS_F32 ? added[c] * residual.factor[i] : added[c];
            }
            if (residual.place[i] != NOWHERE) {
                store(static_cast<Result*>(p.out) + u64(residual.place[i]) * p.columns + results.column, eight_sums[i]);
            }
        }
        __syncwarp();
    }
}

// Scores of a row become what they are below the largest one of this tile: in half precision those that weigh much are
// then exact enough, and those that are far below weigh nothing.
template <int COLUMNS>
DEVICE void relate_scores(const HopperProduct& hopper, TilePlace tile, u32 first_row, float (&sum)[2][COLUMNS / 2]) {
    const Product& p = hopper.product;
    const u32 g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    const u32 valid = min(u32(COLUMNS), p.right_valid - tile.column);
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float largest = LOWEST;
#pragma unroll
            for (int n = 0; n < COLUMNS / 8; n++) {
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const float score = n * 8 + 2 * t + j < valid ? sum[m][n * 4 + half * 2 + j] : LOWEST;
                    largest = fmaxf(largest, score);
                }
            }
            largest = fmaxf(largest, shuffled(largest, 1));
            largest = fmaxf(largest, shuffled(largest, 2));
#pragma unroll
            for (int n = 0; n < COLUMNS / 8; n++) {
                sum[m][n * 4 + half * 2] -= largest;
                sum[m][n * 4 + half * 2 + 1] -= largest;
            }
            const u32 row = first_row + m * 64 + half * 8 + g;
            if (t == 0 && row < p.rows) {
                hopper.largest[u64(row) * p.column_tiles + tile.column / COLUMNS] = largest;
            }
        }
    }
}
