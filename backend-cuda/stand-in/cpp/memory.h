// The memory of the stand-in's devices.
#pragma once
#include <cstddef>

// Gives memory, or null if there is no room. Pages that cannot be touched lie around it, and what it
// holds is no number.
void* allocate(size_t bytes);
bool release(void* memory);
// Whether those bytes lie in one allocation.
bool holds(const void* memory, size_t bytes);

size_t total_bytes();
size_t free_bytes();
size_t reserved_bytes();
// Forgets what was reserved and is not used.
void trim();
