// What only Hopper has: matrices that are multiplied where they lie in the block's memory, boxes of tensors that
// are loaded there by one thread, and barriers that count what has come.
//
// As in `ptx.cuh`, the other side of the `#ifdef` says in plain C++ what the PTX ISA 8.5 says of an instruction.
#pragma once
#include "ptx.cuh"

// How a tensor lies in the device's memory, and what a box of it is, as the driver writes it down.
struct __align__(128) TensorMap {
    u64 opaque[16];
};

// It has phases: one is over when so many threads have arrived, and all bytes that they expect.
struct Barrier {
    u64 state;
};

#ifndef HALOVAE_STAND_IN

// 9.7.13.15.9 mbarrier.init
DEVICE void make_barrier(Barrier& barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals) : "memory");
}
// 9.7.13.4 fence.proxy.async: barriers that this thread has made are visible to TMA loads, too.
DEVICE void show_barriers() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// 9.7.13.15.13 mbarrier.arrive, without a branch.
DEVICE void arrive_if(bool does, Barrier& barrier) {
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; @p mbarrier.arrive.shared::cta.b64 _, [%0]; }" ::"r"(
                     shared_address(&barrier)),
                 "r"(u32(does))
                 : "memory");
}
// 9.7.13.15.13 mbarrier.arrive.expect_tx
DEVICE void arrive_expecting(Barrier& barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
                 : "memory");
}
// 9.7.13.15.16 mbarrier.try_wait: until the phase of this parity is over. The one before the first is.
DEVICE void await_phase(Barrier& barrier, u32 parity) {
    asm volatile("{ .reg .pred p;\n"
                 "again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@!p bra again; }" ::"r"(shared_address(&barrier)),
                 "r"(parity)
                 : "memory");
}
// 9.7.9.25.5.2 cp.async.bulk.tensor: loads a box, zeros where the tensor has ended. Its bytes arrive at a barrier.
// The first number counts elements of a row.
DEVICE void tma_load(void* to, const TensorMap& map, Barrier& barrier, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
                 "[%2];" ::"r"(shared_address(to)),
                 "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y)
                 : "memory");
}
DEVICE void tma_load(void* to, const TensorMap& map, Barrier& barrier, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
                 "[%2];" ::"r"(shared_address(to)),
                 "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z)
                 : "memory");
}
// 9.7.19.5 setmaxnreg: all warps of a four do this, some to leave registers to others.
template <int registers>
DEVICE void leave_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
DEVICE void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
// What waits for these begins here.
DEVICE void keep(u32 (&v)[4]) { asm volatile("" : "+r"(v[0]), "+r"(v[1]), "+r"(v[2]), "+r"(v[3])); }
// 9.7.9.15 prefetch: what will be read is prefetched into L2.
DEVICE void prefetch_l2(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

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
// Code that reads or writes the sums in between has to wait: this tells the compiler so.
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

#else

DEVICE void make_barrier(Barrier& barrier, u32 arrivals) { stand_in_make_barrier(&barrier, arrivals); }
DEVICE void show_barriers() { stand_in_show(); }
DEVICE void arrive_if(bool does, Barrier& barrier) {
    if (does) {
        stand_in_arrive(&barrier, 0);
    }
}
DEVICE void arrive_expecting(Barrier& barrier, u32 bytes) { stand_in_arrive(&barrier, bytes); }
DEVICE void await_phase(Barrier& barrier, u32 parity) { stand_in_await_phase(&barrier, parity); }
DEVICE void tma_load(void* to, const TensorMap& map, Barrier& barrier, int x, int y, int z = 0) {
    stand_in_tma_load(to, &map, &barrier, x, y, z);
}
DEVICE void prefetch_l2(const void*) {}
DEVICE void keep(u32 (&)[4]) {}
template <int N, int M>
DEVICE void pin(float (&)[N][M]) {}
template <int>
DEVICE void leave_registers() {}
template <int>
DEVICE void take_registers() {}

typedef u64 Matrix;
DEVICE Matrix matrix_at(const void* p) { return shared_address(p); }
DEVICE Matrix further(Matrix matrix, u32 bytes) { return matrix + bytes; }
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

#endif
