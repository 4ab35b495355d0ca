// The registers of a type 0 configuration header, by name ([PCI30] 6.1, figure 6-1).
#pragma once

#include <cstdint>

namespace backplane::pci {

// Byte offsets of registers.
inline constexpr std::uint8_t kVendor = 0x00;
inline constexpr std::uint8_t kCommand = 0x04;
inline constexpr std::uint8_t kRevision = 0x08;
inline constexpr std::uint8_t kCacheLine = 0x0c;
inline constexpr std::uint8_t kFirstBar = 0x10;
inline constexpr std::uint8_t kSubsystemVendor = 0x2c;
inline constexpr std::uint8_t kCapabilities = 0x34;
inline constexpr std::uint8_t kInterruptLine = 0x3c;
/// The first byte after the type 0 header: capabilities live from here on.
inline constexpr std::uint8_t kHeaderEnd = 0x40;

/// The byte offset of base address register `bar`, 0 to 5.
[[nodiscard]] constexpr std::uint8_t bar_offset(unsigned bar) { return static_cast<std::uint8_t>(kFirstBar + 4 * bar); }

// Bits of the command register, [PCI30] 6.2.2.
inline constexpr std::uint32_t kDecodeIo = 1U << 0;
inline constexpr std::uint32_t kDecodeMemory = 1U << 1;
inline constexpr std::uint32_t kBusMaster = 1U << 2;
inline constexpr std::uint32_t kWriteInvalidate = 1U << 4;
inline constexpr std::uint32_t kParityResponse = 1U << 6;
inline constexpr std::uint32_t kSystemError = 1U << 8;
inline constexpr std::uint32_t kInterruptDisable = 1U << 10;
/// Status bit 3, in the upper half of the same dword.
inline constexpr std::uint32_t kInterruptStatus = 1U << 19;
/// Status bit 4: there is a list of capabilities.
inline constexpr std::uint32_t kHasCapabilities = 1U << 20;

// Capability identifiers, [PCI30] appendix H.
inline constexpr std::uint8_t kMsiCapability = 0x05;
inline constexpr std::uint8_t kVendorCapability = 0x09;
inline constexpr std::uint8_t kMsixCapability = 0x11;

// Message Control of MSI, [PCI30] 6.8.1.3; the upper half of the capability's first dword.
inline constexpr std::uint32_t kMsiEnable = 1U << 16;
inline constexpr unsigned kMsiCapableShift = 17;
inline constexpr unsigned kMsiEnabledShift = 20;
inline constexpr std::uint32_t kMsi64Bit = 1U << 23;
inline constexpr std::uint32_t kMsiMaskable = 1U << 24;
// Message Control of MSI-X, [PCI30] 6.8.2.3.
inline constexpr std::uint32_t kMsixEnable = 1U << 31;
inline constexpr std::uint32_t kMsixFunctionMask = 1U << 30;

// Bits of base address registers, [PCI30] 6.2.5.1.
inline constexpr std::uint32_t kBarIo = 1U << 0;
inline constexpr std::uint32_t kBar64 = 2U << 1;
inline constexpr std::uint32_t kBarPrefetchable = 1U << 3;
inline constexpr std::uint32_t kBarIoAddress = ~std::uint32_t{0x3};
inline constexpr std::uint32_t kBarMemoryAddress = ~std::uint32_t{0xf};

}  // namespace backplane::pci
