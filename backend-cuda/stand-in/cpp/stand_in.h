// What kernels that run on a CPU and the stand-in for the driver have in common.
#pragma once
#include <cstddef>
#include <cstdint>

struct StandInIndex {
    unsigned x, y, z;
};

// What the lanes of a warp hand each other in one collective operation.
struct StandInWarp {
    const uint16_t* rows[32];
    float values[32];
    // The left side by rows and the right side by columns.
    float a[16][16];
    float b[8][16];
};

// An asynchronous copy that no thread has waited for.
struct StandInCopy {
    void* to;
    const void* from;
    unsigned bytes, group;
    bool has_arrived;
};

// A product of matrices in the block's memory that is not done yet.
struct StandInProduct {
    void (*run)(float* sum, unsigned long long left, unsigned long long right);
    float* sum;
    unsigned long long left, right;
    unsigned group;
};

// A thread of a kernel.
struct StandInLane {
    StandInIndex thread, block, block_size, grid_size;
    void* shared;
    StandInWarp* warps;
    unsigned collectives;
    unsigned groups, copy_count;
    StandInCopy copies[64];
    // Whether barriers were made that are not visible to TMA loads yet.
    bool unseen;
    unsigned product_groups, product_count;
    StandInProduct products[64];
};

extern "C" {
extern thread_local StandInLane* stand_in_lane;
// Both return when all threads of the block, or lanes of the warp, that have not ended have come.
void stand_in_block_barrier();
void stand_in_warp_barrier();
void stand_in_copy(void* to, const void* from, unsigned bytes);
void stand_in_commit();
void stand_in_await(unsigned groups);
// Barriers in the block's memory, where all threads of the block see them, and boxes that are loaded there. A
// map is what the driver wrote.
void stand_in_make_barrier(void* barrier, unsigned arrivals);
void stand_in_show();
void stand_in_arrive(void* barrier, unsigned bytes);
void stand_in_await_phase(void* barrier, unsigned parity);
void stand_in_tma_load(void* to, const void* map, void* barrier, int x, int y, int z);
void stand_in_product(void (*run)(float*, unsigned long long, unsigned long long), float* sum,
                      unsigned long long left, unsigned long long right);
void stand_in_commit_products();
void stand_in_await_products(unsigned groups);
}
