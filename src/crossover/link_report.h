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
    std::uint64_t frames_missed{0};      ///< not landed here because no buffer was posted in time
    std::uint64_t frames_to_outside{0};  ///< of those sent: for the uplink or a service of the link alone (S2.9)
    std::uint64_t remaps_to_uplink{0};   ///< the transmit element went from a peer to the uplink (S2.9)
    std::uint64_t remaps_to_peer{0};     ///< and from the uplink to a peer (S2.5)
    FramePortCounters device{};          ///< filled in by the rack, which knows the device behind the port
};

struct LinkReport {
    std::string name;
    std::uint64_t frames{0};  ///< taken off transmit rings, whatever became of them
    std::uint64_t bytes{0};
    std::uint64_t deliveries{0};  ///< landings: a frame that landed at three receivers counts three times
    std::uint64_t copies{0};      ///< times that a frame's data was copied, into buffers or into a store
    std::uint64_t copied_bytes{0};
    std::uint64_t stored_bytes_peak{0};  ///< frame data held outside of guests; 0 without latency and reordering
    std::uint64_t whole_frames{0};       ///< landed as one although they are many TCP segments (S2.11)
    std::uint64_t unsummed_frames{0};    ///< landed without anyone having computed their checksum
    std::uint64_t cut_frames{0};         ///< cut and summed for a receiver that takes no whole ones
    std::uint64_t cut_segments{0};       ///< what they were cut into
    std::uint64_t crosstalk_hits{0};     ///< unicast frames whose destination was found to be a machine
    /// The same by what told so; the sum is crosstalk_hits.
    struct Detected {
        std::uint64_t destination{0};      ///< the address alone (S2.1)
        std::uint64_t default_mapping{0};  ///< both NICs are mapped to the same physical device (S2.2)
        std::uint64_t configuration{0};    ///< the rack file couples the machines (S2.3)
    } detected;
    std::uint64_t outside_frames{0};      ///< unicast frames for the uplink or a service of the link (S2.9)
    std::uint64_t outside_deliveries{0};  ///< frames that the uplink and services took, group frames included
    std::uint64_t delayed_frames{0};      ///< stored on their way
    std::uint64_t doubled_frames{0};
    std::uint64_t cuts{0};              ///< times that the cable was pulled
    std::uint64_t remaps_to_uplink{0};  ///< sums over the ports
    std::uint64_t remaps_to_peer{0};
    std::uint64_t group_frames{0};   ///< broadcast and multicast
    std::uint64_t waited_frames{0};  ///< stayed in the sender's ring over a barrier: no buffer was posted
    std::uint64_t read_expired{0};   ///< mode `read`: completed without having been read in time

    /// Each counted once for every receiver that should have had the frame; no_destination, lost and spoofed once
    /// for the frame.
    struct Drops {
        std::uint64_t no_buffer{0};       ///< nothing posted within the link's wait
        std::uint64_t no_destination{0};  ///< not a machine's address, or too short to have one (S2.9)
        std::uint64_t refused{0};         ///< the receiver's own address filter, or it does not receive at all
        std::uint64_t withdrawn{0};       ///< taken back by a reset of the sender while it waited
        std::uint64_t lost{0};            ///< on purpose
        std::uint64_t spoofed{0};         ///< the source address is not the sender's
        std::uint64_t isolated{0};        ///< for one machine that is in another group
        std::uint64_t cut{0};             ///< under way when the cable was pulled
    } drops;

    std::vector<PortReport> ports;  ///< in the order of attaching

    /// 1.0 when every landing took one copy; 0 when nothing landed.
    [[nodiscard]] double copies_per_frame() const {
        return deliveries == 0 ? 0 : static_cast<double>(copies) / static_cast<double>(deliveries);
    }
};

}  // namespace backplane
