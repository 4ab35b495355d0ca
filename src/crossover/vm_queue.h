// One machine's queue in the monitor (claims S1.1, S1.6): messages that have left their sender and wait until the
// receiver's control structure has room for them. Bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>

#include "device/queue_port.h"
#include "memory/ownership.h"

namespace backplane {

struct QueuedMessage {
    QueueSubmission submission;
    MachineId sender{};  ///< written by the monitor alone (claim S1.9)
    QueueArrival::Kind kind{QueueArrival::Kind::in_line};
    TransferHandle handle{};  ///< of the pages; unused inline
    std::uint64_t sequence{0};
    std::uint64_t quota_bytes{0};
    Ticks expires{Ticks::never()};
    bool is_silent{false};   ///< the sender was reset: nobody waits for the completion
    bool comes_back{false};  ///< mode `shared`: the sender hears of it when the receiver is done with the pages
};

class VmQueue {
  public:
    static constexpr std::size_t kMostMessages = 256;
    using Messages = std::list<QueuedMessage>;

    [[nodiscard]] bool has_room() const { return messages_.size() < kMostMessages; }
    void put(QueuedMessage message) { messages_.push_back(std::move(message)); }
    [[nodiscard]] std::size_t size() const { return messages_.size(); }
    [[nodiscard]] Messages& messages() { return messages_; }

  private:
    Messages messages_;  // in the order of arrival
};

}  // namespace backplane
