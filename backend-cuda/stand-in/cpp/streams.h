// Streams: what is queued is done in order, by a thread of the stream's own once anything has to wait.
#pragma once
#include <functional>
#include <memory>

#include <vector>

struct Stream;
struct Mark;

// Work in order, to be done any number of times.
typedef std::vector<std::function<void()>> Graph;

Stream* new_stream();
// When all of it is done.
void destroy_stream(Stream* stream);
// Does `work` at once if nothing is before it, or else later.
void enqueue(Stream* stream, std::function<void()> work);
// Does it later in any case: it may have to wait.
void enqueue_wait(Stream* stream, std::function<void()> work);
void finish(Stream* stream);
// What is queued from now on is kept, and not done; until it is taken.
void begin_capture(Stream* stream);
bool is_captured(Stream* stream);
Graph end_capture(Stream* stream);

// A mark that was never set has been reached.
std::shared_ptr<Mark> set_mark(Stream* stream);
// Seconds on some clock; of a mark that has been reached.
double time_of(const std::shared_ptr<Mark>& mark);
// Waits until it has been reached.
void await_mark(const std::shared_ptr<Mark>& mark);
bool is_reached(const std::shared_ptr<Mark>& mark);
void wait_for(Stream* stream, const std::shared_ptr<Mark>& mark);
