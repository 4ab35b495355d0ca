// What this process has used of the host so far: for the part of a report that differs from run to run.
#pragma once

#include <cstdint>

namespace backplane {

struct HostUsage {
    std::uint64_t monotonic_ns{0};  ///< the host's clock, from an arbitrary start
    std::uint64_t cpu_ns{0};        ///< user and system time of all threads
    std::uint64_t peak_resident_bytes{0};
};

[[nodiscard]] HostUsage host_usage();

/// Gives back to the host what the program has freed, such as the files that machines were loaded from.
void return_freed_memory();

/// The calling thread's user and system time.
[[nodiscard]] std::uint64_t thread_cpu_ns();
/// The host's clock, from an arbitrary start.
[[nodiscard]] std::uint64_t monotonic_ns();

}  // namespace backplane
