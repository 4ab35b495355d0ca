// The shared window as its driver sees it: docs/design/window.md, to the byte.
#pragma once

#include <bit>
#include <cstdint>

#include "base/address.h"

namespace backplane::window {

// BAR 0, registers: dwords.
inline constexpr std::uint64_t kRegisterBytes = 256;
inline constexpr std::uint64_t kInterruptMask = 0x00;
inline constexpr std::uint64_t kInterruptStatus = 0x04;
inline constexpr std::uint64_t kPosition = 0x08;
inline constexpr std::uint64_t kDoorbell = 0x0C;

// The vendor-specific capability.
inline constexpr std::uint8_t kCapability = 0x09;
inline constexpr std::uint8_t kCapabilityBytes = 24;
inline constexpr std::uint8_t kCapabilityVersion = 1;

/// How BAR 2 is divided. Both sizes are whole pages; there is at least one peer.
struct Layout {
    std::uint32_t peers{1};
    std::uint64_t common_bytes{0};
    std::uint64_t section_bytes{kPageBytes};

    [[nodiscard]] constexpr std::uint64_t common_pages() const { return common_bytes / kPageBytes; }
    [[nodiscard]] constexpr std::uint64_t section_pages() const { return section_bytes / kPageBytes; }
    [[nodiscard]] constexpr GuestPage section_page(std::uint32_t peer) const {
        return GuestPage{common_pages() + peer * section_pages()};
    }
    /// Pages with memory; the BAR is a power of two.
    [[nodiscard]] constexpr std::uint64_t used_pages() const { return common_pages() + peers * section_pages(); }
    [[nodiscard]] constexpr std::uint64_t bar_pages() const { return std::bit_ceil(used_pages()); }
};

}  // namespace backplane::window
