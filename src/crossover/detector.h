// Who a frame is for: the sender's destination address compared with the addresses of the other machines (claim S2.1).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "device/frame_port.h"

namespace backplane {

/// A port within its link, counted from 0 in the order of attaching.
using PortIndex = Number<struct PortIndexTag, std::uint32_t>;

struct Destination {
    enum class Kind : std::uint8_t {
        nobody,  ///< no machine of this link has the address
        one,     ///< a hit: the machine behind `port`
        group,   ///< broadcast or multicast: every port but the sender's
    };
    Kind kind{Kind::nobody};
    PortIndex port{};  ///< only for Kind::one
    bool operator==(Destination const&) const = default;
};

/// The destination address of a frame, gathered out of its pieces; nothing when the frame is shorter than that.
[[nodiscard]] std::optional<MacAddress> destination_of(Frame const& frame);

/// Compares addresses. A port has two: the one it was attached with, which nobody can take from it, and the one its
/// guest uses now. The first kind is asked first, so a guest that gives itself the address of another machine gets
/// none of that machine's frames. Within a kind the port that was attached first wins.
class CrosstalkDetector {
  public:
    /// Adds the next port, with the address that the rack gave it.
    PortIndex add(MacAddress address);
    /// The address that the guest of this port uses now.
    void set_current(PortIndex port, MacAddress address);

    /// Where a frame from `sender` has to go; never back to `sender`.
    [[nodiscard]] Destination find(MacAddress destination, PortIndex sender) const;

  private:
    struct Addresses {
        std::uint64_t given;
        std::uint64_t current;
    };
    std::vector<Addresses> ports_;
};

}  // namespace backplane
