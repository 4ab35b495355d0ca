// Segment descriptors as they lie in memory ([SDM3A] 3.4.5, figure 3-8).
#pragma once

#include <cstdint>

#include "cpu/state.h"

namespace backplane {

inline constexpr std::uint8_t kTypeAccessed = 1;
inline constexpr std::uint8_t kTypeWritable = 2;   ///< data
inline constexpr std::uint8_t kTypeReadable = 2;   ///< code
inline constexpr std::uint8_t kTypeConforming = 4; ///< code
inline constexpr std::uint8_t kTypeCode = 8;

// System types in long mode ([SDM3A] table 3-2).
inline constexpr std::uint8_t kTypeLdt = 2;
inline constexpr std::uint8_t kTypeTssAvailable = 9;
inline constexpr std::uint8_t kTypeTssBusy = 11;
inline constexpr std::uint8_t kTypeInterruptGate = 14;
inline constexpr std::uint8_t kTypeTrapGate = 15;

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
