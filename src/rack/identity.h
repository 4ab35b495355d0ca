// What makes each machine itself: everything that differs between two machines of a rack, and that nobody wrote into
// the rack file, is a function of (rack seed, machine name, purpose). So two machines never get the same address or
// the same random numbers, adding a machine does not change the others, and a run can be repeated.
//
// The functions are part of the file format: changing them changes every rack that relies on them.
#pragma once

#include <cstdint>
#include <string_view>

#include "device/frame_port.h"

namespace backplane {

/// FNV-1a of "machine\0purpose", mixed with the seed by SplitMix64. Not for secrets: who knows the rack file knows it.
[[nodiscard]] std::uint64_t derive_seed(std::uint64_t rack_seed, std::string_view machine, std::string_view purpose);

/// A unicast, locally administered address 02:xx:xx:xx:xx:xx with 40 derived bits.
[[nodiscard]] MacAddress derive_mac(std::uint64_t rack_seed, std::string_view machine, unsigned nic_index);

}  // namespace backplane
