// Who wants to see what crosses a link, such as a capture file.
#pragma once

#include <cstdint>

#include "crossover/detector.h"
#include "device/frame_port.h"

namespace backplane {

/// What a link decided about a frame when it looked at it for the first time.
enum class FrameFate : std::uint8_t {
    sent,      ///< on its way to `to`
    delayed,   ///< the same, later
    lost,      ///< lost on purpose
    nobody,    ///< no port has its destination
    spoofed,   ///< its source address is not the sender's
    isolated,  ///< the sender may not talk to `to`
};

struct FrameRecord {
    PortIndex from;
    Destination to;
    FrameFate fate;
    Frame const& frame;  ///< its pieces are valid during the call only
};

class FrameRecorder {
  public:
    virtual ~FrameRecorder() = default;
    /// Called once for each frame that a port sends, at a barrier.
    virtual void record(FrameRecord const& record) = 0;
};

}  // namespace backplane
