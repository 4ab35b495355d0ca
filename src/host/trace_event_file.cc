#include "host/trace_event_file.h"

#include <fcntl.h>

#include <cerrno>
#include <span>

#include "host/file.h"

namespace backplane {
namespace {
constexpr std::size_t kPieceBytes = 64 << 10;
constexpr mode_t kFileMode = 0666;  // less the umask
}  // namespace

Expected<TraceEventFile, Error> TraceEventFile::create(std::filesystem::path const& path, std::uint64_t limit_bytes) {
    UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode)};
    if (!fd.is_open()) return Unexpected{host_error(path.string(), errno)};
    TraceEventFile file{std::move(fd), limit_bytes};
    file.pending_ = "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n";
    return file;
}

// Every event is followed by a comma, so the list has an end of its own.
TraceEventFile::~TraceEventFile() {
    if (!fd_.is_open()) return;
    if (full_) pending_ += R"({"name": "the limit is reached, the rest is missing", "ph": "i", "s": "g", "pid": 0, "tid": 0, "ts": 0},)" "\n";
    pending_ += R"({"name": "process_name", "ph": "M", "pid": 0, "args": {"name": "backplane"}})" "\n]}\n";
    flush();
}

bool TraceEventFile::append(std::string_view events) {
    if (full_) return false;
    full_ = events.size() > left_bytes_;
    if (full_) return false;
    left_bytes_ -= events.size();
    pending_ += events;
    if (pending_.size() >= kPieceBytes) flush();
    return !full_;
}

void TraceEventFile::flush() {
    if (pending_.empty()) return;
    full_ = !write_all(fd_.get(), std::as_bytes(std::span{pending_})).has_value() || full_;
    pending_.clear();
}

}  // namespace backplane
