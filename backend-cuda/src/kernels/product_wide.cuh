// The product on Hopper's tensor cores, where four warps multiply matrices that lie in the block's memory.
//
// It does what reads a window of cells that are all there: a staged input, or rows of a plain matrix. Outputs
// are counted along the rows of that window, as long as they are, so that a tap is nothing but a number of
// cells further on: 256 outputs need 256 cells for the first tap of a row, and for the next tap the same but
// one. They are brought once for all taps of a row, which is what lets the block's memory keep up. Outputs
// that are counted beyond the end of a row are multiplied in vain.
//
// One thread brings both sides, some steps ahead, and eight warps multiply them. A block makes tile after tile.
#pragma once
#include "hopper.cuh"
#include "product.cuh"

struct Wide {
    // The left side as `[cells][channels]`, the right one as `[columns][taps][channels]`.
    TensorMap left, right;
    Product product;
};

// Rows are 128 bytes, in which 16 bytes lie where the matrices' layout has them.
template <int TAPS, int COLUMNS>
struct TileWide {
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
        // Tiles of the same rows at the same time: these are brought to the multiprocessors' cache once.
        return {tile / p.column_tiles * Tile::ROWS, tile % p.column_tiles * Tile::WIDTH};
    }
};

// A place among some that are filled and used in turn, and how often all of them were, modulo two.
template <u32 PLACES>
struct Ring {
    u32 at, parity;

    DEVICE void advance(Ring& ring) {
        ring.at = ring.at + 1 == PLACES ? 0 : ring.at + 1;
        ring.parity ^= ring.at == 0;
    }
};

// Rows of taps; then channels; then taps of a row.
template <int TAPS, int COLUMNS>
DEVICE void bring(const Wide& wide, TileWide<TAPS, COLUMNS>& memory) {
    typedef TileWide<TAPS, COLUMNS> Tile;
    const Product& p = wide.product;
    Ring<Tile::LEFTS> left = {0, 0};
    Ring<Tile::RIGHTS> right = {0, 0};
    for (u32 tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const TilePlace place = TilePlace::of<Tile>(p, tile);
        for (u32 row = 0; row * TAPS < p.taps; row++) {
            const u32 cell = (p.offset_y + row) * p.in_width + p.offset_x + place.row;
            for (u32 channel = 0; channel < p.channels; channel += Tile::STEP) {
                await_phase(memory.left_free[left.at], left.parity ^ 1);
                Barrier& left_full = memory.left_full[left.at];
                arrive_expecting(left_full, sizeof memory.left[0]);
                bring_box(&memory.left[left.at][0], wide.left, left_full, channel, cell);
                bring_box(&memory.left[left.at][Tile::BOX], wide.left, left_full, channel, cell + Tile::BOX);
                Ring<Tile::LEFTS>::advance(left);
                for (u32 tap = row * TAPS; tap < (row + 1) * TAPS; tap++) {
                    await_phase(memory.right_free[right.at], right.parity ^ 1);
                    Barrier& right_full = memory.right_full[right.at];
                    arrive_expecting(right_full, sizeof memory.right[0]);
                    bring_box(&memory.right[right.at], wide.right, right_full, channel, tap, place.column);
                    Ring<Tile::RIGHTS>::advance(right);
                }
            }
        }
    }
}

// The results of a warp's rows: two matrices of sixteen rows, 64 rows apart.
template <int TAPS, int COLUMNS>
struct WarpResults {
    typedef TileWide<TAPS, COLUMNS> Tile;
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

// What is added will be read when all products are done, which takes long: it is brought near meanwhile.
template <int TAPS, int COLUMNS>
DEVICE void expect_there(const Product& p, const WarpResults<TAPS, COLUMNS>& results) {
    if (!p.there || results.own_place == NOWHERE) {
        return;
    }
    const u64 first = u64(results.own_place) * p.columns + results.column / COLUMNS * COLUMNS;
    const u32 stored = p.out_f32 ? sizeof(float) : sizeof(E);
    const char* row = static_cast<const char*>(p.there) + first * stored;
    const u32 bytes = min(u32(COLUMNS), p.columns - results.column / COLUMNS * COLUMNS) * stored;
    for (u32 at = 0; at < bytes; at += 128) {
        bring_near(row + at);
    }
}

// What is added to some eights of results, as it is stored; and where these go.
template <class Result, int TIMES>
struct ThereRaw {
    static const bool IS_F32 = sizeof(Result) == sizeof(float);
    static const int PARTS = IS_F32 ? 2 : 1;
    Packed parts[TIMES][PARTS];
    float factor[TIMES];
    u32 place[TIMES];
};

// Of eight rows of one of the two matrices, all of it under way at once.
template <class Result, int TAPS, int COLUMNS>
DEVICE ThereRaw<Result, WarpResults<TAPS, COLUMNS>::TIMES> there_of(const Product& p,
                                                                   const WarpResults<TAPS, COLUMNS>& results, u32 m,
                                                                   u32 half) {
    typedef WarpResults<TAPS, COLUMNS> Results;
    typedef ThereRaw<Result, Results::TIMES> Raw;
    Raw raw = {};
    u32 row[Results::TIMES];
#pragma unroll
    for (u32 i = 0; i < Results::TIMES; i++) {
        row[i] = half * 8 + (i * Results::AT_ONCE + threadIdx.x % WARP / Results::ACROSS) % 8;
        const u32 place = lane_value(results.own_place, m * 16 + row[i]);
        raw.place[i] = results.is_used ? place : NOWHERE;
    }
    if (p.there) {
#pragma unroll
        for (u32 i = 0; i < Results::TIMES; i++) {
            const bool is_there = raw.place[i] != NOWHERE;
            const u64 at = is_there ? u64(raw.place[i]) * p.columns + results.column : 0;
            const Packed* from = reinterpret_cast<const Packed*>(static_cast<const Result*>(p.there) + at);
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
DEVICE void finish_as(const Product& p, TileWide<TAPS, COLUMNS>& memory, const WarpResults<TAPS, COLUMNS>& results,
                      const float (&sum)[2][COLUMNS / 2]) {
    typedef WarpResults<TAPS, COLUMNS> Results;
    const u32 TIMES = Results::TIMES, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const u32 down = lane / Results::ACROSS, within = lane % Results::ACROSS * EIGHT;
    typedef ThereRaw<Result, TIMES> Raw;
    // By way of the block's memory, so that threads next to each other have eights of a row.
    float(&sums)[8][COLUMNS + 8] = memory.sums[warp];
#pragma unroll
    for (int turn = 0; turn < 4; turn++) {
        const int m = turn / 2, half = turn % 2;
        Raw there = there_of<Result>(p, results, m, half);
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
                keep(there.parts[i][part].v);
            }
            float added[EIGHT];
#pragma unroll
            for (int part = 0; part < Raw::PARTS; part++) {
                unpack(added + part * EIGHT / Raw::PARTS, there.parts[i][part], Result());
            }
#pragma unroll
            for (int c = 0; c < EIGHT; c++) {
                eight_sums[i][c] += results.bias[c];
                eight_sums[i][c] += Raw::IS_F32 ? added[c] * there.factor[i] : added[c];
            }
            if (there.place[i] != NOWHERE) {
                store(static_cast<Result*>(p.out) + u64(there.place[i]) * p.columns + results.column, eight_sums[i]);
            }
        }
        __syncwarp();
    }
}

template <int TAPS, int COLUMNS>
DEVICE void multiply(const Product& p, TileWide<TAPS, COLUMNS>& memory) {
    typedef TileWide<TAPS, COLUMNS> Tile;
    typedef WarpResults<TAPS, COLUMNS> Results;
    const bool is_first_lane = threadIdx.x % WARP == 0;
    // Four warps have half of the rows: two matrices of 64. That it is the same for all lanes the compiler
    // does not see by itself.
    const u32 first = lane_value(threadIdx.x / WARP / 4, 0) * (Tile::ROWS / 2);
    const u32 steps = p.taps * ((p.channels + Tile::STEP - 1) / Tile::STEP);
    Ring<Tile::LEFTS> left = {0, 0};
    Ring<Tile::RIGHTS> right = {0, 0};
    for (u32 tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const Results results = Results::of(p, TilePlace::of<Tile>(p, tile));
        expect_there(p, results);
        float sum[2][COLUMNS / 2] = {};
        u32 tap = 0, left_before = 0, right_before = 0;
#pragma unroll 1
        for (u32 done = 0; done < steps; done++) {
            // Of the taps of a row only the first has to wait, but that would be a branch.
            await_phase(memory.left_full[left.at], left.parity);
            await_phase(memory.right_full[right.at], right.parity);
            const Matrix from_left = matrix_at(&memory.left[left.at][first + tap][0]);
            const Matrix from_right = matrix_at(&memory.right[right.at][0][0]);
            begin_matrices(sum);
#pragma unroll
            for (u32 part = 0; part < Tile::STEP / 16; part++) {
#pragma unroll
                for (u32 m = 0; m < 2; m++) {
                    const u32 bytes = m * 64 * Tile::STEP * sizeof(E) + part * 16 * sizeof(E);
                    multiply_matrices(sum[m], further(from_left, bytes), further(from_right, part * 16 * sizeof(E)), E());
                }
            }
            commit_matrices();
            // The step before is done.
            await_matrices<1>(sum);
            arrive_if(is_first_lane && done > 0, memory.right_free[right_before]);
            arrive_if(is_first_lane && done > 0 && tap == 0, memory.left_free[left_before]);
            right_before = right.at;
            Ring<Tile::RIGHTS>::advance(right);
            tap++;
            if (tap == TAPS) {
                tap = 0;
                left_before = left.at;
                Ring<Tile::LEFTS>::advance(left);
            }
        }
        await_matrices<0>(sum);
        arrive_if(is_first_lane, memory.right_free[right_before]);
        arrive_if(is_first_lane, memory.left_free[left_before]);
        if (p.out_f32) {
            finish_as<float, TAPS, COLUMNS>(p, memory, results, sum);
        } else {
            finish_as<E, TAPS, COLUMNS>(p, memory, results, sum);
        }
    }
}

template <int TAPS, int COLUMNS>
DEVICE void product_wide(const Wide& wide) {
    typedef TileWide<TAPS, COLUMNS> Tile;
    Tile& memory = *static_cast<Tile*>(shared_memory());
    if (threadIdx.x == 0) {
        for (int at = 0; at < Tile::LEFTS; at++) {
            make_barrier(memory.left_full[at], 1);
            make_barrier(memory.left_free[at], Tile::WARPS);
        }
        for (int at = 0; at < Tile::RIGHTS; at++) {
            make_barrier(memory.right_full[at], 1);
            make_barrier(memory.right_free[at], Tile::WARPS);
        }
        show_barriers();
    }
    __syncthreads();
    // Sums of many columns need more registers than a thread is launched with.
    if (threadIdx.x < Tile::WARPS * WARP) {
        if (COLUMNS > 8) {
            take_registers<232>();
        }
        multiply<TAPS, COLUMNS>(wide.product, memory);
    } else {
        if (COLUMNS > 8) {
            leave_registers<40>();
        }
        if (threadIdx.x == Tile::WARPS * WARP) {
            bring<TAPS, COLUMNS>(wide, memory);
        }
    }
}

KERNEL(narrow_3, Wide, THREADS_WIDE, 2) { product_wide<3, 8>(p); }
KERNEL(wide_1, Wide, THREADS_WIDE, 1) { product_wide<1, 128>(p); }
KERNEL(wide_2, Wide, THREADS_WIDE, 1) { product_wide<2, 128>(p); }
KERNEL(wide_3, Wide, THREADS_WIDE, 1) { product_wide<3, 128>(p); }
static_assert(sizeof(TileWide<3, 8>) == SHARED_NARROW_3, "the launch gives another size");
static_assert(sizeof(TileWide<1, 128>) == SHARED_WIDE_1, "the launch gives another size");
static_assert(sizeof(TileWide<2, 128>) == SHARED_WIDE_2, "the launch gives another size");
static_assert(sizeof(TileWide<3, 128>) == SHARED_WIDE_3, "the launch gives another size");
