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

// An asynchronous copy that has not arrived.
struct StandInCopy {
    void* to;
    const void* from;
    unsigned bytes, group;
};

// A thread of a kernel.
struct StandInLane {
    StandInIndex thread, block, block_size, grid_size;
    void* shared;
    StandInWarp* warps;
    unsigned collectives;
    unsigned groups, copy_count;
    StandInCopy copies[64];
};

extern "C" {
extern thread_local StandInLane* stand_in_lane;
// Both return when all threads of the block, or lanes of the warp, that have not ended have come.
void stand_in_block_barrier();
void stand_in_warp_barrier();
void stand_in_copy(void* to, const void* from, unsigned bytes);
void stand_in_commit();
void stand_in_await(unsigned groups);
}
