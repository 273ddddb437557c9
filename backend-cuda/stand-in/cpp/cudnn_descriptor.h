// Descriptors of the stand-in for cuDNN, and what may be set of them.
#pragma once
#include <memory>
#include <set>

#include "cudnn_problem.h"

namespace {

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

struct Attribute {
    int type;
    int64_t count;
    std::vector<char> bytes;
    std::vector<std::shared_ptr<struct Descriptor>> descriptors;
};

struct Descriptor {
    int kind;
    bool is_final = false;
    // Of a plan.
    bool has_run = false;
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
    {CONFIG, 300, DESCRIPTOR, 1, true},
    {CONFIG, 302, DESCRIPTOR, 8, false},
    {PLAN, 400, HANDLE, 1, false},
    {PLAN, 401, DESCRIPTOR, 1, false},
    {PLAN, 405, CHAR, 1 << 20, false},
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
    {GRAPH, 800, HANDLE, 1, true},
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
    {MATMUL, 1500, DATA, 1, true},
    {MATMUL_OPERATION, 1520, DESCRIPTOR, 1, true},
    {MATMUL_OPERATION, 1521, DESCRIPTOR, 1, true},
    {MATMUL_OPERATION, 1522, DESCRIPTOR, 1, true},
    {MATMUL_OPERATION, 1523, DESCRIPTOR, 1, true},
    {PROPERTIES, 2700, INT32, 1, true},
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

} // namespace
