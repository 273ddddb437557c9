// The product on Hopper's tensor cores, where four warps multiply matrices that lie in the block's memory.
//
// It does what reads a window of cells that are all there: a staged input, or rows of a plain matrix. Outputs
// are counted along the rows of that window, as long as they are, so that a tap is nothing but a number of
// cells further on: 256 outputs need 256 cells for the first tap of a row, and for the next tap the same but
// one. They are loaded once for all taps of a row, which is what lets the block's memory keep up. Outputs
// that are counted beyond the end of a row are multiplied in vain.
//
// One thread loads both sides by TMA, some steps ahead, and eight warps multiply them. A block makes tile after tile.
#pragma once
#include "hopper_epilogue.cuh"

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
DEVICE void load_tiles(const HopperProduct& hopper, TileHopper<TAPS, COLUMNS>& memory) {
    typedef TileHopper<TAPS, COLUMNS> Tile;
    const Product& p = hopper.product;
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
                tma_load(&memory.left[left.at][0], hopper.left, left_full, channel, cell);
                tma_load(&memory.left[left.at][Tile::BOX], hopper.left, left_full, channel, cell + Tile::BOX);
                Ring<Tile::LEFTS>::advance(left);
                for (u32 tap = row * TAPS; tap < (row + 1) * TAPS; tap++) {
                    await_phase(memory.right_free[right.at], right.parity ^ 1);
                    Barrier& right_full = memory.right_full[right.at];
                    arrive_expecting(right_full, sizeof memory.right[0]);
                    tma_load(&memory.right[right.at], hopper.right, right_full, channel, tap, place.column);
                    Ring<Tile::RIGHTS>::advance(right);
                }
            }
        }
    }
}

template <int TAPS, int COLUMNS, bool ARE_SCORES>
DEVICE void multiply(const HopperProduct& hopper, TileHopper<TAPS, COLUMNS>& memory) {
    const Product& p = hopper.product;
    typedef TileHopper<TAPS, COLUMNS> Tile;
    typedef WarpResults<TAPS, COLUMNS> Results;
    const bool is_first_lane = threadIdx.x % WARP == 0;
    // Four warps have half of the rows: two matrices of 64. That it is the same for all lanes the compiler
    // does not see by itself.
    const u32 first = lane_value(threadIdx.x / WARP / 4, 0) * (Tile::ROWS / 2);
    const u32 steps = p.taps * ((p.channels + Tile::STEP - 1) / Tile::STEP);
    Ring<Tile::LEFTS> left = {0, 0};
    Ring<Tile::RIGHTS> right = {0, 0};
    for (u32 tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const TilePlace place = TilePlace::of<Tile>(p, tile);
        const Results results = Results::of(p, place);
        prefetch_residual(p, results);
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
        if (ARE_SCORES) {
            relate_scores<COLUMNS>(hopper, place, results.first_row, sum);
            finish_as<F16, TAPS, COLUMNS>(p, memory, results, sum);
        } else if (p.out_f32) {
            finish_as<float, TAPS, COLUMNS>(p, memory, results, sum);
        } else {
            finish_as<E, TAPS, COLUMNS>(p, memory, results, sum);
        }
    }
}

template <int TAPS, int COLUMNS, bool ARE_SCORES = false>
DEVICE void product_hopper(const HopperProduct& hopper) {
    typedef TileHopper<TAPS, COLUMNS> Tile;
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
        multiply<TAPS, COLUMNS, ARE_SCORES>(hopper, memory);
    } else {
        if (COLUMNS > 8) {
            leave_registers<40>();
        }
        if (threadIdx.x == Tile::WARPS * WARP) {
            load_tiles<TAPS, COLUMNS>(hopper, memory);
        }
    }
}

KERNEL(narrow_3, HopperProduct, THREADS_HOPPER, 2) { product_hopper<3, 8>(p); }
KERNEL(scores, HopperProduct, THREADS_HOPPER, 1) { product_hopper<1, 128, true>(p); }
KERNEL(hopper_1, HopperProduct, THREADS_HOPPER, 1) { product_hopper<1, 128>(p); }
KERNEL(hopper_2, HopperProduct, THREADS_HOPPER, 1) { product_hopper<2, 128>(p); }
KERNEL(hopper_3, HopperProduct, THREADS_HOPPER, 1) { product_hopper<3, 128>(p); }
static_assert(sizeof(TileHopper<3, 8>) == SHARED_NARROW_3, "the launch gives another size");
static_assert(sizeof(TileHopper<1, 128>) == SHARED_HOPPER_1, "the launch gives another size");
static_assert(sizeof(TileHopper<2, 128>) == SHARED_HOPPER_2, "the launch gives another size");
static_assert(sizeof(TileHopper<3, 128>) == SHARED_HOPPER_3, "the launch gives another size");
