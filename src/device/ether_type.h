// What follows the addresses of an Ethernet frame ([IEEE8023] 3.2.6), as the devices look at it.
#pragma once

#include <cstdint>

namespace backplane {

inline constexpr std::uint16_t kVlanEtherType = 0x8100;
inline constexpr std::uint16_t kIpv4EtherType = 0x0800;
inline constexpr std::uint16_t kIpv6EtherType = 0x86DD;

}  // namespace backplane
