// What part of its processor a machine gets (docs/design/quotas.md).
#pragma once

#include <cstdint>

namespace backplane {

/// All of each quantum's instructions; shares are in millionths.
inline constexpr std::uint32_t kWholeShare = 1'000'000;

}  // namespace backplane
