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

// The block's memory, as much as it was launched with; matrices begin at multiples of 1024 bytes.
DEVICE void* shared_memory() {
    extern __shared__ __align__(1024) unsigned char shared_bytes[];
    return shared_bytes;
}

// 9.7.9.21 cvt
DEVICE float widened(F16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
DEVICE float widened(BF16 x) { return __uint_as_float(u32(x.bits) << 16); }
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

// 9.7.9.20 cvta: the address of an element of the block's memory in its own window.
DEVICE u32 shared_address(const void* p) {
    u32 address;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(address) : "l"(p));
    return address;
}

// 9.7.9.25.3.1 cp.async: brings 16 bytes into the block's memory, of which only the first `bytes`
// are read, the rest being zeros.
DEVICE void copy_async(void* to, const void* from, u32 bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}
// The same, or nothing at all, without a branch.
DEVICE void copy_async_if(bool is_brought, u32 to, const void* from, u32 bytes) {
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %3, 0; @p cp.async.cg.shared.global [%0], [%1], 16, %2; }" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(u32(is_brought))
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

#if WIDE
// 9.7.15.5.1 wgmma: what four warps multiply lies in the block's memory. Rows are 64 16-bit elements, in which
// 16 bytes change places with others by the row, so that banks do not collide: the layout "K-major, swizzled by
// 128 bytes", which begins anew every eight rows. It goes by addresses: a matrix may begin at any row.
typedef u64 Matrix;
DEVICE Matrix matrix_at(const void* p) {
    // Its address, and how far eight rows are from the next ones, in units of 16 bytes; the kind of layout.
    return u64(shared_address(p) / 16) | u64(1) << 16 | u64(8 * 128 / 16) << 32 | u64(1) << 62;
}
// The one that begins so many bytes further on.
DEVICE Matrix further(Matrix matrix, u32 bytes) { return matrix + bytes / 16; }
// 9.7.13.4 fence.proxy.async: what this thread has copied can be read by matrices.
DEVICE void show_to_matrices() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Whoever reads or writes the sums in between has to wait: this is what tells the compiler.
template <int N, int M>
DEVICE void pin(float (&sum)[N][M]) {
#pragma unroll
    for (int n = 0; n < N; n++) {
#pragma unroll
        for (int i = 0; i < M; i++) {
            asm volatile("" : "+f"(sum[n][i])::"memory");
        }
    }
}
// 9.7.15.7.1 wgmma.fence
template <int N, int M>
DEVICE void begin_matrices(float (&sum)[N][M]) {
    pin(sum);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// 9.7.15.7.2 wgmma.commit_group
DEVICE void commit_matrices() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// 9.7.15.7.3 wgmma.wait_group: until at most `groups` of the latest are under way.
template <int groups, int N, int M>
DEVICE void await_matrices(float (&sum)[N][M]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory");
    pin(sum);
}
// 9.7.15.5.2 wgmma.mma_async.m64nNk16: adds the product of 64 rows on the left with N on the right. With
// g = lane / 4 and t = lane % 4, warp w has rows 16 w + g and 16 w + g + 8: in c[4 n], c[4 n + 1] the first
// row's columns 8 n + 2 t and the next, in c[4 n + 2], c[4 n + 3] the second one's.
#define MULTIPLY_MATRICES(Half, type) \
    DEVICE void multiply_matrices(float (&c)[64], Matrix a, Matrix b, Half) { \
        asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" \
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, " \
        "%64, %65, 1, 1, 1, 0, 0;" \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), \
          "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), \
          "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), \
          "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), \
          "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), \
          "+f"(c[30]), "+f"(c[31]), "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), \
          "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]), "+f"(c[40]), "+f"(c[41]), \
          "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]), \
          "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), \
          "+f"(c[54]), "+f"(c[55]), "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), \
          "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63]) \
        : "l"(a), "l"(b)); \
    } \
    DEVICE void multiply_matrices(float (&c)[4], Matrix a, Matrix b, Half) { \
        asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32." type "." type " {%0, %1, %2, %3}, " \
                     "%4, %5, 1, 1, 1, 0, 0;" \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) \
                     : "l"(a), "l"(b)); \
    }
MULTIPLY_MATRICES(F16, "f16")
MULTIPLY_MATRICES(BF16, "bf16")
#endif

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

DEVICE void copy_async(void* to, const void* from, u32 bytes) { stand_in_copy(to, from, bytes); }
DEVICE u32 shared_address(const void* p) {
    return static_cast<const char*>(p) - static_cast<const char*>(stand_in_shared());
}
DEVICE void copy_async_if(bool is_brought, u32 to, const void* from, u32 bytes) {
    if (is_brought) {
        stand_in_copy(static_cast<char*>(stand_in_shared()) + to, from, bytes);
    }
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

typedef u64 Matrix;
DEVICE Matrix matrix_at(const void* p) { return shared_address(p); }
DEVICE Matrix further(Matrix matrix, u32 bytes) { return matrix + bytes; }
DEVICE void show_to_matrices() { stand_in_show(); }
template <int N, int M>
DEVICE void begin_matrices(float (&)[N][M]) {}
DEVICE void commit_matrices() { stand_in_commit_products(); }
template <int groups, int N, int M>
DEVICE void await_matrices(float (&)[N][M]) {
    stand_in_await_products(groups);
}

// A row of a matrix, 16 bytes of which are where the swizzle puts them.
template <class Half>
DEVICE void load_row(float (&to)[16], Matrix matrix, u32 row) {
    for (u32 half = 0; half < 2; half++) {
        u64 at = matrix + row * 128 + half * 16;
        at ^= at / 128 % 8 * 16;
        const Half* from = reinterpret_cast<const Half*>(static_cast<const char*>(stand_in_shared()) + at);
        for (u32 k = 0; k < 8; k++) {
            to[half * 8 + k] = widened(from[k]);
        }
    }
}

template <class Half, int N>
static void multiply_now(float* c, Matrix a, Matrix b) {
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, g = lane / 4, t = lane % 4;
    float left[2][16], right[16];
    for (u32 i = 0; i < 2; i++) {
        load_row<Half>(left[i], a, warp * 16 + g + i * 8);
    }
    for (u32 n = 0; n < N / 8; n++) {
        for (u32 j = 0; j < 2; j++) {
            load_row<Half>(right, b, n * 8 + 2 * t + j);
            for (u32 i = 0; i < 2; i++) {
                float sum = 0;
                for (u32 k = 0; k < 16; k++) {
                    sum += left[i][k] * right[k];
                }
                c[n * 4 + i * 2 + j] += sum;
            }
        }
    }
}

template <int M, class Half>
DEVICE void multiply_matrices(float (&c)[M], Matrix a, Matrix b, Half) {
    stand_in_product(multiply_now<Half, M * 2>, c, a, b);
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
