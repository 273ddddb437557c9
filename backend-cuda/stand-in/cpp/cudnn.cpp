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
// Of the bad ones a loaded plan computes the first time alone, and takes no time later: they would be the
// fastest, if they were taken.
//
//   HALOVAE_STAND_IN_CUDNN  slow: engines take their time; refuses: none takes anything; no_handle:
//                           none is made; no_loading: no plan is loaded that this process did not make;
//                           stuck: engine 0 does not end
#include "cudnn_descriptor.h"
#include "for_libraries.h"

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1001, BAD_PARAM = 2000, NOT_SUPPORTED = 3000 };

const int ENGINES = 6;
const int64_t KERNEL_CFG = 24, KNOB_VALUE = 3;

thread_local std::string last_error;

int fail(int status, const std::string& why) {
    last_error = why;
    return status;
}

struct Handle {
    void* stream = nullptr;
    int device = stand_in_device();
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
    if (!plan.has(401) || !plan.has(400)) {
        return fail(BAD_PARAM, "a plan without a config, or without a handle");
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
        of.text = "{\"cudaDeviceId\":" + std::to_string(of.number(2700)) + ",\"deviceName\":\"stand-in A\"}";
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
    run->is_idle = run->engine > 1 && (*plan)->has_run;
    (*plan)->has_run = true;
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
