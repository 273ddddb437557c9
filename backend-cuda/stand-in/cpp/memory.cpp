#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace {

struct Mapping {
    void* start;
    size_t mapped, bytes;
};

std::mutex mutex;
std::map<uintptr_t, Mapping> allocations;
size_t used = 0, reserved = 0;

size_t pages(size_t bytes) {
    size_t page = sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

}  // namespace

void* allocate(size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    if (bytes > total_bytes() || used + bytes > total_bytes()) {
        return nullptr;
    }
    size_t page = sysconf(_SC_PAGESIZE), inner = pages(bytes), mapped = inner + 2 * page;
    void* start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        return nullptr;
    }
    char* first = static_cast<char*>(start) + page;
    mprotect(start, page, PROT_NONE);
    mprotect(first + inner, page, PROT_NONE);
    // It ends where the page begins that cannot be touched, as far as 16 bytes allow.
    char* memory = first + inner - (bytes + 15) / 16 * 16;
    memset(memory, 0xff, bytes);
    allocations[reinterpret_cast<uintptr_t>(memory)] = {start, mapped, bytes};
    used += bytes;
    reserved = used > reserved ? used : reserved;
    return memory;
}

bool release(void* memory) {
    std::lock_guard<std::mutex> lock(mutex);
    auto found = allocations.find(reinterpret_cast<uintptr_t>(memory));
    if (found == allocations.end()) {
        return false;
    }
    munmap(found->second.start, found->second.mapped);
    used -= found->second.bytes;
    allocations.erase(found);
    return true;
}

bool holds(const void* memory, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    uintptr_t at = reinterpret_cast<uintptr_t>(memory);
    auto next = allocations.upper_bound(at);
    if (next == allocations.begin()) {
        return false;
    }
    --next;
    return at + bytes <= next->first + next->second.bytes;
}

size_t total_bytes() {
    const char* asked = getenv("HALOVAE_STAND_IN_MEMORY");
    return asked ? strtoull(asked, nullptr, 10) : size_t(4) << 30;
}

size_t free_bytes() {
    std::lock_guard<std::mutex> lock(mutex);
    return total_bytes() - used;
}

size_t reserved_bytes() {
    std::lock_guard<std::mutex> lock(mutex);
    return reserved;
}

void trim() {
    std::lock_guard<std::mutex> lock(mutex);
    reserved = used;
}
