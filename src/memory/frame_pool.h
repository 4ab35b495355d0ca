// All host memory behind all guests of a rack: one pool of 4 KiB frames (docs/design/memory.md).
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "base/host_mapping.h"

namespace backplane {

class FramePool {
  public:
    /// A pool of `frame_count` frames of zeroed memory; the host backs a frame when it is first touched.
    /// Errors: the host refused the reservation; more than 2^32 - 1 frames asked for.
    [[nodiscard]] static Expected<FramePool, Error> create(std::uint64_t frame_count);

    /// Takes `count` consecutive zeroed frames. Errors: none are left (or no run of that length).
    [[nodiscard]] Expected<FrameNumber, Error> allocate(std::uint64_t count);

    /// Frames that were allocated, from `first` on, become the first `bytes` of a file or device that others may have mapped too. They
    /// hold what it holds, and are never released: nobody clears what is not ours. `first` and `count` are multiples of kBackingFrames,
    /// the least that covers `bytes`.
    /// Errors: the host cannot map it; the frames are zeroed ones then.
    [[nodiscard]] Expected<void, Error> back(FrameNumber first, std::uint64_t count, std::uint64_t bytes, int fd);
    static constexpr std::uint64_t kBackingFrames = kHostHugePageBytes / kPageBytes;

    /// Gives `count` consecutive frames back; they are zeroed before anyone can get them again.
    void release(FrameNumber first, std::uint64_t count);

    [[nodiscard]] std::byte* host(FrameNumber frame) const {
        return memory_.data() + std::uint64_t{frame.value()} * kPageBytes;
    }
    [[nodiscard]] std::uint64_t frame_count() const { return frame_count_; }
    [[nodiscard]] std::uint64_t free_count() const { return free_count_; }

  private:
    struct Run {
        std::uint64_t first;
        std::uint64_t count;
    };
    FramePool(HostMapping memory, std::uint64_t frame_count);

    HostMapping memory_;
    std::uint64_t frame_count_;
    std::uint64_t free_count_;
    std::vector<Run> free_;    // sorted by first, neighbours merged
    std::vector<Run> backed_;  // by files
};

}  // namespace backplane
