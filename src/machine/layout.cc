#include "machine/layout.h"

#include <fmt/format.h>

#include <algorithm>

namespace backplane {

Expected<void, Error> check_memory_size(std::uint64_t memory_bytes) {
    if (memory_bytes >= kMinMemoryBytes && memory_bytes <= kMaxMemoryBytes && memory_bytes % kMiB == 0) return {};
    return Unexpected{bad_input(fmt::format("memory of {} bytes: expected whole MiB from {} MiB to {} GiB",
                                            memory_bytes, kMinMemoryBytes / kMiB, kMaxMemoryBytes / kGiB))};
}

GuestPhys low_memory_end(std::uint64_t memory_bytes) {
    return GuestPhys{std::min(memory_bytes, kLowMemoryLimit.value())};
}

std::vector<MemoryRange> ram_ranges(std::uint64_t memory_bytes) {
    using Kind = MemoryRange::Kind;
    std::vector<MemoryRange> ranges{
        {GuestPhys{0}, kConventionalEnd.value(), Kind::ram},
        {kRomArea, kRomAreaBytes, Kind::reserved},
        {kHighMemory, low_memory_end(memory_bytes) - kHighMemory, Kind::ram},
    };
    if (memory_bytes > kLowMemoryLimit.value()) {
        ranges.push_back({kMemoryAbove4GiB, memory_bytes - kLowMemoryLimit.value(), Kind::ram});
    }
    return ranges;
}

std::vector<MemoryRange> memory_map(std::uint64_t memory_bytes) {
    std::vector<MemoryRange> ranges = ram_ranges(memory_bytes);
    ranges.push_back({kPciEcam, kPciEcamBytes, MemoryRange::Kind::reserved});
    ranges.push_back({kIoApic, kIoApicBytes, MemoryRange::Kind::reserved});
    ranges.push_back({kLocalApic, kLocalApicBytes, MemoryRange::Kind::reserved});
    std::ranges::sort(ranges, {}, &MemoryRange::start);
    return ranges;
}

}  // namespace backplane
