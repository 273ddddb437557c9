// The state of the block that a thread of the process runs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "stand_in.h"
#include "tensor_map.h"
#include "threads.h"

#ifndef __x86_64__
#include <ucontext.h>
#endif

const size_t STACK_BYTES = 64 << 10;
const size_t SHARED_BYTES = 256 << 10;
const unsigned WARP = 32;

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, AT_PHASE, DONE };

// As it lies in the block's memory.
struct Barrier {
    uint16_t arrivals, awaited;
    uint32_t parity : 1;
    int32_t bytes : 31;
};
static_assert(sizeof(Barrier) == 8, "kernels give it eight bytes");

// A box on its way.
struct Box {
    TensorMap map;
    char* to;
    Barrier* barrier;
    int64_t first[3];
};

struct Fiber {
    StandInLane lane;
    State state;
#ifdef __x86_64__
    void* at;
#else
    ucontext_t at;
#endif
};

struct Machine {
    std::vector<Fiber> fibers;
    std::vector<StandInWarp> warps;
    char* stacks = nullptr;
    size_t stack_count = 0;
    char* shared_end;
    const Launch* launch = nullptr;
    unsigned current = 0;
    uint64_t random = 0;
    std::vector<Box> boxes;
    // Whether anything has happened that others may wait for.
    bool moved = false;
#ifdef __x86_64__
    void* main = nullptr;
#else
    ucontext_t main;
#endif

    Machine() {
        // A page that cannot be touched lies behind the block's memory.
        size_t page = sysconf(_SC_PAGESIZE);
        char* shared = static_cast<char*>(mmap(nullptr, SHARED_BYTES + page, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        shared_end = shared + SHARED_BYTES;
        mprotect(shared_end, page, PROT_NONE);
    }

    uint64_t next_random() {
        random += 0x9e3779b97f4a7c15;
        uint64_t z = random;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    void prepare(unsigned threads);
    void enter(unsigned thread);
    void leave();
    void begin(unsigned thread);
    void run_warp(unsigned first, unsigned end);
    void run_block();
    void arrive(Barrier& barrier, unsigned arrivals, unsigned bytes);
    void load_one();
    [[noreturn]] void stuck(const char* why);
};

// Never freed: a pointer needs no guard at each access.
extern thread_local Machine* machine;
