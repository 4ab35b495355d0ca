// Single frames that change hands often, taken from the pool once: taking and giving back costs a few nanoseconds.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "memory/frame_pool.h"

namespace backplane {

class FrameStock {
  public:
    /// The pool must outlive the stock.
    explicit FrameStock(FramePool& pool) : pool_{pool} {}
    FrameStock(FrameStock const&) = delete;
    FrameStock& operator=(FrameStock const&) = delete;

    /// Moves `count` frames from the pool into the stock. Errors: the pool has no run of that length.
    [[nodiscard]] Expected<void, Error> grow(std::uint64_t count);

    /// A frame with the bytes of its last user: for whoever overwrites the whole page before a guest can reach it.
    [[nodiscard]] std::optional<FrameNumber> take_dirty();
    [[nodiscard]] std::optional<FrameNumber> take_zeroed();
    void give_back(FrameNumber frame) { frames_.push_back({frame, true}); }

    [[nodiscard]] std::byte* host(FrameNumber frame) const { return pool_.host(frame); }
    [[nodiscard]] std::uint64_t count() const { return frames_.size(); }
    [[nodiscard]] FramePool& pool() { return pool_; }

  private:
    struct Spare {
        FrameNumber frame;
        bool is_dirty;
    };
    FramePool& pool_;
    std::vector<Spare> frames_;  // last in, first out: the frame that is most likely in the host's cache
};

}  // namespace backplane
