// What a kernel begins and waits for later: copies, boxes of tensors and what counts them, products.
#include <cstring>

#include "machine.h"

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
void Machine::load_one() {
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

namespace {

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

extern "C" {

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

void stand_in_tma_load(void* to, const void* map, void* barrier, int x, int y, int z) {
    Machine& m = *machine;
    Box box = {*static_cast<const TensorMap*>(map), static_cast<char*>(to), static_cast<Barrier*>(barrier), {x, y, z}};
    if (box.map.element_bytes * box.map.box[0] != 128 || reinterpret_cast<uintptr_t>(to) % 128 != 0) {
        m.stuck("a box that is no rows of 128 bytes");
    }
    m.boxes.push_back(box);
    if (m.next_random() % 4 == 0) {
        m.load_one();
    }
}

// Products are done at once, with all before them, or as late as they may: a kernel that lets others write into
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

}  // extern "C"
