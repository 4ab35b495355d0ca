// The 512-byte image of FXSAVE and FXRSTOR ([SDM1] 10.5.1), as bytes: its fields are unaligned and its layout is fixed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "cpu/state.h"

namespace backplane {

using FxsaveImage = std::array<std::byte, 512>;

/// FXSAVE has 32-bit pointers with selectors, FXSAVE64 64-bit pointers without.
enum class FxsaveForm : std::uint8_t { legacy, wide };

namespace fxsave {
inline constexpr std::size_t kMxcsr = 24, kMxcsrMask = 28;
inline constexpr std::size_t kRegisters = 32;  ///< eight x87 registers of 16 bytes, ST(0) first
inline constexpr std::size_t kVectors = 160;   ///< XMM registers of 16 bytes
}  // namespace fxsave

/// The image of the x87 state, MXCSR and 16 XMM registers. MXCSR must be up to date in `state`.
[[nodiscard]] FxsaveImage make_fxsave_image(CpuState const& state, FxsaveForm form);

/// The x87 part of an image, as the processor would hold it: bits that do not exist are cleared, ES is made anew.
[[nodiscard]] X87State x87_from_image(FxsaveImage const& image, FxsaveForm form);
[[nodiscard]] std::uint32_t mxcsr_from_image(FxsaveImage const& image);

/// Writes of the x87 control and status words: bits that do not exist are cleared; ES and B follow the exceptions.
[[nodiscard]] constexpr std::uint16_t x87_control_word(std::uint16_t value) {
    return static_cast<std::uint16_t>((value & 0x1f3f) | 0x40);
}
[[nodiscard]] constexpr std::uint16_t x87_status_word(std::uint16_t value, std::uint16_t control) {
    bool const waits = (value & ~control & 0x3f) != 0;
    return static_cast<std::uint16_t>((value & 0x7f7f) | (waits ? 0x8080 : 0));
}

}  // namespace backplane
