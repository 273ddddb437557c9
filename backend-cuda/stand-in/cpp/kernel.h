// Included before every kernel: CUDA's words for a CPU.
#pragma once
#include "stand_in.h"

#include <cmath>

#define __align__(n) __attribute__((aligned(n)))
#define threadIdx (stand_in_lane->thread)
#define blockIdx (stand_in_lane->block)
#define blockDim (stand_in_lane->block_size)
#define gridDim (stand_in_lane->grid_size)

static inline void* stand_in_shared() { return stand_in_lane->shared; }

// Two take turns: a lane that is one operation ahead does not overwrite what others still read, and
// none can be two ahead.
static inline StandInWarp& stand_in_exchange() {
    StandInLane* lane = stand_in_lane;
    return lane->warps[lane->collectives++ % 2];
}

static inline void __syncthreads() { stand_in_block_barrier(); }
static inline void __syncwarp() { stand_in_warp_barrier(); }

template <class T>
static inline T min(T a, T b) {
    return b < a ? b : a;
}

// Rounded by themselves: a compiler that inlines them may make one operation of two.
__attribute__((noinline, unused)) static double __dadd_rn(double a, double b) { return a + b; }
__attribute__((noinline, unused)) static double __dsub_rn(double a, double b) { return a - b; }
__attribute__((noinline, unused)) static double __dmul_rn(double a, double b) { return a * b; }
