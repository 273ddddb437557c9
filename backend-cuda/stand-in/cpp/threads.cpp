#include "threads.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "stand_in.h"
#include "tensor_map.h"

#ifndef __x86_64__
#include <ucontext.h>
#endif

thread_local StandInLane* stand_in_lane = nullptr;

namespace {

const size_t STACK_BYTES = 64 << 10;
const size_t SHARED_BYTES = 256 << 10;
const unsigned WARP = 32;

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, AT_PHASE, DONE };

#ifdef __x86_64__
// Saves the registers that a call keeps, and goes on where another stack was left.
extern "C" void stand_in_switch(void** save, void* next);
asm(R"(
.text
.globl stand_in_switch
.type stand_in_switch, @function
stand_in_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size stand_in_switch, .-stand_in_switch
)");
#endif

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
    void bring_one();
    [[noreturn]] void stuck(const char* why);
};

// Never freed: a pointer needs no guard at each access.
thread_local Machine* machine = nullptr;

void start_thread() {
    Machine& m = *machine;
    m.launch->kernel(m.launch->arguments);
    m.fibers[m.current].state = DONE;
    m.moved = true;
    m.leave();
    abort();
}

void Machine::prepare(unsigned threads) {
    if (threads > stack_count) {
        stacks = static_cast<char*>(mmap(nullptr, threads * STACK_BYTES, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        stack_count = threads;
    }
    fibers.resize(threads);
    warps.resize((threads + WARP - 1) / WARP * 2);
}

void Machine::begin(unsigned thread) {
    Fiber& fiber = fibers[thread];
    fiber.state = READY;
    char* stack = stacks + thread * STACK_BYTES;
#ifdef __x86_64__
    // As if `start_thread` had been called: six registers, where to go, where that would return to.
    void** top = reinterpret_cast<void**>(stack + STACK_BYTES) - 8;
    memset(top, 0, 8 * sizeof(void*));
    top[6] = reinterpret_cast<void*>(start_thread);
    fiber.at = top;
#else
    getcontext(&fiber.at);
    fiber.at.uc_stack.ss_sp = stack;
    fiber.at.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fiber.at, start_thread, 0);
#endif
}

void Machine::enter(unsigned thread) {
    current = thread;
    stand_in_lane = &fibers[thread].lane;
#ifdef __x86_64__
    stand_in_switch(&main, fibers[thread].at);
#else
    swapcontext(&main, &fibers[thread].at);
#endif
}

void Machine::leave() {
#ifdef __x86_64__
    stand_in_switch(&fibers[current].at, main);
#else
    swapcontext(&fibers[current].at, &main);
#endif
}

void Machine::stuck(const char* why) {
    fprintf(stderr, "stand-in: %s: %s\n", launch->name, why);
    abort();
}

// Runs the lanes of a warp until all have ended or wait for the block or a phase.
void Machine::run_warp(unsigned first, unsigned end) {
    for (;;) {
        unsigned waiting = 0, alive = 0, ran = 0, elsewhere = 0;
        uint64_t order = next_random();
        unsigned step = order % WARP | 1, offset = order >> 32;
        for (unsigned i = 0; i < WARP; i++) {
            unsigned thread = first + (i * step + offset) % WARP;
            if (thread < end && fibers[thread].state == READY) {
                enter(thread);
                ran++;
            }
        }
        for (unsigned thread = first; thread < end; thread++) {
            alive += fibers[thread].state != DONE;
            waiting += fibers[thread].state == AT_WARP_BARRIER;
            elsewhere += fibers[thread].state == AT_PHASE;
        }
        if (waiting > 0 && waiting == alive) {
            for (unsigned thread = first; thread < end; thread++) {
                if (fibers[thread].state == AT_WARP_BARRIER) {
                    fibers[thread].state = READY;
                }
            }
            moved = true;
        } else if (waiting > 0 && ran == 0 && elsewhere == 0) {
            stuck("lanes of a warp wait at different barriers");
        } else if (ran == 0) {
            return;
        }
    }
}

void Machine::run_block() {
    unsigned threads = fibers.size(), warp_count = (threads + WARP - 1) / WARP;
    for (unsigned thread = 0; thread < threads; thread++) {
        begin(thread);
    }
    for (;;) {
        uint64_t order = next_random();
        for (unsigned i = 0; i < warp_count; i++) {
            // Forwards or backwards from any of them.
            unsigned warp = (order / 2 + (order % 2 ? i : warp_count - i)) % warp_count;
            unsigned first = warp * WARP;
            run_warp(first, first + WARP < threads ? first + WARP : threads);
        }
        unsigned alive = 0, waiting = 0;
        for (Fiber& fiber : fibers) {
            alive += fiber.state != DONE;
            waiting += fiber.state == AT_BLOCK_BARRIER;
        }
        if (alive == 0) {
            break;
        }
        for (Fiber& fiber : fibers) {
            if (fiber.state == AT_PHASE || (fiber.state == AT_BLOCK_BARRIER && waiting == alive)) {
                fiber.state = READY;
            }
        }
        // Boxes come as late as they may, but for some.
        if (!moved && waiting < alive) {
            if (boxes.empty()) {
                stuck("threads wait for a phase that is never over");
            }
            bring_one();
        }
        moved = false;
    }
    if (!boxes.empty()) {
        stuck("a block has ended before what it brings was there");
    }
}

void Machine::arrive(Barrier& barrier, unsigned arrivals, unsigned bytes) {
    moved = true;
    if (arrivals > barrier.awaited) {
        stuck("more threads arrive at a barrier than it was made for");
    }
    barrier.awaited -= arrivals;
    barrier.bytes -= bytes;
    if (barrier.awaited == 0 && barrier.bytes == 0) {
        barrier.awaited = barrier.arrivals;
        barrier.parity ^= 1;
    }
}

// Any of the boxes: rows of 128 bytes, in which 16 bytes lie where the swizzle puts them.
void Machine::bring_one() {
    size_t which = next_random() % boxes.size();
    Box box = boxes[which];
    boxes.erase(boxes.begin() + which);
    const TensorMap& map = box.map;
    char* shared = static_cast<char*>(fibers[0].lane.shared);
    uint64_t row = 0, row_bytes = map.box[0] * map.element_bytes;
    for (uint64_t z = 0; z < map.box[2]; z++) {
        for (uint64_t y = 0; y < map.box[1]; y++, row++) {
            uint64_t at_y = box.first[1] + y, at_z = box.first[2] + z;
            bool is_row = at_y < map.extents[1] && at_z < map.extents[2];
            const char* from = map.address + at_y * map.strides[1] + at_z * map.strides[2];
            for (uint64_t eight = 0; eight < row_bytes / 16; eight++) {
                uint64_t to = box.to - shared + row * row_bytes + eight * 16;
                to ^= to / 128 % 8 * 16;
                uint64_t x = box.first[0] + eight * 16 / map.element_bytes;
                // Rows are whole eights.
                if (is_row && x < map.extents[0]) {
                    memcpy(shared + to, from + x * map.element_bytes, 16);
                } else {
                    memset(shared + to, 0, 16);
                }
            }
        }
    }
    arrive(*box.barrier, 0, row * row_bytes);
}

void arrive(StandInCopy& copy) {
    if (!copy.has_arrived) {
        memcpy(copy.to, copy.from, copy.bytes);
        memset(static_cast<char*>(copy.to) + copy.bytes, 0, 16 - copy.bytes);
        copy.has_arrived = true;
    }
}

// Those of the first so many groups.
void run_products(StandInLane& lane, unsigned groups) {
    unsigned left = 0;
    for (unsigned i = 0; i < lane.product_count; i++) {
        StandInProduct& product = lane.products[i];
        if (product.group < groups) {
            product.run(product.sum, product.left, product.right);
        } else {
            lane.products[left++] = product;
        }
    }
    lane.product_count = left;
}

}  // namespace

void run_blocks(const Launch& launch) {
    if (!machine) {
        machine = new Machine;
    }
    Machine& m = *machine;
    m.launch = &launch;
    m.random = launch.seed;
    unsigned threads = launch.block[0] * launch.block[1] * launch.block[2];
    m.prepare(threads);
    char* shared = m.shared_end - (launch.shared_bytes + 15) / 16 * 16;
    for (unsigned b = 0; b < launch.grid[0]; b++) {
        // What nobody has written is no number.
        memset(shared, 0xff, m.shared_end - shared);
        for (unsigned thread = 0; thread < threads; thread++) {
            StandInLane& lane = m.fibers[thread].lane;
            lane.thread = {thread, 0, 0};
            lane.block = {b, 0, 0};
            lane.block_size = {launch.block[0], 1, 1};
            lane.grid_size = {launch.grid[0], 1, 1};
            lane.shared = shared;
            lane.warps = &m.warps[thread / WARP * 2];
            lane.collectives = lane.groups = lane.copy_count = 0;
            lane.product_groups = lane.product_count = 0;
            lane.unseen = false;
        }
        m.run_block();
    }
    stand_in_lane = nullptr;
}

extern "C" {

void stand_in_block_barrier() {
    if (stand_in_lane->unseen) {
        machine->stuck("barriers are made without a fence behind them");
    }
    machine->fibers[machine->current].state = AT_BLOCK_BARRIER;
    machine->leave();
}

void stand_in_warp_barrier() {
    machine->fibers[machine->current].state = AT_WARP_BARRIER;
    machine->leave();
}

void stand_in_copy(void* to, const void* from, unsigned bytes) {
    StandInLane& lane = *stand_in_lane;
    if (lane.copy_count == sizeof lane.copies / sizeof *lane.copies) {
        machine->stuck("too many asynchronous copies under way");
    }
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0) {
        machine->stuck("an asynchronous copy that does not begin at 16 bytes");
    }
    StandInCopy& copy = lane.copies[lane.copy_count++];
    copy = {to, from, bytes, lane.groups, false};
    if (machine->next_random() % 4 == 0) {
        arrive(copy);
    }
}

void stand_in_commit() { stand_in_lane->groups++; }

// Most arrive as late as they may, and some at once: who reads them without having waited finds what was there
// before, and who lets them overwrite what is still read finds what is there later.
void stand_in_await(unsigned groups) {
    StandInLane& lane = *stand_in_lane;
    unsigned left = 0;
    for (unsigned i = 0; i < lane.copy_count; i++) {
        StandInCopy& copy = lane.copies[i];
        if (copy.group + groups >= lane.groups) {
            lane.copies[left++] = copy;
            continue;
        }
        arrive(copy);
    }
    lane.copy_count = left;
}

void stand_in_make_barrier(void* barrier, unsigned arrivals) {
    *static_cast<Barrier*>(barrier) = {uint16_t(arrivals), uint16_t(arrivals), 0, 0};
    stand_in_lane->unseen = true;
}

void stand_in_show() { stand_in_lane->unseen = false; }

// Bytes that are expected come before the arrival: a phase that knows of them is not over without them.
void stand_in_arrive(void* barrier, unsigned bytes) {
    Barrier& arrived = *static_cast<Barrier*>(barrier);
    arrived.bytes += bytes;
    machine->arrive(arrived, 1, 0);
}

void stand_in_await_phase(void* barrier, unsigned parity) {
    Machine& m = *machine;
    while (static_cast<Barrier*>(barrier)->parity == parity) {
        m.fibers[m.current].state = AT_PHASE;
        m.leave();
    }
}

void stand_in_bring(void* to, const void* map, void* barrier, int x, int y, int z) {
    Machine& m = *machine;
    Box box = {*static_cast<const TensorMap*>(map), static_cast<char*>(to), static_cast<Barrier*>(barrier), {x, y, z}};
    if (box.map.element_bytes * box.map.box[0] != 128 || reinterpret_cast<uintptr_t>(to) % 128 != 0) {
        m.stuck("a box that is no rows of 128 bytes");
    }
    m.boxes.push_back(box);
    if (m.next_random() % 4 == 0) {
        m.bring_one();
    }
}

// Products are done at once, with all before them, or as late as they may: whoever lets others write into
// what they read finds out.
void stand_in_product(void (*run)(float*, unsigned long long, unsigned long long), float* sum,
                      unsigned long long left, unsigned long long right) {
    StandInLane& lane = *stand_in_lane;
    if (lane.product_count == sizeof lane.products / sizeof *lane.products) {
        machine->stuck("too many products under way");
    }
    lane.products[lane.product_count++] = {run, sum, left, right, lane.product_groups};
    if (machine->next_random() % 4 == 0) {
        run_products(lane, lane.product_groups + 1);
    }
}

void stand_in_commit_products() { stand_in_lane->product_groups++; }

void stand_in_await_products(unsigned groups) {
    StandInLane& lane = *stand_in_lane;
    run_products(lane, lane.product_groups > groups ? lane.product_groups - groups : 0);
}
}
