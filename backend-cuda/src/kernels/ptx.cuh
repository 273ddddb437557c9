// What CUDA C++ says through PTX, or through headers that NVRTC's package does not bring along:
// conversions of half precision, asynchronous copies, and matrices in a warp's registers.
//
// `HALOVAE_STAND_IN` is set where tests run kernels on a CPU; the other side of each `#ifdef` says
// in plain C++ what the PTX ISA says of the instruction. Sections are those of the PTX ISA 8.5.
#pragma once

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Stored numbers: IEEE binary16, and the upper half of a binary32.
struct F16 {
    u16 bits;
};
struct BF16 {
    u16 bits;
};

#ifndef HALOVAE_STAND_IN

// A kernel takes one struct, as large as its launch believes. Its blocks are of `bounds` threads, of
// which as many as follow run on a multiprocessor at once.
#define KERNEL(name, Params, bounds...)                                                            \
    static_assert(sizeof(Params) == BYTES_##Params, "the launch gives another struct");            \
    extern "C" __global__ void __launch_bounds__(bounds) name(const __grid_constant__ Params p)
#define DEVICE static __device__ __forceinline__
#define MAY_ALIAS

// The block's memory, as much as it was launched with; matrices begin at multiples of 1024 bytes.
DEVICE void* shared_memory() {
    extern __shared__ __align__(1024) unsigned char shared_bytes[];
    return shared_bytes;
}

DEVICE float from_bits(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 to_bits(float x) { return __float_as_uint(x); }

// 9.7.9.21 cvt
DEVICE float widened(F16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
DEVICE float widened(BF16 x) { return from_bits(u32(x.bits) << 16); }
DEVICE F16 narrowed(float x, F16) {
    F16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
DEVICE BF16 narrowed(float x, BF16) {
    BF16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
// Two at once, the first of which lies first, in the lower half of a register.
DEVICE void widen(float& x, float& y, u32 both, F16) {
    asm("{ .reg .b16 x, y; mov.b32 {x, y}, %2; cvt.f32.f16 %0, x; cvt.f32.f16 %1, y; }" : "=f"(x), "=f"(y) : "r"(both));
}
DEVICE void widen(float& x, float& y, u32 both, BF16) {
    x = from_bits(both << 16);
    y = from_bits(both & 0xffff0000u);
}
DEVICE u32 narrowed(float x, float y, F16) {
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
    return both;
}
DEVICE u32 narrowed(float x, float y, BF16) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
    return both;
}

// 9.7.9.20 cvta: the address of an element of the block's memory in its own window.
DEVICE u32 shared_address(const void* p) {
    u32 address;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(address) : "l"(p));
    return address;
}

// 9.7.9.25.3.1 cp.async: copies 16 bytes into the block's memory, of which only the first `bytes`
// are read, the rest being zeros.
DEVICE void copy_async(void* to, const void* from, u32 bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}
// 9.7.9.25.3.2 cp.async.commit_group
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// 9.7.9.25.3.3 cp.async.wait_group: until at most `groups` of the latest are under way.
template <int groups>
DEVICE void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

// 9.7.14.5.15 ldmatrix: four 8x8 matrices of 16-bit elements. Lane 8m + r gives the address of row
// r of matrix m. Lane l receives of matrix m, in register m, the elements (l / 4, 2 (l % 4)) and the
// next one of the row; with `.trans` the elements (2 (l % 4), l / 4) and the next one of the column.
DEVICE void load_matrices(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEVICE void load_transposed(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// 9.7.14.5.14 mma.m16n8k16, fragments as in 9.7.14.5.8: with g = lane / 4 and t = lane % 4,
// a[0], a[1], a[2], a[3] hold A at rows g, g + 8, g, g + 8 and columns 2t, 2t, 2t + 8, 2t + 8 and the
// next column; b[0], b[1] hold B at rows 2t, 2t + 8 and the next row, column g; c[0], c[1] hold C at
// row g, columns 2t and 2t + 1, and c[2], c[3] at row g + 8.
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32* b, F16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32* b, BF16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// To some units in the last place; the divisor is below 2^126.
DEVICE float fast_exp(float x) { return __expf(x); }
DEVICE float fast_quotient(float x, float y) { return __fdividef(x, y); }

// The value of lane `lane ^ mask`; all lanes of the warp take part.
DEVICE float shuffled(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
// The value of another lane.
DEVICE u32 lane_value(u32 x, u32 lane) { return __shfl_sync(0xffffffffu, x, lane); }

#else

#define KERNEL(name, Params, bounds...)                                                            \
    static_assert(sizeof(Params) == BYTES_##Params, "the launch gives another struct");            \
    static void name##_thread(const Params& p);                                                    \
    extern "C" const unsigned name##_bytes = sizeof(Params);                                       \
    extern "C" void name(void** arguments) {                                                       \
        name##_thread(*static_cast<const Params*>(arguments[0]));                                  \
    }                                                                                              \
    static void name##_thread(const Params& p)
#define DEVICE static inline
#define MAY_ALIAS __attribute__((may_alias))

DEVICE void* shared_memory() { return stand_in_shared(); }

DEVICE float from_bits(u32 bits) {
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
}
DEVICE u32 to_bits(float x) {
    u32 bits;
    __builtin_memcpy(&bits, &x, 4);
    return bits;
}

DEVICE float widened(F16 x) {
    _Float16 half;
    __builtin_memcpy(&half, &x.bits, 2);
    return half;
}
DEVICE float widened(BF16 x) { return from_bits(u32(x.bits) << 16); }
DEVICE F16 narrowed(float x, F16) {
    // The conversion of C++ rounds to the nearest, ties to even, as `.rn` does.
    _Float16 half = x;
    F16 y;
    __builtin_memcpy(&y.bits, &half, 2);
    return y;
}
DEVICE BF16 narrowed(float x, BF16) {
    u32 bits = to_bits(x);
    if (x != x) {
        return BF16{0x7fff};
    }
    return BF16{u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
template <class Half>
DEVICE void widen(float& x, float& y, u32 both, Half) {
    x = widened(Half{u16(both)});
    y = widened(Half{u16(both >> 16)});
}
template <class Half>
DEVICE u32 narrowed(float x, float y, Half) {
    return narrowed(x, Half()).bits | u32(narrowed(y, Half()).bits) << 16;
}

DEVICE void copy_async(void* to, const void* from, u32 bytes) { stand_in_copy(to, from, bytes); }
DEVICE u32 shared_address(const void* p) {
    return static_cast<const char*>(p) - static_cast<const char*>(stand_in_shared());
}
DEVICE void commit_copies() { stand_in_commit(); }
template <int groups>
DEVICE void await_copies() {
    stand_in_await(groups);
}

DEVICE void load_matrices(u32 (&r)[4], const void* row) {
    StandInWarp& warp = stand_in_exchange();
    int lane = threadIdx.x % 32;
    warp.rows[lane] = static_cast<const u16*>(row);
    stand_in_warp_barrier();
    for (int m = 0; m < 4; m++) {
        const u16* from = warp.rows[8 * m + lane / 4] + 2 * (lane % 4);
        r[m] = from[0] | u32(from[1]) << 16;
    }
}
DEVICE void load_transposed(u32 (&r)[4], const void* row) {
    StandInWarp& warp = stand_in_exchange();
    int lane = threadIdx.x % 32;
    warp.rows[lane] = static_cast<const u16*>(row);
    stand_in_warp_barrier();
    for (int m = 0; m < 4; m++) {
        int first = 8 * m + 2 * (lane % 4);
        r[m] = warp.rows[first][lane / 4] | u32(warp.rows[first + 1][lane / 4]) << 16;
    }
}

template <class Half>
DEVICE void multiply_add(float (&c)[4], const u32 (&a)[4], const u32* b, Half) {
    StandInWarp& warp = stand_in_exchange();
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) {
        float* to = &warp.a[g + i % 2 * 8][2 * t + i / 2 * 8];
        to[0] = widened(Half{u16(a[i])});
        to[1] = widened(Half{u16(a[i] >> 16)});
    }
    for (int i = 0; i < 2; i++) {
        float* to = &warp.b[g][2 * t + i * 8];
        to[0] = widened(Half{u16(b[i])});
        to[1] = widened(Half{u16(b[i] >> 16)});
    }
    stand_in_warp_barrier();
    for (int i = 0; i < 4; i++) {
        const float* row = warp.a[g + i / 2 * 8];
        const float* column = warp.b[2 * t + i % 2];
        float sum = 0;
        for (int k = 0; k < 16; k++) {
            sum += row[k] * column[k];
        }
        c[i] += sum;
    }
}

DEVICE float fast_exp(float x) { return expf(x); }
DEVICE float fast_quotient(float x, float y) { return x / y; }

DEVICE float shuffled(float x, int mask) {
    StandInWarp& warp = stand_in_exchange();
    int lane = threadIdx.x % 32;
    warp.values[lane] = x;
    stand_in_warp_barrier();
    return warp.values[lane ^ mask];
}
DEVICE u32 lane_value(u32 x, u32 lane) {
    StandInWarp& warp = stand_in_exchange();
    warp.values[threadIdx.x % 32] = from_bits(x);
    stand_in_warp_barrier();
    return to_bits(warp.values[lane]);
}

#endif
