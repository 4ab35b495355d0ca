// A file of trace events as JSON, for ui.perfetto.dev and chrome://tracing; it grows up to a limit, and is whole JSON whenever
// its writer ends in good order.
//
// Source: "Trace Event Format" of the Chromium project
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"
#include "base/unique_fd.h"

namespace backplane {

class TraceEventFile {
  public:
    /// Makes the file, or empties it. It will have at most `limit_bytes` and some hundred bytes.
    /// Errors: what the host says, with the path.
    [[nodiscard]] static Expected<TraceEventFile, Error> create(std::filesystem::path const& path, std::uint64_t limit_bytes);

    TraceEventFile(TraceEventFile&&) noexcept = default;
    TraceEventFile& operator=(TraceEventFile&&) = delete;
    /// Closes the list of events.
    ~TraceEventFile();

    /// Appends events: JSON objects, each followed by ",\n"; nothing, or all of them. False: the file is full (or the disk is), and
    /// nothing more will be taken; an event at the end says so.
    bool append(std::string_view events);
    [[nodiscard]] bool is_full() const { return full_; }

  private:
    TraceEventFile(UniqueFd fd, std::uint64_t limit_bytes) : fd_{std::move(fd)}, left_bytes_{limit_bytes} {}
    void flush();

    UniqueFd fd_;
    std::uint64_t left_bytes_;
    bool full_{false};
    std::string pending_;
};

}  // namespace backplane
