// What the stand-in for the driver writes down of a tensor.
#pragma once
#include <cstdint>

struct TensorMap {
    const char* address;
    // Of three axes, the first of which is that of elements that lie next to each other.
    uint64_t extents[3], strides[3];
    uint32_t box[3];
    uint32_t element_bytes;
};
static_assert(sizeof(TensorMap) <= 128, "a map has 128 bytes");
