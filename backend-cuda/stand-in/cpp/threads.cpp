#include "threads.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "machine.h"

thread_local StandInLane* stand_in_lane = nullptr;

thread_local Machine* machine = nullptr;

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

static void start_thread() {
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
            load_one();
        }
        moved = false;
    }
    if (!boxes.empty()) {
        stuck("a block has ended before its copies have arrived");
    }
}

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
        // Memory that was not written is NaN.
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
}
