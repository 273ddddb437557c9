// Between the host's order of numbers (f32, nothing filled up) and the device's.
#pragma once
#include "common.cuh"

struct Pack {
    // `[positions][channels]`
    const float* in;
    // `[positions][eights * 8]`, of E, or of float if `out_f32`.
    void* out;
    // Eights to write.
    u32 count;
    u32 channels, eights;
    u32 out_f32;
};

KERNEL(pack, Pack, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    const u32 channel = at % p.eights * EIGHT;
    const float* from = p.in + u64(at / p.eights) * p.channels;
    float value[EIGHT];
#pragma unroll
    for (u32 i = 0; i < EIGHT; i++) {
        value[i] = channel + i < p.channels ? from[channel + i] : 0.0f;
    }
    if (p.out_f32) {
        store(static_cast<float*>(p.out) + element(at), value);
    } else {
        store(static_cast<E*>(p.out) + element(at), value);
    }
}

struct Unpack {
    // The first position to read, of E, or of float if `in_f32`.
    const void* in;
    // `[rows][width][channels]`
    float* out;
    // Elements to write.
    u32 count;
    // Positions of a row that is written and of one that is read.
    u32 width, in_width;
    u32 channels, padded;
    u32 in_f32;
};

KERNEL(unpack, Unpack, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    const u32 position = at / p.channels;
    const u64 cell = u64(position / p.width) * p.in_width + position % p.width;
    const u64 from = cell * p.padded + at % p.channels;
    p.out[at] = p.in_f32 ? static_cast<const float*>(p.in)[from] : widened(static_cast<const E*>(p.in)[from]);
}

struct CopyRows {
    // The first positions to read and to write.
    const Packed* in;
    Packed* out;
    // Sixteens of bytes to copy, and those of a position.
    u32 count, units;
    // Positions of a row that is copied, of one that is read and of one that is written.
    u32 width, in_width, out_width;
};

// Borders of feature maps, out of the map and into a halo.
KERNEL(copy_rows, CopyRows, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    const u32 unit = at % p.units, position = at / p.units;
    const u64 row = position / p.width, column = position % p.width;
    p.out[(row * p.out_width + column) * p.units + unit] = p.in[(row * p.in_width + column) * p.units + unit];
}

struct Reorder {
    // `[out][in][kernel_y][kernel_x]`
    const float* in;
    // `[up][up][out, filled up][taps_y][taps_x][in, filled up]`
    E* out;
    // Elements to write.
    u32 count;
    u32 in_channels, in_padded, out_channels, out_padded;
    u32 kernel_y, kernel_x, taps_y, taps_x;
    u32 up;
};

// A kernel over an input that is repeated `up` times is one of fewer taps over that input for each place
// of an output within a repeated cell: tap t of the output at place `phase` reads cell
// (phase + t) / up, so taps that read the same cell are added.
KERNEL(reorder, Reorder, THREADS) {
    const u32 at = place();
    if (at >= p.count) {
        return;
    }
    const u32 in = at % p.in_padded, taps = p.taps_y * p.taps_x;
    const u32 tap = at / p.in_padded % taps, out = at / p.in_padded / taps % p.out_padded;
    const u32 phase = at / p.in_padded / taps / p.out_padded;
    float value = 0;
    if (out < p.out_channels && in < p.in_channels) {
        const float* kernel = p.in + (u64(out) * p.in_channels + in) * p.kernel_y * p.kernel_x;
        for (u32 y = 0; y < p.kernel_y; y++) {
            for (u32 x = 0; x < p.kernel_x; x++) {
                const u32 cell_y = (phase / p.up + y) / p.up, cell_x = (phase % p.up + x) / p.up;
                if (cell_y == tap / p.taps_x && cell_x == tap % p.taps_x) {
                    value += kernel[y * p.kernel_x + x];
                }
            }
        }
    }
    p.out[at] = narrowed(value, E());
}
