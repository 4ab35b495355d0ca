// The structures that a kernel finds at its start, made from plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "machine/kernel_image.h"
#include "machine/layout.h"

namespace backplane {

/// What the structures point to.
struct BootItems {
    std::uint64_t memory_bytes{0};
    GuestPhys command_line{};
    GuestPhys initrd{};
    std::uint64_t initrd_bytes{0};  ///< 0: none
    GuestPhys rsdp{};
    bool has_vga{false};  ///< in mode 3
};

/// hvm_start_info version 1 for `address`, followed by its module list and its memory map.
/// Source: [PVH] "arch-x86/hvm/start_info.h"
[[nodiscard]] std::vector<std::byte> make_start_info(BootItems const& items, GuestPhys address);

/// Linux' struct boot_params, 4 KiB; `header` is absent for a bare ELF, which then gets a minimal one.
/// Source: [LinuxBoot] "Zero Page"
[[nodiscard]] std::vector<std::byte> make_boot_params(BootItems const& items, std::optional<LinuxHeader> const& header);

/// PML4, PDPT and four page directories for `address`: the first 4 GiB, identity-mapped with 2 MiB pages, writable.
/// Source: [SDM3A] 4.5
[[nodiscard]] std::vector<std::byte> make_identity_map(GuestPhys address);

}  // namespace backplane
