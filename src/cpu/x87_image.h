// The x87's environment and whole state as FNSTENV and FNSAVE store them: 14 or 28 bytes, and eight registers of 10 in the
// order of the stack ([SDM1] 8.1.10).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "cpu/state.h"

namespace backplane::x87 {

/// Fields of 2 or 4 bytes; protected mode's pointers or real mode's linear addresses.
struct Layout {
    std::uint32_t field_bytes;
    bool real;
    [[nodiscard]] std::uint32_t bytes() const { return 7 * field_bytes; }
};

inline constexpr std::uint32_t kRegisterBytes = 8 * 10;

/// The largest image: a 28-byte environment and eight registers of 10 bytes.
using StateImage = std::array<std::byte, 108>;

void put_environment(StateImage& image, X87State const& state, Layout layout);
void get_environment(X87State& state, StateImage const& image, Layout layout);
/// Control, status and tag word alone.
void get_words(X87State& state, StateImage const& image, Layout layout);
/// TOP must be that of the registers' order.
void put_registers(StateImage& image, X87State const& state, Layout layout);
void get_registers(X87State& state, StateImage const& image, Layout layout);

}  // namespace backplane::x87
