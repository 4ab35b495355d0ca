#include "host/trace_event_file.h"

namespace backplane {

// Every event is followed by a comma, so the list has an end of its own.
Expected<BoundedFile, Error> create_trace_event_file(std::filesystem::path const& path, std::uint64_t limit_bytes) {
    constexpr FileFrame kFrame{
        .opening = "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n",
        .when_full = R"({"name": "the limit is reached, the rest is missing", "ph": "i", "s": "g", "pid": 0, "tid": 0, "ts": 0},)" "\n",
        .closing = R"({"name": "process_name", "ph": "M", "pid": 0, "args": {"name": "backplane"}})" "\n]}\n"};
    return BoundedFile::create(path, limit_bytes, kFrame);
}

}  // namespace backplane
