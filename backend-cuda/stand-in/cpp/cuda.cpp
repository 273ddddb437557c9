// A stand-in for NVIDIA's driver, as far as halovae calls it, on the CPU.
//
//   HALOVAE_STAND_IN_DEVICES     how many GPUs there are (4)
//   HALOVAE_STAND_IN_CAPABILITY  their compute capability, times ten (90)
//   HALOVAE_STAND_IN_MULTIPROCESSORS  how many multiprocessors each has (1)
//   HALOVAE_STAND_IN_MEMORY      bytes of memory, of all of them together (4 GiB)
//   HALOVAE_STAND_IN_SEED        where the order of threads starts (1)
//   HALOVAE_STAND_IN_FAILS       the launch from which on the device fails (never)
//   HALOVAE_STAND_IN_NO_GRAPHS   if set, nothing is captured
//   HALOVAE_STAND_IN_STOPS       the launch that never ends (none)
//   HALOVAE_STAND_IN_STOPPED     a file that is made when it has begun (none)
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "for_libraries.h"
#include "memory.h"
#include "streams.h"
#include "tensor_map.h"
#include "threads.h"

// `CUresult`, those that are used.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    NOT_FOUND = 500,
    NOT_READY = 600,
    LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900,
};

// `CUdevice_attribute`, `CUfunction_attribute` and `CUmemPool_attribute`, those that are used.
const int MULTIPROCESSOR_COUNT = 16, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76, POOLS_SUPPORTED = 115;
const int MAX_DYNAMIC_SHARED = 8;
const int RELEASE_THRESHOLD = 4, RESERVED_CURRENT = 5;
// Bytes of a block's memory: without being asked, by the least of GPUs from 8.0 on, and by those from 9.0 on.
const unsigned SHARED_DEFAULT = 48 << 10, SHARED_MOST = 99 << 10, SHARED_MOST_OF_HOPPER = 227 << 10;

// `CUtensorMapDataType` and `CUtensorMapSwizzle`, those that are used.
const int HALF_FLOAT = 6, BRAIN_FLOAT = 9, SWIZZLED_BY_128 = 3;

struct Module {
    void* library;
    // Open as long as the library is: the linker knows libraries by their paths.
    int file;
};

struct Function {
    void (*kernel)(void**);
    std::string name;
    // Of the struct that it takes.
    unsigned argument_bytes;
    unsigned shared_most;
};

// `CUmemAccessDesc`: who may touch memory, and how.
struct Access {
    int location_type, device, flags;
};

struct Event {
    bool timed;
    std::shared_ptr<Mark> mark;
};

static unsigned number(const char* variable, unsigned otherwise) {
    const char* text = getenv(variable);
    return text ? strtoul(text, nullptr, 10) : otherwise;
}

static thread_local const char* running = nullptr;
static thread_local int current_device = 0;
// Pools that are open to other devices.
static std::atomic<bool> is_open[64];
static std::atomic<bool> failed{false};

static void on_fault(int) {
    const char* name = running ? running : "no kernel";
    const char* why = "stand-in: memory outside of all allocations is touched in ";
    // A failed write to stderr leaves nothing else to be done.
    ssize_t ignored = write(2, why, strlen(why)) + write(2, name, strlen(name)) + write(2, "\n", 1);
    (void)ignored;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

extern "C" {

int cuInit(unsigned) {
    signal(SIGSEGV, on_fault);
    return number("HALOVAE_STAND_IN_DEVICES", 4) == 0 ? NO_DEVICE : SUCCESS;
}
int cuDriverGetVersion(int* version) { return *version = 13000, SUCCESS; }
int cuGetErrorName(int error, const char** name) {
    switch (error) {
        case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
        case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
        default: *name = "CUDA_ERROR";
    }
    return SUCCESS;
}
int cuGetErrorString(int, const char** text) { return *text = "the stand-in refuses", SUCCESS; }

int cuDeviceGetCount(int* count) { return *count = number("HALOVAE_STAND_IN_DEVICES", 4), SUCCESS; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, SUCCESS; }
int cuDeviceGetName(char* name, int len, int device) {
    // Four of each model.
    snprintf(name, len, "stand-in %c", 'A' + device / 4);
    return SUCCESS;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = total_bytes(), SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    unsigned capability = number("HALOVAE_STAND_IN_CAPABILITY", 90);
    switch (attribute) {
        case MULTIPROCESSOR_COUNT: *value = number("HALOVAE_STAND_IN_MULTIPROCESSORS", 1); break;
        case CAPABILITY_MAJOR: *value = capability / 10; break;
        case CAPABILITY_MINOR: *value = capability % 10; break;
        case POOLS_SUPPORTED: *value = 1; break;
        default: return INVALID_VALUE;
    }
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = reinterpret_cast<void*>(size_t(device) + 1);
    return SUCCESS;
}
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void* context) {
    current_device = reinterpret_cast<size_t>(context) - 1;
    return SUCCESS;
}
int stand_in_device() { return current_device; }
int cuDeviceGetUuid_v2(char* uuid, int device) {
    memcpy(uuid, "stand-in GPU   ", 15);
    return uuid[15] = device, SUCCESS;
}
int cuDeviceCanAccessPeer(int* can, int, int) { return *can = 1, SUCCESS; }

int cuDeviceGetDefaultMemPool(void** pool, int device) {
    *pool = reinterpret_cast<void*>(size_t(device) + 1);
    return SUCCESS;
}
int cuMemPoolSetAttribute(void*, int attribute, void*) {
    return attribute == RELEASE_THRESHOLD ? SUCCESS : INVALID_VALUE;
}
int cuMemPoolGetAttribute(void*, int attribute, void* value) {
    if (attribute != RESERVED_CURRENT) {
        return INVALID_VALUE;
    }
    *static_cast<uint64_t*>(value) = reserved_bytes();
    return SUCCESS;
}
int cuMemPoolTrimTo(void*, size_t) { return trim(), SUCCESS; }
int cuMemPoolSetAccess(void* pool, const Access* access, size_t count) {
    int device = reinterpret_cast<size_t>(pool) - 1;
    for (size_t i = 0; i < count; i++) {
        if (access[i].location_type != 1 || access[i].device == device || access[i].flags != 3) {
            return INVALID_VALUE;
        }
        is_open[device] = true;
    }
    return SUCCESS;
}
bool stand_in_is_open(int device) { return is_open[device]; }
bool stand_in_holds(const void* memory, size_t bytes) { return holds(memory, bytes); }
int cuMemAllocFromPoolAsync(void** memory, size_t bytes, void*, Stream* stream) {
    // A driver makes it a part of the graph, which is not meant.
    if (is_captured(stream)) {
        return CAPTURE_UNSUPPORTED;
    }
    *memory = allocate(bytes);
    return *memory ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFreeAsync(void* memory, Stream* stream) {
    if (!holds(memory, 1)) {
        return INVALID_VALUE;
    }
    if (is_captured(stream)) {
        return CAPTURE_UNSUPPORTED;
    }
    enqueue(stream, [memory] { release(memory); });
    return SUCCESS;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
    *free = free_bytes();
    *total = total_bytes();
    return SUCCESS;
}

int cuStreamCreate(Stream** stream, unsigned) { return *stream = new_stream(), SUCCESS; }
int cuCtxGetStreamPriorityRange(int* least, int* greatest) { return *least = 0, *greatest = -5, SUCCESS; }
int cuStreamCreateWithPriority(Stream** stream, unsigned, int) { return *stream = new_stream(), SUCCESS; }
int cuStreamBeginCapture_v2(Stream* stream, int mode) {
    if (mode != 1 || is_captured(stream) || getenv("HALOVAE_STAND_IN_NO_GRAPHS")) {
        return CAPTURE_UNSUPPORTED;
    }
    return begin_capture(stream), SUCCESS;
}
int cuStreamEndCapture(Stream* stream, Graph** graph) { return *graph = new Graph(end_capture(stream)), SUCCESS; }
int cuGraphInstantiateWithFlags(Graph** made, Graph* graph, unsigned long long) {
    return *made = new Graph(*graph), SUCCESS;
}
int cuGraphDestroy(Graph* graph) { return delete graph, SUCCESS; }
int cuGraphExecDestroy(Graph* graph) { return delete graph, SUCCESS; }
int cuGraphLaunch(Graph* graph, Stream* stream) {
    // A graph that is destroyed is done nevertheless.
    for (const std::function<void()>& work : *graph) {
        enqueue(stream, work);
    }
    return SUCCESS;
}
int cuStreamSynchronize(Stream* stream) {
    if (is_captured(stream)) {
        return CAPTURE_UNSUPPORTED;
    }
    finish(stream);
    return failed ? LAUNCH_FAILED : SUCCESS;
}
int cuStreamDestroy_v2(Stream* stream) { return destroy_stream(stream), SUCCESS; }
int cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
    return wait_for(stream, event->mark), SUCCESS;
}
void stand_in_enqueue(void* stream, void (*work)(void*), void* argument) {
    enqueue_wait(static_cast<Stream*>(stream), [work, argument] { work(argument); });
}

int cuEventCreate(Event** event, unsigned flags) { return *event = new Event{(flags & 2) == 0, {}}, SUCCESS; }
int cuEventSynchronize(Event* event) {
    await_mark(event->mark);
    return failed ? LAUNCH_FAILED : SUCCESS;
}
int cuEventElapsedTime_v2(float* milliseconds, Event* start, Event* end) {
    if (!start->timed || !end->timed || !start->mark || !end->mark) {
        return INVALID_VALUE;
    }
    if (!is_reached(start->mark) || !is_reached(end->mark)) {
        return NOT_READY;
    }
    *milliseconds = 1000 * (time_of(end->mark) - time_of(start->mark));
    return SUCCESS;
}
int cuEventRecord(Event* event, Stream* stream) { return event->mark = set_mark(stream), SUCCESS; }
int cuEventQuery(Event* event) {
    if (!is_reached(event->mark)) {
        return NOT_READY;
    }
    return failed ? LAUNCH_FAILED : SUCCESS;
}
int cuEventDestroy_v2(Event* event) { return delete event, SUCCESS; }

int cuMemcpyHtoDAsync_v2(void* to, const void* from, size_t bytes, Stream* stream) {
    if (!holds(to, bytes)) {
        return INVALID_VALUE;
    }
    // Read before the call returns, as memory is that can be paged.
    const char* first = static_cast<const char*>(from);
    std::vector<char> copy(first, first + bytes);
    enqueue(stream, [to, copy = std::move(copy)] { memcpy(to, copy.data(), copy.size()); });
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(void* to, const void* from, size_t bytes, Stream* stream) {
    if (!holds(from, bytes) || !holds(to, bytes)) {
        return INVALID_VALUE;
    }
    enqueue(stream, [=] { memcpy(to, from, bytes); });
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, const void* from, size_t bytes, Stream* stream) {
    if (!holds(from, bytes)) {
        return INVALID_VALUE;
    }
    enqueue(stream, [=] { memcpy(to, from, bytes); });
    return SUCCESS;
}

// A module is a shared library, which ends with its table of sections.
int cuModuleLoadData(void** module, const void* image) {
    const Elf64_Ehdr* head = static_cast<const Elf64_Ehdr*>(image);
    if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0) {
        return INVALID_IMAGE;
    }
    size_t bytes = head->e_shoff + size_t(head->e_shentsize) * head->e_shnum;
    int file = memfd_create("kernels", 0);
    if (file < 0 || write(file, image, bytes) != ssize_t(bytes)) {
        return INVALID_IMAGE;
    }
    std::string path = "/proc/self/fd/" + std::to_string(file);
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "stand-in: %s\n", dlerror());
        return INVALID_IMAGE;
    }
    *module = new Module{library, file};
    return SUCCESS;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
    void* symbol = dlsym(static_cast<Module*>(module)->library, name);
    if (!symbol) {
        return NOT_FOUND;
    }
    std::string bytes = std::string(name) + "_bytes";
    void* known = dlsym(static_cast<Module*>(module)->library, bytes.c_str());
    if (!known) {
        return NOT_FOUND;
    }
    *function = new Function{reinterpret_cast<void (*)(void**)>(symbol), name,
                             *static_cast<const unsigned*>(known), SHARED_DEFAULT};
    return SUCCESS;
}
int cuModuleUnload(void* handle) {
    Module* module = static_cast<Module*>(handle);
    dlclose(module->library);
    close(module->file);
    delete module;
    return SUCCESS;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
    bool is_hopper = number("HALOVAE_STAND_IN_CAPABILITY", 90) >= 90;
    if (attribute != MAX_DYNAMIC_SHARED || unsigned(value) > (is_hopper ? SHARED_MOST_OF_HOPPER : SHARED_MOST)) {
        return INVALID_VALUE;
    }
    static_cast<Function*>(function)->shared_most = value;
    return SUCCESS;
}
int cuTensorMapEncodeTiled(TensorMap* map, int type, unsigned axes, void* address, const uint64_t* extents,
                           const uint64_t* strides, const uint32_t* box, const uint32_t* steps, int interleave,
                           int swizzle, int, int fill) {
    bool is_half = type == HALF_FLOAT || type == BRAIN_FLOAT;
    bool is_for_matrices = interleave == 0 && swizzle == SWIZZLED_BY_128 && fill == 0;
    if (!is_half || axes < 2 || axes > 3 || !is_for_matrices || reinterpret_cast<uintptr_t>(address) % 16 != 0) {
        return INVALID_VALUE;
    }
    TensorMap made = {static_cast<char*>(address), {1, 1, 1}, {2, 0, 0}, {1, 1, 1}, 2};
    for (unsigned axis = 0; axis < axes; axis++) {
        if (extents[axis] == 0 || extents[axis] > 1ull << 32 || box[axis] == 0 || box[axis] > 256 || steps[axis] != 1) {
            return INVALID_VALUE;
        }
        if (axis > 0 && (strides[axis - 1] % 16 != 0 || strides[axis - 1] >= 1ull << 40)) {
            return INVALID_VALUE;
        }
        made.extents[axis] = extents[axis];
        made.strides[axis] = axis > 0 ? strides[axis - 1] : 2;
        made.box[axis] = box[axis];
    }
    return *map = made, SUCCESS;
}

int cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, Stream* stream, void** arguments, void**) {
    static std::atomic<uint64_t> launches{0};
    static const uint64_t seed = number("HALOVAE_STAND_IN_SEED", 1);
    static const uint64_t fails = number("HALOVAE_STAND_IN_FAILS", ~0u);
    static const uint64_t stops = number("HALOVAE_STAND_IN_STOPS", ~0u);
    Function* function = static_cast<Function*>(handle);
    if (gx == 0 || gy != 1 || gz != 1 || bx > 1024 || by != 1 || bz != 1 || shared > function->shared_most) {
        return INVALID_VALUE;
    }
    uint64_t launch = launches++;
    if (failed || launch >= fails) {
        // A failed device stays failed, as a real one does.
        failed = true;
        return LAUNCH_FAILED;
    }
    if (launch == stops) {
        enqueue_wait(stream, [] {
            const char* told = getenv("HALOVAE_STAND_IN_STOPPED");
            if (FILE* file = told ? fopen(told, "w") : nullptr) {
                fclose(file);
            }
            while (true) {
                pause();
            }
        });
    }
    // Copied before the call returns.
    const char* argument = static_cast<const char*>(arguments[0]);
    std::vector<char> copy(argument, argument + function->argument_bytes);
    enqueue(stream, [=, copy = std::move(copy)]() mutable {
        void* argument = copy.data();
        running = function->name.c_str();
        run_blocks({function->kernel, &argument, {gx, gy, gz}, {bx, by, bz}, shared, running, seed + launch});
        running = nullptr;
    });
    return SUCCESS;
}
}
