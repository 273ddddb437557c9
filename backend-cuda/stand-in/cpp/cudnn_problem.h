// What the stand-in for cuDNN computes: a conv or a matrix product, with sums and products of tensors after
// it; as text, which is what plans are kept as; and done.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

enum Data { F32 = 0, F16 = 2, BF16 = 9 };

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
    bool is_idle = false;
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
        if (is_idle) {
            return;
        }
        while (is_set("stuck") && engine == 0) {
            std::this_thread::sleep_for(std::chrono::seconds(1));
        }
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

} // namespace
