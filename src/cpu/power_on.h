// What a processor is after power-on and, for the most part, after INIT.
#pragma once

#include <cstdint>

#include "cpu/state.h"

namespace backplane {

/// Family 19h (0xF + 0xA), model 01h, stepping 1: CPUID.1:EAX, and EDX after a reset.
inline constexpr std::uint32_t kProcessorSignature = 0x00a0'0f11;

/// Real mode, CS base 0xFFFF0000, IP 0xFFF0 ([SDM3A] table 9-1).
[[nodiscard]] CpuState power_on_state();

}  // namespace backplane
