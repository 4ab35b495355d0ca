// The guest's SSE control and status word ([SDM1] 10.2.3) in the host's register.
//
// While instructions run, the host's MXCSR holds the guest's rounding mode, DAZ and FTZ with every exception masked,
// so that host instructions compute what the guest's would. The sticky flags are the union of those in
// CpuState::mxcsr and those the host has gathered since.
#pragma once

#include <cstdint>

#include "cpu/state.h"

namespace backplane {

namespace mxcsr {
inline constexpr std::uint32_t kInvalid = 1 << 0, kDenormal = 1 << 1, kDivideByZero = 1 << 2, kOverflow = 1 << 3,
                               kUnderflow = 1 << 4, kPrecision = 1 << 5, kDenormalsAreZeros = 1 << 6,
                               kFlushToZero = 1 << 15;
inline constexpr std::uint32_t kFlags = 0x3f;
inline constexpr std::uint32_t kMasks = 0x1f80;
inline constexpr unsigned kMaskShift = 7;
/// The bits that exist; also the MXCSR_MASK of an FXSAVE image. Setting another one is #GP.
inline constexpr std::uint32_t kWritable = 0xffff;
}  // namespace mxcsr

inline void write_host_mxcsr(std::uint32_t value) { asm volatile("ldmxcsr %0" : : "m"(value)); }

[[nodiscard]] inline std::uint32_t read_host_mxcsr() {
    std::uint32_t value = 0;
    asm volatile("stmxcsr %0" : "=m"(value));
    return value;
}

/// Gives the host the guest's modes, with no flag set.
inline void load_host_mxcsr(CpuState const& state) { write_host_mxcsr((state.mxcsr & ~mxcsr::kFlags) | mxcsr::kMasks); }

/// Adds the flags gathered by the host to the guest's word, so that it can be read.
inline void gather_host_flags(CpuState& state) { state.mxcsr |= read_host_mxcsr() & mxcsr::kFlags; }

/// The same when instructions stop running; the host's own modes come back.
inline void save_host_mxcsr(CpuState& state) {
    gather_host_flags(state);
    write_host_mxcsr(mxcsr::kMasks);
}

/// True when an SSE exception could reach the guest: then each operation is looked at alone.
[[nodiscard]] inline bool has_unmasked_simd_exceptions(CpuState const& state) {
    return (state.mxcsr & mxcsr::kMasks) != mxcsr::kMasks;
}

}  // namespace backplane
