// A stand-in for cuDNN's graph API, as far as halovae calls it: convs and matrix products of half
// precision, with sums and products of tensors after them. It is strict where cuDNN may be: types of
// attributes, what is finalized when, extents, alignments, memory.
//
// Its engines, in the order that its heuristics propose them:
//
//   5  notes that it is not deterministic
//   4  needs memory
//   3  makes no plan
//   2  gives a wrong result at the last position
//   1  with a knob that it needs
//   0
//
//   HALOVAE_STAND_IN_CUDNN  slow: engines take their time; refuses: none takes anything; no_handle:
//                           none is made; no_loading: no plan is loaded that this process did not make
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "for_libraries.h"

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1001, BAD_PARAM = 2000, NOT_SUPPORTED = 3000 };
enum Kind {
    POINTWISE = 0,
    CONVOLUTION = 1,
    ENGINE = 2,
    CONFIG = 3,
    HEURISTICS = 4,
    PLAN = 5,
    KNOB = 7,
    CONVOLUTION_FORWARD = 10,
    POINTWISE_OPERATION = 13,
    GRAPH = 15,
    PACK = 16,
    TENSOR = 17,
    MATMUL = 18,
    MATMUL_OPERATION = 19,
    PROPERTIES = 38,
};
enum Type { HANDLE = 0, DATA = 1, BOOLEAN = 2, INT64 = 3, FLOAT = 4, POINTER = 6, CONV_MODE = 7, HEUR = 8,
            KNOB_TYPE = 9, NOTE = 11, POINTWISE_MODE = 14, DESCRIPTOR = 15, INT32 = 23, CHAR = 24 };
enum Data { F32 = 0, F16 = 2, BF16 = 9 };

const int ENGINES = 6;
const int64_t KERNEL_CFG = 24, KNOB_VALUE = 3;

thread_local std::string last_error;

int fail(int status, const std::string& why) {
    last_error = why;
    return status;
}

bool is_set(const char* value) {
    const char* set = getenv("HALOVAE_STAND_IN_CUDNN");
    return set && strcmp(set, value) == 0;
}

struct Tensor {
    int64_t number, data, is_virtual;
    std::vector<int64_t> extents, strides;

    // Bytes from the first to the last element.
    size_t bytes() const {
        int64_t last = 0;
        for (size_t axis = 0; axis < extents.size(); axis++) {
            last += (extents[axis] - 1) * strides[axis];
        }
        return size_t(last + 1) * (data == F32 ? 4 : 2);
    }
};

// What is computed: tensors by number; a conv (`pads` and `steps`) or a matrix product; sums and products.
struct Problem {
    std::map<int64_t, Tensor> tensors;
    bool is_conv = false;
    int64_t left = 0, right = 0, sums = 0;
    std::vector<int64_t> before, steps;
    struct Pointwise {
        int64_t mode, one, other, out;
    };
    std::vector<Pointwise> pointwise;

    int64_t out() const { return pointwise.empty() ? sums : pointwise.back().out; }
};

struct Attribute {
    int type;
    int64_t count;
    std::vector<char> bytes;
    std::vector<std::shared_ptr<struct Descriptor>> descriptors;
};

struct Descriptor {
    int kind;
    bool is_final = false;
    std::map<int, Attribute> attributes;
    Problem problem;
    std::string text;
    std::vector<std::shared_ptr<Descriptor>> results;

    bool has(int name) const { return attributes.count(name) > 0; }
    template <class T>
    std::vector<T> all(int name) const {
        const Attribute& attribute = attributes.at(name);
        std::vector<T> values(attribute.count);
        memcpy(values.data(), attribute.bytes.data(), attribute.bytes.size());
        return values;
    }
    int64_t number(int name) const {
        const Attribute& attribute = attributes.at(name);
        int64_t value = 0;
        memcpy(&value, attribute.bytes.data(), attribute.bytes.size());
        return value;
    }
    std::shared_ptr<Descriptor> part(int name) const { return attributes.at(name).descriptors.at(0); }
};

typedef std::shared_ptr<Descriptor> Shared;

struct Handle {
    void* stream = nullptr;
    int device = stand_in_device();
};

// Which attributes a kind has, of which type, and how many elements at most; those that must be there.
struct Rule {
    int kind, name, type;
    int64_t most;
    bool is_needed;
};
const Rule RULES[] = {
    {POINTWISE, 0, POINTWISE_MODE, 1, true},
    {POINTWISE, 1, DATA, 1, true},
    {CONVOLUTION, 100, DATA, 1, true},
    {CONVOLUTION, 101, CONV_MODE, 1, true},
    {CONVOLUTION, 102, INT64, 2, true},
    {CONVOLUTION, 103, INT64, 2, true},
    {CONVOLUTION, 104, INT64, 2, true},
    {CONVOLUTION, 105, INT64, 2, true},
    {CONVOLUTION, 106, INT64, 1, true},
    {HEURISTICS, 200, HEUR, 1, true},
    {HEURISTICS, 201, DESCRIPTOR, 1, true},
    {HEURISTICS, 204, DESCRIPTOR, 1, true},
    {CONFIG, 300, DESCRIPTOR, 1, true},
    {CONFIG, 302, DESCRIPTOR, 8, false},
    {PLAN, 400, HANDLE, 1, false},
    {PLAN, 401, DESCRIPTOR, 1, false},
    {PLAN, 405, CHAR, 1 << 20, false},
    {PLAN, 407, DESCRIPTOR, 1, false},
    {KNOB, 600, KNOB_TYPE, 1, true},
    {KNOB, 601, INT64, 1, true},
    {CONVOLUTION_FORWARD, 700, FLOAT, 1, true},
    {CONVOLUTION_FORWARD, 701, FLOAT, 1, true},
    {CONVOLUTION_FORWARD, 702, DESCRIPTOR, 1, true},
    {CONVOLUTION_FORWARD, 703, DESCRIPTOR, 1, true},
    {CONVOLUTION_FORWARD, 704, DESCRIPTOR, 1, true},
    {CONVOLUTION_FORWARD, 705, DESCRIPTOR, 1, true},
    {POINTWISE_OPERATION, 750, DESCRIPTOR, 1, true},
    {POINTWISE_OPERATION, 751, DESCRIPTOR, 1, true},
    {POINTWISE_OPERATION, 752, DESCRIPTOR, 1, true},
    {POINTWISE_OPERATION, 753, DESCRIPTOR, 1, true},
    {GRAPH, 801, DESCRIPTOR, 8, true},
    {TENSOR, 900, INT64, 1, true},
    {TENSOR, 901, DATA, 1, true},
    {TENSOR, 902, INT64, 4, true},
    {TENSOR, 903, INT64, 4, true},
    {TENSOR, 906, INT64, 1, true},
    {TENSOR, 907, BOOLEAN, 1, true},
    {PACK, 1000, INT64, 8, true},
    {PACK, 1001, POINTER, 8, true},
    {PACK, 1003, POINTER, 1, true},
    {ENGINE, 1300, DESCRIPTOR, 1, true},
    {ENGINE, 1301, INT64, 1, true},
    {ENGINE, 1307, DESCRIPTOR, 1, true},
    {MATMUL, 1500, DATA, 1, true},
    {MATMUL_OPERATION, 1520, DESCRIPTOR, 1, true},
    {MATMUL_OPERATION, 1521, DESCRIPTOR, 1, true},
    {MATMUL_OPERATION, 1522, DESCRIPTOR, 1, true},
    {MATMUL_OPERATION, 1523, DESCRIPTOR, 1, true},
    {PROPERTIES, 2700, INT32, 1, false},
    {PROPERTIES, 2702, CHAR, 1 << 16, false},
};

size_t size_of(int type) {
    switch (type) {
    case BOOLEAN:
    case CHAR:
        return 1;
    case INT64:
    case HANDLE:
    case POINTER:
    case DESCRIPTOR:
        return 8;
    default:
        return 4;
    }
}

Tensor tensor_of(const Descriptor& of) {
    return {of.number(906), of.number(901), of.number(907), of.all<int64_t>(902), of.all<int64_t>(903)};
}

const char* check_tensor(const Descriptor& of) {
    const Tensor tensor = tensor_of(of);
    if (tensor.extents.size() != tensor.strides.size() || tensor.extents.size() < 3) {
        return "a tensor of so many axes";
    }
    if (*std::min_element(tensor.extents.begin(), tensor.extents.end()) < 1 ||
        *std::min_element(tensor.strides.begin(), tensor.strides.end()) < 1) {
        return "a tensor without elements";
    }
    return of.number(900) == 16 ? nullptr : "an alignment";
}

// A finalized graph as a problem.
const char* read_graph(const Descriptor& graph, Problem& problem) {
    std::set<int64_t> made;
    auto take = [&](const Shared& part) {
        Tensor tensor = tensor_of(*part);
        problem.tensors[tensor.number] = tensor;
        return tensor;
    };
    bool is_first = true;
    for (const Shared& operation : graph.attributes.at(801).descriptors) {
        if (is_first != (operation->kind != POINTWISE_OPERATION)) {
            return "an order of operations that no engine takes";
        }
        is_first = false;
        if (operation->kind == CONVOLUTION_FORWARD) {
            const Tensor x = take(operation->part(704)), w = take(operation->part(703));
            const Tensor y = take(operation->part(705));
            const Shared conv = operation->part(702);
            const auto before = conv->all<int64_t>(105), behind = conv->all<int64_t>(104);
            const auto steps = conv->all<int64_t>(103), dilations = conv->all<int64_t>(102);
            const bool is_plain = conv->number(100) == F32 && conv->number(101) == 1 && conv->number(106) == 2;
            if (!is_plain || dilations != std::vector<int64_t>{1, 1}) {
                return "another kind of conv";
            }
            if (x.extents.size() != 4 || w.extents.size() != 4 || y.extents.size() != 4) {
                return "a conv of so many axes";
            }
            if (x.extents[1] != w.extents[1] || x.extents[0] != y.extents[0] || w.extents[0] != y.extents[1] ||
                x.strides[1] != 1 || w.strides[1] != 1 || y.strides[1] != 1) {
                return "channels that do not fit, or are no neighbours";
            }
            for (int axis = 0; axis < 2; axis++) {
                const int64_t taps = w.extents[2 + axis];
                const int64_t cells = x.extents[2 + axis] + before[axis] + behind[axis];
                if ((cells - taps) / steps[axis] + 1 != y.extents[2 + axis] || before[axis] >= taps) {
                    return "a conv whose extents do not fit";
                }
            }
            problem.is_conv = true;
            problem.before = before;
            problem.steps = steps;
            problem.left = x.number;
            problem.right = w.number;
            problem.sums = y.number;
            made.insert(y.number);
        } else if (operation->kind == MATMUL_OPERATION) {
            const Tensor a = take(operation->part(1520)), b = take(operation->part(1521));
            const Tensor c = take(operation->part(1522));
            if (a.extents.size() != 3 || b.extents.size() != 3 || c.extents.size() != 3 ||
                a.extents[2] != b.extents[1] || a.extents[1] != c.extents[1] || b.extents[2] != c.extents[2]) {
                return "matrices that do not fit";
            }
            problem.left = a.number;
            problem.right = b.number;
            problem.sums = c.number;
            made.insert(c.number);
        } else {
            const Tensor x = take(operation->part(751)), b = take(operation->part(752));
            const Tensor y = take(operation->part(753));
            for (size_t axis = 0; axis < y.extents.size(); axis++) {
                const bool fits = b.extents.at(axis) == 1 || b.extents[axis] == y.extents[axis];
                if (x.extents.at(axis) != y.extents[axis] || !fits) {
                    return "a sum of tensors that do not fit";
                }
            }
            for (const Tensor& operand : {x, b}) {
                if (operand.is_virtual && !made.count(operand.number)) {
                    return "a tensor that nothing makes";
                }
            }
            made.insert(y.number);
            problem.pointwise.push_back({operation->part(750)->number(0), x.number, b.number, y.number});
        }
    }
    const Tensor& left = problem.tensors.at(problem.left);
    if (left.data != problem.tensors.at(problem.right).data || (left.data != F16 && left.data != BF16)) {
        return "a type that no engine takes";
    }
    for (const auto& entry : problem.tensors) {
        const bool is_sum = made.count(entry.first) && entry.first != problem.out();
        if (entry.second.is_virtual != is_sum || (is_sum && entry.second.data != F32)) {
            return "a sum that is in memory, or a tensor that is not";
        }
    }
    return nullptr;
}

std::string text_of(const Problem& problem, int64_t engine, int64_t knob) {
    std::ostringstream text;
    auto list = [&](const std::vector<int64_t>& values) {
        text << values.size() << ' ';
        for (int64_t value : values) {
            text << value << ' ';
        }
    };
    text << "stand-in " << engine << ' ' << knob << ' ' << problem.is_conv << ' ' << problem.left << ' '
         << problem.right << ' ' << problem.sums << ' ';
    list(problem.before);
    list(problem.steps);
    text << problem.tensors.size() << ' ';
    for (const auto& entry : problem.tensors) {
        const Tensor& tensor = entry.second;
        text << tensor.number << ' ' << tensor.data << ' ' << tensor.is_virtual << ' ';
        list(tensor.extents);
        list(tensor.strides);
    }
    text << problem.pointwise.size() << ' ';
    for (const Problem::Pointwise& op : problem.pointwise) {
        text << op.mode << ' ' << op.one << ' ' << op.other << ' ' << op.out << ' ';
    }
    text << "end " << getpid();
    return text.str();
}

bool read_text(const std::string& from, Problem& problem, int64_t& engine) {
    std::istringstream text(from);
    std::string word;
    int64_t knob, count, process;
    auto list = [&](std::vector<int64_t>& values) {
        text >> count;
        for (int64_t i = 0, value; text && i < count && i < 8; i++) {
            text >> value;
            values.push_back(value);
        }
    };
    text >> word >> engine >> knob >> problem.is_conv >> problem.left >> problem.right >> problem.sums;
    list(problem.before);
    list(problem.steps);
    text >> count;
    for (int64_t left = std::min<int64_t>(count, 16); text && left > 0; left--) {
        Tensor tensor;
        text >> tensor.number >> tensor.data >> tensor.is_virtual;
        list(tensor.extents);
        list(tensor.strides);
        problem.tensors[tensor.number] = tensor;
    }
    text >> count;
    for (int64_t left = std::min<int64_t>(count, 8); text && left > 0; left--) {
        Problem::Pointwise op;
        text >> op.mode >> op.one >> op.other >> op.out;
        problem.pointwise.push_back(op);
    }
    const bool is_whole = text && word == "stand-in" && text >> word && word == "end" && text >> process;
    return is_whole && (!is_set("no_loading") || process == getpid());
}

float load(const void* memory, int64_t at, int64_t data) {
    if (data == F32) {
        return static_cast<const float*>(memory)[at];
    }
    uint16_t bits = static_cast<const uint16_t*>(memory)[at];
    if (data == BF16) {
        uint32_t wide = uint32_t(bits) << 16;
        float x;
        memcpy(&x, &wide, 4);
        return x;
    }
    _Float16 half;
    memcpy(&half, &bits, 2);
    return half;
}

void store(void* memory, int64_t at, int64_t data, float x) {
    if (data == F32) {
        static_cast<float*>(memory)[at] = x;
        return;
    }
    uint16_t bits;
    if (data == BF16) {
        uint32_t wide;
        memcpy(&wide, &x, 4);
        bits = x != x ? 0x7fff : uint16_t((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
    } else {
        _Float16 half = x;
        memcpy(&bits, &half, 2);
    }
    static_cast<uint16_t*>(memory)[at] = bits;
}

struct Run {
    Problem problem;
    int64_t engine;
    std::map<int64_t, void*> memory;

    float read(int64_t number, const std::vector<int64_t>& at) const {
        const Tensor& tensor = problem.tensors.at(number);
        int64_t place = 0;
        for (size_t axis = 0; axis < at.size(); axis++) {
            place += tensor.extents[axis] == 1 ? 0 : at[axis] * tensor.strides[axis];
        }
        return load(memory.at(number), place, tensor.data);
    }

    float sum_at(const std::vector<int64_t>& at) const {
        const Tensor &left = problem.tensors.at(problem.left), &right = problem.tensors.at(problem.right);
        const void *x = memory.at(problem.left), *w = memory.at(problem.right);
        float sum = 0;
        if (!problem.is_conv) {
            for (int64_t k = 0; k < left.extents[2]; k++) {
                sum += load(x, at[1] * left.strides[1] + k * left.strides[2], left.data) *
                       load(w, k * right.strides[1] + at[2] * right.strides[2], right.data);
            }
            return sum;
        }
        for (int64_t i = 0; i < right.extents[2]; i++) {
            for (int64_t j = 0; j < right.extents[3]; j++) {
                const int64_t row = at[2] * problem.steps[0] + i - problem.before[0];
                const int64_t column = at[3] * problem.steps[1] + j - problem.before[1];
                if (row < 0 || row >= left.extents[2] || column < 0 || column >= left.extents[3]) {
                    continue;
                }
                const int64_t cell = at[0] * left.strides[0] + row * left.strides[2] + column * left.strides[3];
                const int64_t taps = at[1] * right.strides[0] + i * right.strides[2] + j * right.strides[3];
                for (int64_t c = 0; c < left.extents[1]; c++) {
                    sum += load(x, cell + c, left.data) * load(w, taps + c, right.data);
                }
            }
        }
        return sum;
    }

    float value(int64_t number, const std::vector<int64_t>& at) const {
        if (number == problem.sums) {
            return sum_at(at);
        }
        for (const Problem::Pointwise& op : problem.pointwise) {
            if (op.out == number) {
                const float one = value(op.one, at), other = value(op.other, at);
                return op.mode == 0 ? one + other : one * other;
            }
        }
        return read(number, at);
    }

    void done() const {
        if (is_set("slow")) {
            std::this_thread::sleep_for(std::chrono::milliseconds(80));
        }
        const Tensor& out = problem.tensors.at(problem.out());
        std::vector<int64_t> at(out.extents.size(), 0);
        while (true) {
            float x = value(out.number, at);
            int64_t place = 0;
            bool is_last = true;
            for (size_t axis = 0; axis < at.size(); axis++) {
                place += at[axis] * out.strides[axis];
                is_last &= at[axis] + 1 == out.extents[axis];
            }
            if (engine == 2 && is_last) {
                x += 1;
            }
            store(memory.at(out.number), place, out.data, x);
            if (is_last) {
                return;
            }
            for (size_t axis = at.size(); axis-- > 0;) {
                if (++at[axis] < out.extents[axis]) {
                    break;
                }
                at[axis] = 0;
            }
        }
    }
};

Shared made(int kind) {
    Shared descriptor = std::make_shared<Descriptor>();
    descriptor->kind = kind;
    return descriptor;
}

void put(Descriptor& descriptor, int name, int type, int64_t value) {
    Attribute attribute = {type, 1, std::vector<char>(size_of(type)), {}};
    memcpy(attribute.bytes.data(), &value, attribute.bytes.size());
    descriptor.attributes[name] = attribute;
}

void put(Descriptor& descriptor, int name, const Shared& part) {
    descriptor.attributes[name] = {DESCRIPTOR, 1, {}, {part}};
}

// What the heuristics propose.
void propose(Descriptor& heuristics) {
    for (int64_t index = ENGINES - 1; index >= 0; index--) {
        Shared engine = made(ENGINE), config = made(CONFIG);
        put(*engine, 1300, heuristics.part(201));
        put(*engine, 1301, INT64, index);
        put(*engine, 1307, heuristics.part(204));
        engine->is_final = true;
        put(*config, 300, engine);
        if (index == 1) {
            Shared knob = made(KNOB);
            put(*knob, 600, KNOB_TYPE, KERNEL_CFG);
            put(*knob, 601, INT64, KNOB_VALUE);
            knob->is_final = true;
            put(*config, 302, knob);
        }
        config->is_final = true;
        heuristics.results.push_back(config);
    }
}

int finalize_plan(Descriptor& plan) {
    if (plan.has(405)) {
        const auto chars = plan.all<char>(405);
        int64_t engine;
        if (!plan.has(400) || plan.has(401)) {
            return fail(BAD_PARAM, "a plan of text needs a handle, and nothing else");
        }
        plan.text = std::string(chars.begin(), chars.end());
        if (!read_text(plan.text, plan.problem, engine)) {
            return fail(BAD_PARAM, "a text that is no plan");
        }
        return SUCCESS;
    }
    if (!plan.has(401) || !plan.has(407)) {
        return fail(BAD_PARAM, "a plan without a config, or without a device");
    }
    const Shared config = plan.part(401), engine = config->part(300);
    const int64_t index = engine->number(1301);
    int64_t knob = 0;
    if (config->has(302)) {
        const Shared choice = config->part(302);
        knob = choice->number(600) == KERNEL_CFG ? choice->number(601) : -1;
    }
    if (index == 3 || knob != (index == 1 ? KNOB_VALUE : 0)) {
        return fail(NOT_SUPPORTED, "an engine that makes no plan");
    }
    plan.problem = engine->part(1300)->problem;
    plan.text = text_of(plan.problem, index, knob);
    return SUCCESS;
}

int finalize(Descriptor& of) {
    for (const Rule& rule : RULES) {
        if (rule.kind == of.kind && rule.is_needed && !of.has(rule.name)) {
            return fail(BAD_PARAM, "attribute " + std::to_string(rule.name) + " is missing");
        }
    }
    const char* wrong = nullptr;
    switch (of.kind) {
    case TENSOR:
        wrong = check_tensor(of);
        break;
    case GRAPH:
        wrong = read_graph(of, of.problem);
        break;
    case HEURISTICS:
        if (is_set("refuses")) {
            return fail(NOT_SUPPORTED, "no engine takes this");
        }
        propose(of);
        break;
    case ENGINE:
        wrong = of.number(1301) < 0 || of.number(1301) >= ENGINES ? "there is no such engine" : nullptr;
        break;
    case PLAN:
        if (int status = finalize_plan(of)) {
            return status;
        }
        break;
    case PACK:
        wrong = of.attributes.at(1000).count != of.attributes.at(1001).count ? "pointers for others" : nullptr;
        break;
    case PROPERTIES:
        if (of.has(2700) == of.has(2702)) {
            wrong = "a device, or a description of one";
        } else if (of.has(2700)) {
            of.text = "{\"cudaDeviceId\":" + std::to_string(of.number(2700)) + ",\"deviceName\":\"stand-in A\"}";
        } else {
            const auto chars = of.all<char>(2702);
            of.text = std::string(chars.begin(), chars.end());
            wrong = of.text.find("deviceName") == std::string::npos ? "no description" : nullptr;
        }
        break;
    default:
        break;
    }
    if (wrong) {
        return fail(BAD_PARAM, wrong);
    }
    of.is_final = true;
    return SUCCESS;
}

// Copies what there is, as far as there is room.
template <class T>
int give(const std::vector<T>& values, int64_t room, int64_t* count, void* to) {
    *count = values.size();
    if (room > 0) {
        memcpy(to, values.data(), std::min<size_t>(room, values.size()) * sizeof(T));
    }
    return SUCCESS;
}

} // namespace

extern "C" {

size_t cudnnGetVersion() { return 90800; }
size_t cudnnGetCudartVersion() { return 13000; }

const char* cudnnGetErrorString(int status) {
    switch (status) {
    case SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case NOT_INITIALIZED:
        return "CUDNN_STATUS_NOT_INITIALIZED";
    case BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    default:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    }
}

void cudnnGetLastErrorString(char* message, size_t most) {
    strncpy(message, last_error.c_str(), most);
    last_error.clear();
}

int cudnnCreate(Handle** handle) {
    if (is_set("no_handle")) {
        return fail(NOT_INITIALIZED, "no handle is made");
    }
    *handle = new Handle;
    return SUCCESS;
}

int cudnnDestroy(Handle* handle) {
    delete handle;
    return SUCCESS;
}

int cudnnSetStream(Handle* handle, void* stream) {
    handle->stream = stream;
    return SUCCESS;
}

int cudnnBackendCreateDescriptor(int kind, Shared** descriptor) {
    *descriptor = new Shared(made(kind));
    return SUCCESS;
}

int cudnnBackendDestroyDescriptor(Shared* descriptor) {
    delete descriptor;
    return SUCCESS;
}

int cudnnBackendSetAttribute(Shared* descriptor, int name, int type, int64_t count, const void* values) {
    Descriptor& of = **descriptor;
    if (of.is_final) {
        return fail(BAD_PARAM, "a descriptor that is final");
    }
    const Rule* found = nullptr;
    for (const Rule& rule : RULES) {
        found = rule.kind == of.kind && rule.name == name ? &rule : found;
    }
    if (!found || found->type != type || count < 1 || count > found->most) {
        return fail(BAD_PARAM, "attribute " + std::to_string(name) + " of type " + std::to_string(type));
    }
    Attribute attribute = {type, count, {}, {}};
    const char* bytes = static_cast<const char*>(values);
    if (type == DESCRIPTOR) {
        for (int64_t i = 0; i < count; i++) {
            const Shared& part = *static_cast<Shared* const*>(values)[i];
            if (!part->is_final) {
                return fail(BAD_PARAM, "a part that is not final");
            }
            attribute.descriptors.push_back(part);
        }
    } else {
        attribute.bytes.assign(bytes, bytes + count * size_of(type));
    }
    of.attributes[name] = attribute;
    return SUCCESS;
}

int cudnnBackendFinalize(Shared* descriptor) {
    if ((*descriptor)->is_final) {
        return fail(BAD_PARAM, "it is final already");
    }
    return finalize(**descriptor);
}

int cudnnBackendGetAttribute(Shared* descriptor, int name, int type, int64_t room, int64_t* count, void* to) {
    Descriptor& of = **descriptor;
    if (!of.is_final) {
        return fail(NOT_INITIALIZED, "a descriptor that is not final");
    }
    if (of.kind == HEURISTICS && name == 202 && type == DESCRIPTOR) {
        *count = of.results.size();
        for (int64_t i = 0; i < std::min(room, *count); i++) {
            *static_cast<Shared**>(to)[i] = of.results[i];
        }
        return SUCCESS;
    }
    if (of.kind == CONFIG && (name == 300 || name == 302) && type == DESCRIPTOR) {
        *count = of.has(name) ? 1 : 0;
        if (room > 0 && *count > 0) {
            *static_cast<Shared**>(to)[0] = of.part(name);
        }
        return SUCCESS;
    }
    if (of.kind == ENGINE && name == 1301 && type == INT64) {
        return give(of.all<int64_t>(name), room, count, to);
    }
    if (of.kind == ENGINE && name == 1303 && type == NOTE) {
        std::vector<int> notes = {0};
        if (of.number(1301) == 5) {
            notes.push_back(4);
        }
        return give(notes, room, count, to);
    }
    if (of.kind == KNOB && name == 600 && type == KNOB_TYPE) {
        return give(of.all<int>(name), room, count, to);
    }
    if (of.kind == KNOB && name == 601 && type == INT64) {
        return give(of.all<int64_t>(name), room, count, to);
    }
    if (of.kind == PLAN && name == 402 && type == INT64) {
        const bool needs = of.part(401)->part(300)->number(1301) == 4;
        return give(std::vector<int64_t>{needs ? 512 : 0}, room, count, to);
    }
    const bool is_text = (of.kind == PLAN && name == 405) || (of.kind == PROPERTIES && name == 2702);
    if (is_text && type == CHAR) {
        return give(std::vector<char>(of.text.c_str(), of.text.c_str() + of.text.size() + 1), room, count, to);
    }
    return fail(BAD_PARAM, "there is no attribute " + std::to_string(name));
}

int cudnnBackendExecute(Handle* handle, Shared* plan, Shared* pack) {
    if (!(*plan)->is_final || (*plan)->kind != PLAN || !(*plan)->has(400) || !(*pack)->is_final) {
        return fail(BAD_PARAM, "a plan that was not loaded");
    }
    Handle* of;
    memcpy(&of, (*plan)->attributes.at(400).bytes.data(), sizeof of);
    if (of != handle || stand_in_device() != handle->device || !handle->stream) {
        return fail(BAD_PARAM, "a handle of another device, or without a stream");
    }
    std::unique_ptr<Run> run(new Run);
    read_text((*plan)->text, run->problem, run->engine);
    const auto numbers = (*pack)->all<int64_t>(1000);
    const auto pointers = (*pack)->all<void*>(1001);
    for (size_t i = 0; i < numbers.size(); i++) {
        const auto found = run->problem.tensors.find(numbers[i]);
        if (found == run->problem.tensors.end() || found->second.is_virtual) {
            return fail(BAD_PARAM, "a pointer for no tensor");
        }
        if (uintptr_t(pointers[i]) % 16 != 0 || !stand_in_holds(pointers[i], found->second.bytes())) {
            return fail(BAD_PARAM, "a pointer that is not aligned, or to too little memory");
        }
        run->memory[numbers[i]] = pointers[i];
    }
    for (const auto& entry : run->problem.tensors) {
        if (!entry.second.is_virtual && !run->memory.count(entry.first)) {
            return fail(BAD_PARAM, "a tensor without a pointer");
        }
    }
    // A graph does it any number of times: its work is not deleted.
    stand_in_enqueue(handle->stream, [](void* work) { static_cast<Run*>(work)->done(); }, run.release());
    return SUCCESS;
}

} // extern "C"
