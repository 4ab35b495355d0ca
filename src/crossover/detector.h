// Who a frame is for, found in every way that system S2 knows: by comparing the sender's destination address with the
// addresses of the other machines (claim S2.1), by comparing the devices that NICs are mapped to by default (S2.2), and
// from a coupling that the rack file names or implies (S2.3).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "device/frame_port.h"

namespace backplane {

/// A port within its link, counted from 0 in the order of attaching.
using PortIndex = Number<struct PortIndexTag, std::uint32_t>;

struct Destination {
    enum class Kind : std::uint8_t {
        nobody,   ///< no machine of this link has the address, and there is no way out
        one,      ///< a hit: the machine behind `port`
        group,    ///< broadcast or multicast: every port but the sender's
        outside,  ///< no machine (S2.9): the link's uplink, or a service of the link, is behind `port`
    };
    Kind kind{Kind::nobody};
    PortIndex port{};  ///< for Kind::one and Kind::outside
    bool operator==(Destination const&) const = default;
};

/// What told the monitor that a sender and a receiver belong together.
enum class DetectedBy : std::uint8_t {
    destination,      ///< the address alone (S2.1)
    default_mapping,  ///< both are mapped to the same physical device by default (S2.2)
    configuration,    ///< the rack file couples them (S2.3)
};

/// An address as it is compared: its first byte on the wire is the lowest one.
using AddressNumber = Number<struct AddressNumberTag, std::uint64_t>;
[[nodiscard]] AddressNumber as_number(MacAddress const& address);

/// The destination address of a frame, gathered out of its pieces; nothing when the frame is shorter than that.
[[nodiscard]] std::optional<AddressNumber> destination_of(Frame const& frame);
/// Its source address.
[[nodiscard]] std::optional<AddressNumber> source_of(Frame const& frame);

/// Compares addresses. A port has two: the one it was attached with, which nobody can take from it, and the one its
/// guest uses now. The first kind is asked first, so a guest that gives itself the address of another machine gets
/// none of that machine's frames. Within a kind the port that was attached first wins.
class CrosstalkDetector {
  public:
    /// Adds the next port, with the address that the rack gave it.
    PortIndex add(MacAddress address);
    /// Adds the next port, which is no machine: it gets what is for `address`.
    PortIndex add_service(MacAddress address);
    /// Adds the next port, which is the way out: it gets what no other port has the address of. At most one.
    PortIndex add_uplink();
    /// The address that the guest of this port uses now.
    void set_current(PortIndex port, MacAddress address);

    /// The physical device that the port is mapped to by default; empty: none.
    void set_default_mapping(PortIndex port, std::string device);
    /// Couples two ports. A port has one partner at most; the first coupling stays.
    /// \return whether they are coupled now
    bool couple(PortIndex one, PortIndex other);

    /// Where a frame from `sender` has to go; never back to `sender`.
    [[nodiscard]] Destination find(AddressNumber destination, PortIndex sender) const;
    /// Why these two machines are known to belong together.
    [[nodiscard]] DetectedBy detected_by(PortIndex sender, PortIndex receiver) const;
    [[nodiscard]] std::optional<PortIndex> partner(PortIndex port) const { return ports_[port.value()].partner; }
    /// The only other port with the same default mapping; nothing when there is none, or more than one.
    [[nodiscard]] std::optional<PortIndex> only_other_on_device(PortIndex port) const;

    /// Whether the rack gave this address to the port.
    [[nodiscard]] bool is_given(PortIndex port, AddressNumber address) const;
    [[nodiscard]] bool is_machine(PortIndex port) const { return ports_[port.value()].is_machine; }
    [[nodiscard]] std::optional<PortIndex> uplink() const { return uplink_; }
    [[nodiscard]] std::string_view default_mapping(PortIndex port) const { return ports_[port.value()].device; }

  private:
    struct Entry {
        bool is_machine{true};
        std::optional<PortIndex> partner{};
        std::string device{};
    };
    PortIndex add_entry(AddressNumber address, bool is_machine);
    [[nodiscard]] Destination to(PortIndex receiver, PortIndex sender) const;

    std::vector<Entry> ports_;
    // Of each port, apart from the rest: a search goes through nothing else.
    std::vector<AddressNumber> given_;
    std::vector<AddressNumber> current_;
    std::optional<PortIndex> uplink_;
};

}  // namespace backplane
