// A flat firmware image (such as SeaBIOS) at the top of 4 GiB, and what its board tells it by fw_cfg.
//
// Source: [SDM3A] 9.1.4 (the first instruction), [QEMU] docs/specs/fw_cfg.txt
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/error.h"
#include "base/expected.h"
#include "device/fw_cfg/fw_cfg.h"
#include "machine/acpi_tables.h"
#include "memory/guest_memory.h"

namespace backplane {

inline constexpr std::uint64_t kMaxVgaRomBytes = 128 * 1024;  // what lies between the screen and the firmware
inline constexpr std::uint64_t kMaxFirmwareBytes = std::uint64_t{8} << 20;  // above is the interrupt controllers' place

/// Says no to an image that cannot be a firmware: empty, larger than kMaxFirmwareBytes, no multiple of 64 KiB.
[[nodiscard]] Expected<void, Error> check_firmware(std::string_view name, std::uint64_t bytes);

/// The image as read-only pages that end at 4 GiB, and the copy of its last 128 KiB that ends at 1 MiB.
/// The image has passed check_firmware(). Errors: the pool is empty.
[[nodiscard]] Expected<void, Error> load_firmware(ConstByteSpan image, GuestMemory& memory);

/// Memory map, processors, ACPI tables and the boot menu's time, in the forms that SeaBIOS reads.
void describe_board(FwCfg& fw_cfg, std::uint64_t memory_bytes, AcpiSettings const& acpi);

}  // namespace backplane
