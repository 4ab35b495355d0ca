#include "memory/frame_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace backplane {

FramePool::FramePool(HostMapping memory, std::uint64_t frame_count)
    : memory_{std::move(memory)}, frame_count_{frame_count}, free_count_{frame_count}, free_{{0, frame_count}} {}

Expected<FramePool, Error> FramePool::create(std::uint64_t frame_count) {
    if (frame_count == 0 || frame_count > std::numeric_limits<std::uint32_t>::max())
        return Unexpected{bad_input("the machines' memory must be between 4 KiB and 16 TiB in all")};
    HostMapping memory = BACKPLANE_TRY(HostMapping::create(frame_count * kPageBytes));
    return FramePool{std::move(memory), frame_count};
}

Expected<FrameNumber, Error> FramePool::allocate(std::uint64_t count) {
    auto const run = std::find_if(free_.begin(), free_.end(), [&](Run const& r) { return r.count >= count; });
    if (count == 0 || run == free_.end())
        return Unexpected{host_error("the rack's pool has no run of " + std::to_string(count) + " frames", ENOMEM)};
    FrameNumber const first{static_cast<std::uint32_t>(run->first)};
    run->first += count;
    run->count -= count;
    if (run->count == 0) free_.erase(run);
    free_count_ -= count;
    return first;
}

Expected<void, Error> FramePool::back(FrameNumber first, std::uint64_t count, std::uint64_t bytes, int fd) {
    check(first.value() + count <= frame_count_, "frames that a file takes lie in the pool");
    BACKPLANE_TRY_VOID(map_file_over({host(first), count * kPageBytes}, bytes, fd));
    backed_.push_back({first.value(), count});
    return {};
}

void FramePool::release(FrameNumber first, std::uint64_t count) {
    check(first.value() + count <= frame_count_, "released frames lie in the pool");
    for (Run const& run : backed_)
        check(first.value() + count <= run.first || run.first + run.count <= first.value(), "a file's memory is never released");
    std::byte* const start = host(first);
    // Whole runs go back to the host, which zeroes them when they are touched again; single pages are zeroed here.
    constexpr std::uint64_t kReturnToHost = 512;
    if (count < kReturnToHost || ::madvise(start, count * kPageBytes, MADV_DONTNEED) != 0)
        std::memset(start, 0, count * kPageBytes);
    auto next = std::lower_bound(free_.begin(), free_.end(), std::uint64_t{first.value()},
                                 [](Run const& r, std::uint64_t value) { return r.first < value; });
    check(next == free_.end() || first.value() + count <= next->first, "a frame is released once");
    next = free_.insert(next, {first.value(), count});
    if (auto const after = next + 1; after != free_.end() && next->first + next->count == after->first) {
        next->count += after->count;
        free_.erase(after);
    }
    if (next != free_.begin()) {
        auto const before = next - 1;
        check(before->first + before->count <= next->first, "a frame is released once");
        if (before->first + before->count == next->first) {
            before->count += next->count;
            free_.erase(next);
        }
    }
    free_count_ += count;
}

}  // namespace backplane
