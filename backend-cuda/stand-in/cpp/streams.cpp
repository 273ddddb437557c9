#include "streams.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

struct Stream {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::function<void()>> queue;
    // Work that is under way counts until it is done.
    size_t pending = 0;
    bool ends = false;
    std::thread worker;
    bool captured = false;
    Graph graph;

    void work() {
        std::unique_lock<std::mutex> lock(mutex);
        while (true) {
            changed.wait(lock, [&] { return ends || !queue.empty(); });
            if (queue.empty()) {
                return;
            }
            std::function<void()> next = std::move(queue.front());
            queue.pop_front();
            lock.unlock();
            next();
            lock.lock();
            pending--;
            changed.notify_all();
        }
    }
};

struct Mark {
    std::mutex mutex;
    std::condition_variable changed;
    bool reached = false;
    std::chrono::steady_clock::time_point time;

    void await() {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return reached; });
    }
};

Stream* new_stream() { return new Stream; }

void enqueue_wait(Stream* stream, std::function<void()> work) {
    std::lock_guard<std::mutex> lock(stream->mutex);
    if (stream->captured) {
        stream->graph.push_back(std::move(work));
        return;
    }
    stream->queue.push_back(std::move(work));
    stream->pending++;
    if (!stream->worker.joinable()) {
        stream->worker = std::thread([stream] { stream->work(); });
    }
    stream->changed.notify_all();
}

void enqueue(Stream* stream, std::function<void()> work) {
    {
        std::lock_guard<std::mutex> lock(stream->mutex);
        if (stream->captured) {
            stream->graph.push_back(std::move(work));
            return;
        }
        if (stream->pending > 0) {
            stream->queue.push_back(std::move(work));
            stream->pending++;
            stream->changed.notify_all();
            return;
        }
    }
    // One thread queues: a stream belongs to a rank.
    work();
}

void finish(Stream* stream) {
    std::unique_lock<std::mutex> lock(stream->mutex);
    stream->changed.wait(lock, [&] { return stream->pending == 0; });
}

void begin_capture(Stream* stream) {
    std::lock_guard<std::mutex> lock(stream->mutex);
    stream->captured = true;
    stream->graph.clear();
}

bool is_captured(Stream* stream) {
    std::lock_guard<std::mutex> lock(stream->mutex);
    return stream->captured;
}

Graph end_capture(Stream* stream) {
    std::lock_guard<std::mutex> lock(stream->mutex);
    stream->captured = false;
    return std::move(stream->graph);
}

void destroy_stream(Stream* stream) {
    finish(stream);
    {
        std::lock_guard<std::mutex> lock(stream->mutex);
        stream->ends = true;
        stream->changed.notify_all();
    }
    if (stream->worker.joinable()) {
        stream->worker.join();
    }
    delete stream;
}

std::shared_ptr<Mark> set_mark(Stream* stream) {
    std::shared_ptr<Mark> mark = std::make_shared<Mark>();
    enqueue(stream, [mark] {
        std::lock_guard<std::mutex> lock(mark->mutex);
        mark->reached = true;
        mark->time = std::chrono::steady_clock::now();
        mark->changed.notify_all();
    });
    return mark;
}

bool is_reached(const std::shared_ptr<Mark>& mark) {
    if (!mark) {
        return true;
    }
    std::lock_guard<std::mutex> lock(mark->mutex);
    return mark->reached;
}

void wait_for(Stream* stream, const std::shared_ptr<Mark>& mark) {
    if (is_reached(mark)) {
        return;
    }
    enqueue_wait(stream, [mark] { mark->await(); });
}

double time_of(const std::shared_ptr<Mark>& mark) {
    std::lock_guard<std::mutex> lock(mark->mutex);
    return std::chrono::duration<double>(mark->time.time_since_epoch()).count();
}

void await_mark(const std::shared_ptr<Mark>& mark) {
    if (mark) {
        mark->await();
    }
}
