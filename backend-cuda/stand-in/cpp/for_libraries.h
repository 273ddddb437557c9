// What the stand-ins for NCCL and cuDNN ask of the one for the driver.
#pragma once
#include <cstddef>

extern "C" {
// Queues work that may wait in a stream.
void stand_in_enqueue(void* stream, void (*work)(void*), void* argument);
// The device that this thread's calls are for.
int stand_in_device();
// Whether other devices may touch memory of this one's pool.
bool stand_in_is_open(int device);
// Whether those bytes lie in one allocation.
bool stand_in_holds(const void* memory, size_t bytes);
}
