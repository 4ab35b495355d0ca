// What a link has done, for the report of a run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "device/frame_port.h"

namespace backplane {

struct PortReport {
    MachineId machine{};
    std::string name;
    std::uint64_t frames_sent{0};  ///< taken off this port's transmit ring
    std::uint64_t bytes_sent{0};
    std::uint64_t frames_received{0};  ///< landed in this port's buffers
    std::uint64_t bytes_received{0};
    std::uint64_t frames_missed{0};  ///< not landed here because no buffer was posted in time
    FramePortCounters device{};      ///< filled in by the rack, which knows the device behind the port
};

struct LinkReport {
    std::string name;
    std::uint64_t frames{0};  ///< taken off transmit rings, whatever became of them
    std::uint64_t bytes{0};
    std::uint64_t deliveries{0};  ///< landings: a frame that landed at three receivers counts three times
    std::uint64_t copies{0};      ///< times that a frame's data was copied, into buffers or into a store
    std::uint64_t copied_bytes{0};
    std::uint64_t stored_bytes_peak{0};  ///< frame data held outside of guests; this link has no store
    std::uint64_t whole_frames{0};       ///< landed as one although they are many TCP segments (S2.11)
    std::uint64_t unsummed_frames{0};    ///< landed without anyone having computed their checksum
    std::uint64_t cut_frames{0};         ///< cut and summed for a receiver that takes no whole ones
    std::uint64_t cut_segments{0};       ///< what they were cut into
    std::uint64_t crosstalk_hits{0};     ///< unicast frames whose destination was found to be a machine (S2.1)
    std::uint64_t group_frames{0};       ///< broadcast and multicast
    std::uint64_t waited_frames{0};      ///< stayed in the sender's ring over a barrier: no buffer was posted
    std::uint64_t read_expired{0};       ///< mode `read`: completed without having been read in time

    /// Each counted once for every receiver that should have had the frame; no_destination once for the frame.
    struct Drops {
        std::uint64_t no_buffer{0};       ///< nothing posted within the link's wait
        std::uint64_t no_destination{0};  ///< not a machine's address, or too short to have one (S2.9)
        std::uint64_t refused{0};         ///< the receiver's own address filter, or it does not receive at all
        std::uint64_t withdrawn{0};       ///< taken back by a reset of the sender while it waited
    } drops;

    std::vector<PortReport> ports;  ///< in the order of attaching

    /// 1.0 when every landing took one copy; 0 when nothing landed.
    [[nodiscard]] double copies_per_frame() const {
        return deliveries == 0 ? 0 : static_cast<double>(copies) / static_cast<double>(deliveries);
    }
};

}  // namespace backplane
