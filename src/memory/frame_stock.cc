#include "memory/frame_stock.h"

namespace backplane {

Expected<void, Error> FrameStock::grow(std::uint64_t count) {
    if (count == 0) return {};
    FrameNumber const first = BACKPLANE_TRY(pool_.allocate(count));
    frames_.reserve(frames_.size() + count);
    // The lowest frame comes out first, so that a run of takes is a run of memory.
    for (std::uint64_t i = count; i != 0; --i)
        frames_.push_back({FrameNumber{static_cast<std::uint32_t>(first.value() + i - 1)}, false});
    return {};
}

std::optional<FrameNumber> FrameStock::take_dirty() {
    if (frames_.empty()) return std::nullopt;
    FrameNumber const frame = frames_.back().frame;
    frames_.pop_back();
    return frame;
}

std::optional<FrameNumber> FrameStock::take_zeroed() {
    if (frames_.empty()) return std::nullopt;
    Spare const spare = frames_.back();
    frames_.pop_back();
    if (spare.is_dirty) std::memset(host(spare.frame), 0, kPageBytes);
    return spare.frame;
}

}  // namespace backplane
