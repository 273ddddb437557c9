// The product on Hopper's tensor cores, where four warps multiply matrices that lie in the block's memory.
//
// It does what reads a window of cells that are all there: a staged input, or rows of a plain matrix. Outputs
// are counted along the rows of that window, as long as they are, so that a tap is nothing but a number of
// cells further on: 256 outputs need 256 cells for the first tap of a row, and for the next tap the same but
// one. They are brought once for all taps of a row, which is what lets the block's memory keep up. Outputs
// that are counted beyond the end of a row are multiplied in vain.
#pragma once
#include "product.cuh"

// Rows are 128 bytes, in which 16 bytes lie at the place that `swizzled` says, as the matrices' layout has it.
template <int TAPS, int COLUMNS>
struct TileWide {
    static const int ROWS = 256, WIDTH = COLUMNS, STEP = 64;
    // Steps that are under way, and what is kept of each side: what is under way, what is multiplied, and
    // what was multiplied before, to which a warp may still be listening.
    static const int AHEAD = TAPS == 1 ? 2 : 3, LEFTS = TAPS == 1 ? 4 : 3, RIGHTS = AHEAD + 2;
    E left[LEFTS][ROWS + (TAPS == 1 ? 0 : 8)][STEP];
    E right[RIGHTS][COLUMNS][STEP];
    // Of each warp some rows of sums on their way out. They are eight longer, so that banks do not collide.
    float sums[THREADS / WARP][8][COLUMNS + 8];
};

const u32 NOWHERE = 0xffffffffu;

// Where 16 bytes of a row lie.
DEVICE u32 swizzled(u32 row, u32 at) { return at ^ row % 8; }

// A tile's first row and column.
struct TilePlace {
    u32 row, column;

    template <class Tile>
    DEVICE TilePlace of(const Product& p, u32 tile) {
        // Tiles of the same rows at the same time: these are brought to the multiprocessors' cache once.
        return {tile / p.column_tiles * Tile::ROWS, tile % p.column_tiles * Tile::WIDTH};
    }
};

// What a block brings to its memory next. It is some steps ahead of what is multiplied, also where the one is
// at the end of a tile and the other at the beginning of the next.
struct Bringing {
    u32 tile, tap, tap_x, channel, left_at, right_at;
    TilePlace place;
};

// What a thread brings in one step: of each 32nd row the same eight.
template <int TAPS, int COLUMNS>
struct Copies {
    typedef TileWide<TAPS, COLUMNS> Tile;
    static const u32 EIGHTS = Tile::STEP / EIGHT, AT_ONCE = THREADS / EIGHTS, BYTES = Tile::STEP * sizeof(E);
    // In this many parts, so that products are begun in between.
    static const u32 PARTS = Tile::STEP / 16;

    const E* left;
    const E* right;
    u32 to_left, to_right;
    // The first row's cell and column.
    u32 cell, column;
    bool is_any, has_left, has_channel;
};

template <int TAPS, int COLUMNS>
DEVICE Copies<TAPS, COLUMNS> copies_of(const Product& p, const Bringing& next, TileWide<TAPS, COLUMNS>& memory) {
    typedef Copies<TAPS, COLUMNS> Copies;
    const u32 row = threadIdx.x / Copies::EIGHTS, eight = threadIdx.x % Copies::EIGHTS;
    const u32 channel = next.channel + eight * EIGHT, within = row * Copies::BYTES + swizzled(row, eight) * 16;
    Copies copies;
    copies.is_any = next.tile < p.tiles;
    // The left side serves all taps of a row.
    copies.has_left = copies.is_any && next.tap_x == 0;
    copies.has_channel = channel < p.channels;
    copies.cell = (p.offset_y + next.tap) * p.in_width + p.offset_x + next.place.row + row;
    copies.column = next.place.column + row;
    copies.left = p.left + u64(copies.cell) * p.channels + channel;
    const u32 tap = next.tap * TAPS + next.tap_x;
    copies.right = p.right + (u64(copies.column) * p.taps + tap) * p.channels + channel;
    copies.to_left = shared_address(&memory.left[next.left_at]) + within;
    copies.to_right = shared_address(&memory.right[next.right_at]) + within;
    return copies;
}

// Where zeros are nothing is read. There are no branches: the compiler would wait for products at each of them.
template <int TAPS, int COLUMNS>
DEVICE void bring_part(const Product& p, const Copies<TAPS, COLUMNS>& copies, u32 part) {
    typedef Copies<TAPS, COLUMNS> Copies;
    const u32 AT_ONCE = Copies::AT_ONCE, BYTES = Copies::BYTES, row = threadIdx.x / Copies::EIGHTS;
    auto bring_left = [&](bool is_brought, u32 further) {
        const bool is_there = copies.has_channel && copies.cell + further < p.in_rows * p.in_width;
        copy_async_if(is_brought, copies.to_left + further * BYTES, copies.left + u64(further) * p.channels,
                      is_there ? 16 : 0);
    };
    const u32 rows = Copies::Tile::ROWS / AT_ONCE / Copies::PARTS;
#pragma unroll
    for (u32 l = 0; l < rows; l++) {
        bring_left(copies.has_left, (part * rows + l) * AT_ONCE);
    }
    if (TAPS > 1 && part == 0) {
        // What the last taps of the last rows read.
        bring_left(copies.has_left && row < TAPS - 1, Copies::Tile::ROWS);
    }
    const u32 further = part * AT_ONCE;
    if (further < COLUMNS) {
        const bool is_there = copies.has_channel && copies.column + further < p.right_there;
        copy_async_if(copies.is_any && further + row < COLUMNS, copies.to_right + further * BYTES,
                      copies.right + u64(further) * p.taps * p.channels, is_there ? 16 : 0);
    }
}

// Taps of a row; then channels; then rows of taps; then tiles.
template <int TAPS, int COLUMNS>
DEVICE void advance(const Product& p, Bringing& next) {
    typedef TileWide<TAPS, COLUMNS> Tile;
    next.right_at = next.right_at + 1 == Tile::RIGHTS ? 0 : next.right_at + 1;
    if (next.tap_x == 0) {
        next.left_at = next.left_at + 1 == Tile::LEFTS ? 0 : next.left_at + 1;
    }
    next.tap_x++;
    if (next.tap_x < TAPS) {
        return;
    }
    next.tap_x = 0;
    next.channel += Tile::STEP;
    if (next.channel < p.channels) {
        return;
    }
    next.channel = 0;
    next.tap++;
    if (next.tap * TAPS < p.taps) {
        return;
    }
    next.tap = 0;
    next.tile += gridDim.x;
    next.place = TilePlace::of<Tile>(p, next.tile);
}

// Results of a warp: two matrices of sixteen rows, 64 rows apart.
template <int TAPS, int COLUMNS>
DEVICE void finish_wide(const Product& p, TileWide<TAPS, COLUMNS>& memory, TilePlace tile, float (&sum)[2][COLUMNS / 2]) {
    typedef TileWide<TAPS, COLUMNS> Tile;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 first_row = tile.row + warp / 4 * (Tile::ROWS / 2) + warp % 4 * 16;
    // The position of the result of a row, for each lane another row: 16 of one matrix, 16 of the other.
    const u32 own_row = first_row + lane / 16 * 64 + lane % 16;
    const u32 own_y = own_row / p.in_width, own_x = own_row % p.in_width;
    const bool is_there = own_x < p.width && own_y < p.rows / p.width;
    const u32 own_place = is_there ? own_y * p.out_row + own_x * p.out_step : NOWHERE;

    // By way of the block's memory, so that threads next to each other have eights of a row.
    float(&sums)[8][COLUMNS + 8] = memory.sums[warp];
    const u32 across = COLUMNS / EIGHT, g = lane / 4, t = lane % 4;
    // Rows that a warp has at once, and how often it has some.
    const u32 at_once = WARP / across, times = (8 + at_once - 1) / at_once;
    const u32 column = lane % across * EIGHT;
    const bool is_used = lane / across < 8 && tile.column + column < p.columns;
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
#pragma unroll
            for (int n = 0; n < COLUMNS / 8; n++) {
                store_pair(&sums[g][n * 8 + 2 * t], sum[m][n * 4 + half * 2], sum[m][n * 4 + half * 2 + 1]);
            }
            __syncwarp();
            // All that has to be waited for at once.
            Added<EIGHT> added[times];
            u32 places[times];
#pragma unroll
            for (u32 i = 0; i < times; i++) {
                const u32 down = i * at_once + lane / across;
                places[i] = lane_value(own_place, m * 16 + half * 8 + down % 8);
                if (places[i] != NOWHERE && is_used) {
                    added[i] = added_at<EIGHT>(p, places[i], first_row + m * 64 + half * 8 + down, tile.column + column);
                }
            }
#pragma unroll
            for (u32 i = 0; i < times; i++) {
                if (places[i] != NOWHERE && is_used) {
                    float eight_sums[EIGHT];
                    load(eight_sums, &sums[i * at_once + lane / across][column]);
                    finish_at(p, places[i], tile.column + column, eight_sums, added[i]);
                }
            }
            __syncwarp();
        }
    }
}

template <int TAPS, int COLUMNS>
DEVICE void product_wide(const Product& p) {
    typedef TileWide<TAPS, COLUMNS> Tile;
    typedef Copies<TAPS, COLUMNS> Copies;
    Tile& memory = *static_cast<Tile*>(shared_memory());
    Bringing next = {blockIdx.x, 0, 0, 0, 0, 0, TilePlace::of<Tile>(p, blockIdx.x)};
    Copies copies = copies_of(p, next, memory);
#pragma unroll 1
    for (int ahead = 0; ahead < Tile::AHEAD; ahead++) {
#pragma unroll
        for (u32 part = 0; part < Copies::PARTS; part++) {
            bring_part(p, copies, part);
        }
        commit_copies();
        advance<TAPS, COLUMNS>(p, next);
        copies = copies_of(p, next, memory);
    }
    // Four warps have half of the rows: two matrices of 64. That it is the same for all lanes the compiler
    // does not see by itself.
    const u32 first = lane_value(threadIdx.x / WARP / 4, 0) * (Tile::ROWS / 2);
    const u32 steps = p.taps * ((p.channels + Tile::STEP - 1) / Tile::STEP);
    u32 tap = 0, left_at = 0, right_at = 0;
    for (u32 tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        float sum[2][COLUMNS / 2] = {};
#pragma unroll 1
        for (u32 done = 0; done < steps; done++) {
            await_copies<Tile::AHEAD - 1>();
            show_to_matrices();
            __syncthreads();
            const Matrix left = matrix_at(&memory.left[left_at][first + tap][0]);
            const Matrix right = matrix_at(&memory.right[right_at][0][0]);
            // A warp waits until its products are taken in, so copies are begun meanwhile: into memory that all
            // warps had left before the barrier.
            begin_matrices(sum);
#pragma unroll
            for (u32 part = 0; part < Copies::PARTS; part++) {
                const Matrix from_right = further(right, part * 16 * sizeof(E));
#pragma unroll
                for (int m = 0; m < 2; m++) {
                    const u32 bytes = m * 64 * Copies::BYTES + part * 16 * sizeof(E);
                    multiply_matrices(sum[m], further(left, bytes), from_right, E());
                }
                bring_part(p, copies, part);
            }
            commit_matrices();
            // Also where nothing was copied, so that the number to wait for stays the same.
            commit_copies();
            advance<TAPS, COLUMNS>(p, next);
            copies = copies_of(p, next, memory);
            right_at = right_at + 1 == Tile::RIGHTS ? 0 : right_at + 1;
            tap++;
            if (tap == TAPS) {
                tap = 0;
                left_at = left_at + 1 == Tile::LEFTS ? 0 : left_at + 1;
            }
            await_matrices<1>(sum);
        }
        await_matrices<0>(sum);
        finish_wide<TAPS, COLUMNS>(p, memory, TilePlace::of<Tile>(p, tile), sum);
    }
    await_copies<0>();
}

KERNEL(narrow_3, Product, THREADS, 2) { product_wide<3, 8>(p); }
KERNEL(wide_1, Product, THREADS, 1) { product_wide<1, 128>(p); }
KERNEL(wide_2, Product, THREADS, 1) { product_wide<2, 128>(p); }
KERNEL(wide_3, Product, THREADS, 1) { product_wide<3, 128>(p); }
static_assert(sizeof(TileWide<3, 8>) == SHARED_NARROW_3, "the launch gives another size");
static_assert(sizeof(TileWide<1, 128>) == SHARED_WIDE_1, "the launch gives another size");
static_assert(sizeof(TileWide<2, 128>) == SHARED_WIDE_2, "the launch gives another size");
static_assert(sizeof(TileWide<3, 128>) == SHARED_WIDE_3, "the launch gives another size");
