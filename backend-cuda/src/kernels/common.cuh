// What all kernels share: the stored element, eight channels at a time, sums over a block.
#pragma once
#include "ptx.cuh"

// `ELEMENT` is float, F16 or BF16: what values and kernels of convs are stored as.
typedef ELEMENT E;

DEVICE float widened(float x) { return x; }
DEVICE float narrowed(float x, float) { return x; }

// Channels are filled up to eights with zeros, so that every position begins at a multiple of 16
// bytes, and threads read and write 16 bytes at once.
const int EIGHT = 8;

// What a thread reads or writes at once: four floats, or twice as many in half precision.
struct __align__(16) MAY_ALIAS Packed {
    u32 v[4];
};

DEVICE void unpack(float* to, Packed packed, float) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[i] = from_bits(packed.v[i]);
    }
}
template <class Half>
DEVICE void unpack(float* to, Packed packed, Half) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        widen(to[2 * i], to[2 * i + 1], packed.v[i], Half());
    }
}
DEVICE Packed packed(const float* from, float) {
    Packed packed;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        packed.v[i] = to_bits(from[i]);
    }
    return packed;
}
template <class Half>
DEVICE Packed packed(const float* from, Half) {
    Packed packed;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        packed.v[i] = narrowed(from[2 * i], from[2 * i + 1], Half());
    }
    return packed;
}

// N stored elements, N * sizeof(T) being a multiple of 16.
template <int N, class T>
DEVICE void load(float (&to)[N], const T* from) {
    const int n = 16 / sizeof(T);
#pragma unroll
    for (int part = 0; part < N / n; part++) {
        unpack(to + part * n, reinterpret_cast<const Packed*>(from)[part], T());
    }
}

template <int N, class T>
DEVICE void store(T* to, const float (&from)[N]) {
    const int n = 16 / sizeof(T);
#pragma unroll
    for (int part = 0; part < N / n; part++) {
        reinterpret_cast<Packed*>(to)[part] = packed(from + part * n, T());
    }
}

struct __align__(8) Pair {
    float a, b;
};
DEVICE void store_pair(float* to, float a, float b) { *reinterpret_cast<Pair*>(to) = {a, b}; }

// Of scores: what weighs nothing.
const float LOWEST = -3.0e38f;

// Exact where it is stored as it is. In half precision its last bits go anyway, and would take most of the time of a
// kernel that needs it for each element.
DEVICE float exponential(float x, float) { return expf(x); }
template <class Half>
DEVICE float exponential(float x, Half) {
    return fast_exp(x);
}

// x * sigmoid(x). The bound keeps the exponential finite; far below it the result is 0 anyway.
DEVICE void apply_silu(float (&x)[EIGHT], float) {
#pragma unroll
    for (int i = 0; i < EIGHT; i++) {
        x[i] = x[i] / (1.0f + expf(fminf(-x[i], 80.0f)));
    }
}
// Two at once by one division: the units that divide and raise to powers are few. The bound keeps the product of both
// divisors finite.
template <class Half>
DEVICE void apply_silu(float (&x)[EIGHT], Half) {
#pragma unroll
    for (int i = 0; i < EIGHT; i += 2) {
        const float a = 1.0f + fast_exp(fminf(-x[i], 40.0f)), b = 1.0f + fast_exp(fminf(-x[i + 1], 40.0f));
        const float quotient = fast_quotient(1.0f, a * b);
        x[i] *= quotient * b;
        x[i + 1] *= quotient * a;
    }
}

// This thread's place among all of the launch. Launches are of fewer threads than 2^32: divisions of
// 64 bits would take longer than the memory that these kernels wait for.
DEVICE u32 place() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Where the eight of a place begins.
DEVICE u64 element(u32 at) { return u64(at) * EIGHT; }

const int WARP = 32;
// Threads of a block of the kernels that go over eights of channels, and of those that reduce.
const int THREADS = 256;

// Of all threads of a block, by its memory: a float for each warp.
DEVICE float block_largest(float x, float* shared) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        x = fmaxf(x, shuffled(x, mask));
    }
    __syncthreads();
    shared[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int warp = 0; warp < THREADS / WARP; warp++) {
        x = fmaxf(x, shared[warp]);
    }
    return x;
}

DEVICE float block_sum(float x, float* shared) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        x += shuffled(x, mask);
    }
    __syncthreads();
    shared[threadIdx.x / WARP] = x;
    __syncthreads();
    float sum = 0;
    for (int warp = 0; warp < THREADS / WARP; warp++) {
        sum += shared[warp];
    }
    return sum;
}
