// Segment descriptors as they lie in memory ([SDM3A] 3.4.5, figure 3-8).
#pragma once

#include <cstdint>

#include "cpu/state.h"

namespace backplane {

inline constexpr std::uint8_t kTypeAccessed = 1;
inline constexpr std::uint8_t kTypeWritable = 2;   ///< data
inline constexpr std::uint8_t kTypeExpandDown = 4; ///< data
inline constexpr std::uint8_t kTypeReadable = 2;   ///< code
inline constexpr std::uint8_t kTypeConforming = 4; ///< code
inline constexpr std::uint8_t kTypeCode = 8;

// System types ([SDM3A] table 3-2). In long mode only those of 32 bits exist, and mean 64 bits.
inline constexpr std::uint8_t kTypeTss16Available = 1;
inline constexpr std::uint8_t kTypeLdt = 2;
inline constexpr std::uint8_t kTypeCallGate16 = 4;
inline constexpr std::uint8_t kTypeTaskGate = 5;
inline constexpr std::uint8_t kTypeInterruptGate16 = 6;
inline constexpr std::uint8_t kTypeTrapGate16 = 7;
inline constexpr std::uint8_t kTypeTssAvailable = 9;
inline constexpr std::uint8_t kTypeTssBusy = 11;
inline constexpr std::uint8_t kTypeCallGate = 12;
inline constexpr std::uint8_t kTypeInterruptGate = 14;
inline constexpr std::uint8_t kTypeTrapGate = 15;
inline constexpr std::uint8_t kTypeBusyBit = 2;   ///< of a TSS
inline constexpr std::uint8_t kTypeTss32 = 8;     ///< of a TSS: 32 (or 64) bits, not 16

/// The hidden part of a segment register from a descriptor.
[[nodiscard]] constexpr Segment segment_from(std::uint16_t selector, std::uint64_t descriptor) {
    Segment segment;
    segment.selector = selector;
    segment.base = (descriptor >> 16 & 0xff'ffff) | (descriptor >> 56 << 24);
    segment.type = static_cast<std::uint8_t>(descriptor >> 40 & 15);
    segment.code_or_data = (descriptor >> 44 & 1) != 0;
    segment.dpl = static_cast<std::uint8_t>(descriptor >> 45 & 3);
    segment.present = (descriptor >> 47 & 1) != 0;
    segment.available = (descriptor >> 52 & 1) != 0;
    segment.long_mode = (descriptor >> 53 & 1) != 0;
    segment.big = (descriptor >> 54 & 1) != 0;
    segment.granular = (descriptor >> 55 & 1) != 0;
    auto const limit = static_cast<std::uint32_t>((descriptor & 0xffff) | (descriptor >> 32 & 0xf'0000));
    segment.limit = segment.granular ? limit << 12 | 0xfff : limit;
    return segment;
}

[[nodiscard]] constexpr bool is_code(Segment const& segment) { return segment.code_or_data && (segment.type & kTypeCode) != 0; }
[[nodiscard]] constexpr bool is_conforming(Segment const& segment) { return is_code(segment) && (segment.type & kTypeConforming) != 0; }
[[nodiscard]] constexpr bool is_writable_data(Segment const& segment) {
    return segment.code_or_data && (segment.type & kTypeCode) == 0 && (segment.type & kTypeWritable) != 0;
}
[[nodiscard]] constexpr bool is_readable(Segment const& segment) {
    return segment.code_or_data && ((segment.type & kTypeCode) == 0 || (segment.type & kTypeReadable) != 0);
}

[[nodiscard]] constexpr bool is_tss(Segment const& segment) { return !segment.code_or_data && (segment.type & 5) == 1; }
[[nodiscard]] constexpr bool is_available_tss(Segment const& segment) { return is_tss(segment) && (segment.type & kTypeBusyBit) == 0; }

/// A gate of a descriptor table: where it leads ([SDM3A] figures 5-8, 6-2).
struct Gate {
    std::uint16_t selector;
    std::uint32_t offset;
    std::uint8_t type;
    std::uint8_t dpl;
    bool present;
    std::uint8_t parameter_count;
};
[[nodiscard]] constexpr Gate gate_from(std::uint64_t descriptor) {
    return {.selector = static_cast<std::uint16_t>(descriptor >> 16),
            .offset = static_cast<std::uint32_t>((descriptor & 0xffff) | (descriptor >> 48 << 16)),
            .type = static_cast<std::uint8_t>(descriptor >> 40 & 31),
            .dpl = static_cast<std::uint8_t>(descriptor >> 45 & 3),
            .present = (descriptor >> 47 & 1) != 0,
            .parameter_count = static_cast<std::uint8_t>(descriptor >> 32 & 31)};
}

[[nodiscard]] constexpr unsigned rpl_of(std::uint16_t selector) { return selector & 3; }
[[nodiscard]] constexpr bool is_null(std::uint16_t selector) { return (selector & ~3) == 0; }
[[nodiscard]] constexpr bool is_local(std::uint16_t selector) { return (selector & 4) != 0; }
/// The error code that names a selector ([SDM3A] 6.13).
[[nodiscard]] constexpr std::uint32_t error_code_of(std::uint16_t selector) { return selector & ~std::uint32_t{3}; }

/// The flat segments that SYSCALL, SYSRET and SYSENTER load without reading a table.
[[nodiscard]] constexpr Segment flat_code(std::uint16_t selector, unsigned dpl, bool long_mode) {
    return {.selector = selector, .base = 0, .limit = 0xffff'ffff, .type = 11, .code_or_data = true,
            .dpl = static_cast<std::uint8_t>(dpl), .present = true, .long_mode = long_mode, .big = !long_mode, .granular = true};
}
[[nodiscard]] constexpr Segment flat_data(std::uint16_t selector, unsigned dpl) {
    return {.selector = selector, .base = 0, .limit = 0xffff'ffff, .type = 3, .code_or_data = true,
            .dpl = static_cast<std::uint8_t>(dpl), .present = true, .big = true, .granular = true};
}

}  // namespace backplane
