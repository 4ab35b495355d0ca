// Frames that landed and whose sender waits until they are read (completion mode `read`, claim S2.8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "crossover/detector.h"

namespace backplane {

/// Where a frame landed: it is read when the receiver's read_count() reaches `landed`.
struct Landing {
    PortIndex receiver;
    std::uint64_t landed;
};

struct Unread {
    std::uint64_t number;  ///< the sender's number of the frame
    Landing landing;
    Ticks deadline;
};

/// First in, first out. Allocates only until it has been as full as it gets.
class UnreadQueue {
  public:
    [[nodiscard]] bool empty() const { return first_ == entries_.size(); }
    [[nodiscard]] std::size_t size() const { return entries_.size() - first_; }
    [[nodiscard]] Unread const& front() const { return entries_[first_]; }
    void push(Unread const& entry) {
        if (first_ >= kKeptSlots) drop_used_slots();
        entries_.push_back(entry);
    }
    void pop() {
        ++first_;
        if (empty()) drop_used_slots();
    }

  private:
    static constexpr std::size_t kKeptSlots = 4096;
    void drop_used_slots() {
        entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(first_));
        first_ = 0;
    }
    std::vector<Unread> entries_;
    std::size_t first_{0};
};

}  // namespace backplane
