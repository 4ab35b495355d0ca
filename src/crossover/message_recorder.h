// Who wants to see which messages cross, such as a timeline.
#pragma once

#include "clock/virtual_time.h"
#include "device/queue_port.h"

namespace backplane {

class MessageRecorder {
  public:
    virtual ~MessageRecorder() = default;
    /// Called for each message that has landed, at the barrier `landed`.
    virtual void record(QueueArrival const& arrival, Ticks landed) = 0;
};

}  // namespace backplane
