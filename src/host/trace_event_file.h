// A file of trace events as JSON, for ui.perfetto.dev and chrome://tracing: whole JSON whenever its writer ends in good order.
//
// Source: "Trace Event Format" of the Chromium project
#pragma once

#include "host/bounded_file.h"

namespace backplane {

/// A file to which events are appended: JSON objects, each followed by ",\n". Errors: BoundedFile::create().
[[nodiscard]] Expected<BoundedFile, Error> create_trace_event_file(std::filesystem::path const& path, std::uint64_t limit_bytes);

}  // namespace backplane
