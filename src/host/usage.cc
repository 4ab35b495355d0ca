#include "host/usage.h"

#include <sys/resource.h>

#include <chrono>

namespace backplane {
namespace {
std::uint64_t nanoseconds(timeval time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_usec) * 1000;
}
}  // namespace

HostUsage host_usage() {
    HostUsage usage;
    usage.monotonic_ns = static_cast<std::uint64_t>(
        std::chrono::nanoseconds{std::chrono::steady_clock::now().time_since_epoch()}.count());
    rusage used{};
    if (::getrusage(RUSAGE_SELF, &used) != 0) return usage;
    usage.cpu_ns = nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime);
    usage.peak_resident_bytes = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
    return usage;
}

}  // namespace backplane
