// A stand-in for NCCL, as far as halovae calls it, among processes and threads of one machine. It is
// strict where NCCL leaves things undefined: calls before the last one is done, messages of another
// length than is awaited, memory that other devices cannot reach.
//
//   HALOVAE_STAND_IN_NCCL_BREAKS  the group call, counted over a process, whose exchange breaks (never)
//   HALOVAE_STAND_IN_NCCL_REFUSES if set, nothing is connected
//   NCCL_MULTI_RANK_GPU_ENABLE    1: ranks may share a GPU
#include <arpa/inet.h>
#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "for_libraries.h"

// `ncclResult_t`, those that are used.
enum Result {
    SUCCESS = 0,
    SYSTEM_ERROR = 2,
    INVALID_ARGUMENT = 4,
    INVALID_USAGE = 5,
    REMOTE_ERROR = 6,
    IN_PROGRESS = 7,
};

struct UniqueId {
    // Of the socket where ranks meet.
    uint16_t port;
    char unused[126];
};

struct Config {
    size_t size;
    unsigned magic, version;
    int blocking, next;
};

// What ranks tell the root, and the root all ranks.
struct Member {
    int rank, size, device, process;
    uint16_t port;
};

namespace {

struct Operation {
    bool sends;
    void* memory;
    size_t bytes;
    int peer;
};

struct Communicator {
    int rank = 0, size = 0, device = 0;
    std::vector<Member> members;
    std::vector<int> sockets;
    std::atomic<int> state{IN_PROGRESS};
    std::atomic<bool> aborted{false};
    std::mutex mutex;
    std::string error;
    // What goes on beside the calls.
    std::thread worker;

    ~Communicator() {
        for (int socket : sockets) {
            if (socket >= 0) {
                close(socket);
            }
        }
    }

    void fail(int code, const std::string& message) {
        std::lock_guard<std::mutex> lock(mutex);
        if (error.empty()) {
            error = message;
        }
        state = code;
    }
};

typedef std::shared_ptr<Communicator> Shared;

struct Handle {
    Shared communicator;
    // The text that was given last.
    std::string text;
};

bool move_bytes(int socket, void* memory, size_t bytes, bool sends, const std::atomic<bool>* aborted) {
    char* at = static_cast<char*>(memory);
    while (bytes > 0) {
        if (aborted && *aborted) {
            return false;
        }
        pollfd wanted = {socket, short(sends ? POLLOUT : POLLIN), 0};
        if (poll(&wanted, 1, 20) == 0) {
            continue;
        }
        ssize_t moved = sends ? send(socket, at, bytes, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : recv(socket, at, bytes, MSG_DONTWAIT);
        if (moved == 0 || (moved < 0 && errno != EAGAIN && errno != EINTR)) {
            return false;
        }
        at += moved > 0 ? moved : 0;
        bytes -= moved > 0 ? moved : 0;
    }
    return true;
}

int listener(uint16_t* port) {
    int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (socket < 0 || bind(socket, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(socket, 64) != 0 ||
        getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        return -1;
    }
    *port = ntohs(address.sin_port);
    return socket;
}

int connect_to(uint16_t port) {
    int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? socket : -1;
}

int accept_from(int listening, const std::atomic<bool>* aborted) {
    while (!aborted || !*aborted) {
        pollfd wanted = {listening, POLLIN, 0};
        if (poll(&wanted, 1, 20) > 0) {
            return accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
        }
    }
    return -1;
}

// Where ranks meet: an all-gather of their places.
void root(int listening) {
    std::map<int, std::pair<int, Member>> come;
    size_t size = 1;
    while (come.size() < size) {
        int socket = accept_from(listening, nullptr);
        Member member;
        if (!move_bytes(socket, &member, sizeof member, false, nullptr)) {
            close(socket);
            continue;
        }
        size = member.size;
        come[member.rank] = {socket, member};
    }
    std::vector<Member> members;
    for (const auto& one : come) {
        members.push_back(one.second.second);
    }
    for (const auto& one : come) {
        move_bytes(one.second.first, members.data(), sizeof(Member) * size, true, nullptr);
        close(one.second.first);
    }
    close(listening);
}

void meet(Shared shared, uint16_t port) {
    Communicator& own = *shared;
    Member member = {own.rank, own.size, own.device, getpid(), 0};
    int listening = listener(&member.port), socket = connect_to(port);
    own.members.resize(own.size);
    if (listening < 0 || socket < 0 || !move_bytes(socket, &member, sizeof member, true, &own.aborted) ||
        !move_bytes(socket, own.members.data(), sizeof(Member) * own.size, false, &own.aborted)) {
        return own.fail(SYSTEM_ERROR, "the root does not answer");
    }
    close(socket);
    const char* may_share = getenv("NCCL_MULTI_RANK_GPU_ENABLE");
    for (const Member& other : own.members) {
        bool shares = other.rank != own.rank && other.device == own.device;
        if (shares && (!may_share || strcmp(may_share, "1") != 0)) {
            return own.fail(INVALID_USAGE, "Multiple Ranks are using the same GPU/Partition");
        }
    }
    for (int peer = 0; peer < own.rank; peer++) {
        own.sockets[peer] = connect_to(own.members[peer].port);
        move_bytes(own.sockets[peer], &own.rank, sizeof own.rank, true, &own.aborted);
    }
    for (int i = own.rank + 1; i < own.size; i++) {
        int peer, socket = accept_from(listening, &own.aborted);
        if (socket < 0 || !move_bytes(socket, &peer, sizeof peer, false, &own.aborted)) {
            return own.fail(SYSTEM_ERROR, "a rank does not come");
        }
        own.sockets[peer] = socket;
    }
    close(listening);
    own.state = SUCCESS;
}

// A message: its length, then its bytes.
void operate(Communicator& own, const Operation& operation) {
    int socket = own.sockets[operation.peer];
    uint64_t bytes = operation.bytes;
    bool moved = move_bytes(socket, &bytes, sizeof bytes, operation.sends, &own.aborted);
    if (moved && bytes != operation.bytes) {
        return own.fail(INVALID_USAGE, "a message of " + std::to_string(bytes) + " bytes where " +
                                           std::to_string(operation.bytes) + " are awaited");
    }
    if (!moved || !move_bytes(socket, operation.memory, bytes, operation.sends, &own.aborted)) {
        own.fail(REMOTE_ERROR, "rank " + std::to_string(operation.peer) + " is gone");
    }
}

struct Exchange {
    Shared communicator;
    std::vector<Operation> operations;
    bool breaks;
};

// In the stream. What fails stays there until the communicator is aborted, as NCCL's kernels do.
void exchange(void* argument) {
    std::unique_ptr<Exchange> work(static_cast<Exchange*>(argument));
    Communicator& own = *work->communicator;
    // What should wait for this and does not, is there before.
    usleep(rand() % 300);
    if (work->breaks) {
        own.fail(REMOTE_ERROR, "broken on purpose");
    }
    std::map<std::pair<int, bool>, std::vector<Operation>> queues;
    for (const Operation& operation : work->operations) {
        queues[{operation.peer, operation.sends}].push_back(operation);
    }
    std::vector<std::thread> threads;
    for (const auto& queue : queues) {
        threads.emplace_back([&own, &queue] {
            for (const Operation& operation : queue.second) {
                if (own.state == SUCCESS || own.state == IN_PROGRESS) {
                    operate(own, operation);
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    while (own.state != SUCCESS && own.state != IN_PROGRESS && !own.aborted) {
        usleep(1000);
    }
}

thread_local int depth = 0;
thread_local std::vector<Operation> grouped;
thread_local Handle* in_group = nullptr;
thread_local void* group_stream = nullptr;

int operation(bool sends, void* memory, size_t bytes, int type, int peer, Handle* handle, void* stream) {
    Communicator& own = *handle->communicator;
    if (type != 1 || peer < 0 || peer >= own.size || peer == own.rank) {
        return INVALID_ARGUMENT;
    }
    if (depth == 0 || own.state == IN_PROGRESS || (in_group && (in_group != handle || group_stream != stream))) {
        return INVALID_USAGE;
    }
    // A thread's kernels write to where another thread's tensor is.
    bool same_process = own.members[peer].process == getpid();
    if (!sends && same_process && own.members[peer].device != own.device && !stand_in_is_open(own.device)) {
        return own.fail(INVALID_USAGE, "the pool is closed to peers"), INVALID_USAGE;
    }
    if (own.state != SUCCESS) {
        return own.state;
    }
    in_group = handle;
    group_stream = stream;
    grouped.push_back({sends, memory, bytes, peer});
    return SUCCESS;
}

}  // namespace

extern "C" {

int ncclGetVersion(int* version) { return *version = 23000, SUCCESS; }
const char* ncclGetErrorString(int code) {
    switch (code) {
        case SYSTEM_ERROR: return "unhandled system error";
        case INVALID_ARGUMENT: return "invalid argument";
        case INVALID_USAGE: return "invalid usage";
        case REMOTE_ERROR: return "remote process exited or there was a network error";
        default: return "the stand-in refuses";
    }
}
const char* ncclGetLastError(Handle* handle) {
    if (!handle) {
        return "";
    }
    std::lock_guard<std::mutex> lock(handle->communicator->mutex);
    handle->text = handle->communicator->error;
    return handle->text.c_str();
}

int ncclGetUniqueId(UniqueId* id) {
    memset(id, 0x5a, sizeof *id);
    int listening = listener(&id->port);
    if (listening < 0) {
        return SYSTEM_ERROR;
    }
    std::thread(root, listening).detach();
    return SUCCESS;
}

int ncclCommInitRankConfig(Handle** handle, int size, UniqueId id, int rank, Config* config) {
    if (config->magic != 0xcafebeef || config->version < 21400 || config->version >= 21700 ||
        config->size != sizeof(Config) || config->blocking != 0 || rank >= size) {
        return INVALID_ARGUMENT;
    }
    if (getenv("HALOVAE_STAND_IN_NCCL_REFUSES")) {
        return SYSTEM_ERROR;
    }
    Shared shared = std::make_shared<Communicator>();
    shared->rank = rank;
    shared->size = size;
    shared->device = stand_in_device();
    shared->sockets.assign(size, -1);
    shared->worker = std::thread(meet, shared, id.port);
    *handle = new Handle{shared, {}};
    return IN_PROGRESS;
}

int ncclCommGetAsyncError(Handle* handle, int* state) { return *state = handle->communicator->state, SUCCESS; }

int ncclCommAbort(Handle* handle) {
    Communicator& own = *handle->communicator;
    own.aborted = true;
    own.worker.join();
    // What is still in the stream keeps the communicator.
    for (int socket : own.sockets) {
        if (socket >= 0) {
            shutdown(socket, SHUT_RDWR);
        }
    }
    delete handle;
    return SUCCESS;
}

int ncclGroupStart() { return depth++, SUCCESS; }

int ncclGroupEnd() {
    static std::atomic<unsigned> calls{0};
    const char* breaks = getenv("HALOVAE_STAND_IN_NCCL_BREAKS");
    if (depth == 0 || --depth > 0) {
        return depth == 0 ? INVALID_USAGE : SUCCESS;
    }
    Handle* handle = std::exchange(in_group, nullptr);
    std::vector<Operation> operations = std::move(grouped);
    grouped.clear();
    if (!handle) {
        return SUCCESS;
    }
    Shared shared = handle->communicator;
    bool broken = breaks && calls++ == strtoul(breaks, nullptr, 10);
    void* stream = group_stream;
    shared->worker.join();
    shared->state = IN_PROGRESS;
    // Another thread puts it into the stream, after the call has returned.
    shared->worker = std::thread([=] {
        usleep(rand() % 200);
        stand_in_enqueue(stream, exchange, new Exchange{shared, operations, broken});
        int expected = IN_PROGRESS;
        shared->state.compare_exchange_strong(expected, SUCCESS);
    });
    return IN_PROGRESS;
}

int ncclSend(void* memory, size_t bytes, int type, int peer, Handle* handle, void* stream) {
    return operation(true, memory, bytes, type, peer, handle, stream);
}
int ncclRecv(void* memory, size_t bytes, int type, int peer, Handle* handle, void* stream) {
    return operation(false, memory, bytes, type, peer, handle, stream);
}
}
