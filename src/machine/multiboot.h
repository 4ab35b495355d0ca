// Multiboot 1: kernels that say in a header near their start how they want to be loaded, and what they are told.
//
// Source: [Multiboot]
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "machine/boot_protocol.h"
#include "machine/elf.h"

namespace backplane {

/// EAX at the entry.
inline constexpr std::uint32_t kMultibootMagic = 0x2bad'b002;

/// True when there is a valid header in the file's first 8 KiB.
[[nodiscard]] bool has_multiboot_header(ConstByteSpan file);

/// Segments and entry of an ELF32 or ELF64 image, or of a flat one whose header says where it goes. Everything in the
/// result has been checked against `file`; addresses have 32 bits.
/// Errors: no header; a demand that is not met; an image that does not fit its own description. No file name.
[[nodiscard]] Expected<ElfKernel, Error> parse_multiboot(ConstByteSpan file);

/// The information structure for `address`, with the memory map and one module (the initrd) behind it.
[[nodiscard]] std::vector<std::byte> make_multiboot_info(BootItems const& items, GuestPhys address);

}  // namespace backplane
