// The threads of a block, as fibers of one thread of the process.
#pragma once
#include <cstdint>

struct Launch {
    void (*kernel)(void**);
    void** arguments;
    unsigned grid[3], block[3];
    unsigned shared_bytes;
    const char* name;
    uint64_t seed;
};

// Runs all blocks. Between two barriers threads run in an order that depends on the seed, so that a
// missing barrier shows.
void run_blocks(const Launch& launch);
