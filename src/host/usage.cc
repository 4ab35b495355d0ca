#include "host/usage.h"

#include <malloc.h>
#include <sys/resource.h>

#include <chrono>
#include <ctime>

namespace backplane {
namespace {
std::uint64_t nanoseconds(timeval time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_usec) * 1000;
}
}  // namespace

HostUsage host_usage() {
    HostUsage usage;
    usage.monotonic_ns = monotonic_ns();
    rusage used{};
    if (::getrusage(RUSAGE_SELF, &used) != 0) return usage;
    usage.cpu_ns = nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime);
    usage.peak_resident_bytes = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
    return usage;
}

void return_freed_memory() { ::malloc_trim(0); }

std::uint64_t thread_cpu_ns() {
    timespec time{};
    if (::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) != 0) return 0;
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

std::uint64_t monotonic_ns() {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds{std::chrono::steady_clock::now().time_since_epoch()}.count());
}

}  // namespace backplane
