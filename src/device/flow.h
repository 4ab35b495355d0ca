// Which frames belong together: a card with several receive queues puts all of a flow into one of them, so that
// steering never changes the order within a flow.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace backplane {

/// As much of a frame as flow_hash() looks at: a VLAN tag, the longest IPv4 header, two ports.
inline constexpr std::size_t kFlowHeadBytes = 18 + 60 + 4;

/// A number that is the same for all frames of a flow, and spreads different flows. It depends on the bytes alone, so
/// that a run can be repeated.
///
/// \param head  the frame's first kFlowHeadBytes, or all of it; any bytes
/// \return      of TCP and UDP over IPv4 or IPv6: from addresses, protocol and ports; of a fragment or another protocol
///              over IP: from addresses and protocol, since only a packet's first fragment has ports; else 0
/// Source:      [RFC791] 3.1, [RFC8200] 3
[[nodiscard]] std::uint64_t flow_hash(ConstByteSpan head);

}  // namespace backplane
