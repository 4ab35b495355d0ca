// The descriptors of both rings as they lie in guest memory, 16 bytes each ([8254x] 3.2.3 and 3.3).
#pragma once

#include <cstdint>

namespace backplane::e1000 {

inline constexpr std::uint32_t kDescriptorBytes = 16;

/// Any transmit descriptor, [8254x] 3.3.3 (legacy), 3.3.6 (context), 3.3.7 (data): which one it is, and the
/// meaning of all fields but the command byte, depends on `lower`.
struct TransmitDescriptor {
    std::uint64_t address;  ///< context: the six checksum offsets
    std::uint32_t lower;    ///< length or PAYLEN, DTYP or CSO, command
    std::uint32_t upper;    ///< status, POPTS or CSS or HDRLEN, special or MSS
};
static_assert(sizeof(TransmitDescriptor) == kDescriptorBytes);

// Bits of `lower`: the command byte is bits 31:24.
inline constexpr std::uint32_t kTxEop = 1U << 24;
inline constexpr std::uint32_t kTxIfcs = 1U << 25;
inline constexpr std::uint32_t kTxIc = 1U << 26;   // legacy
inline constexpr std::uint32_t kTxTse = 1U << 26;  // context and data
inline constexpr std::uint32_t kTxRs = 1U << 27;
inline constexpr std::uint32_t kTxDext = 1U << 29;
inline constexpr std::uint32_t kTxVle = 1U << 30;
inline constexpr std::uint32_t kTxIde = 1U << 31;
inline constexpr std::uint32_t kTxContextTcp = 1U << 24;
inline constexpr std::uint32_t kTxContextIp = 1U << 25;

inline constexpr std::uint8_t kStatusDd = 1U << 0;
/// Where the status byte of a transmit descriptor lies.
inline constexpr std::uint32_t kTxStatusOffset = 12;

/// What the hardware writes into the second half of a receive descriptor, [8254x] 3.2.3.
struct ReceiveWriteBack {
    std::uint16_t length;
    std::uint16_t packet_checksum;
    std::uint8_t status;
    std::uint8_t errors;
    std::uint16_t special;
};
static_assert(sizeof(ReceiveWriteBack) == 8);

inline constexpr std::uint8_t kRxEop = 1U << 1;
inline constexpr std::uint8_t kRxIxsm = 1U << 2;
inline constexpr std::uint8_t kRxVp = 1U << 3;
inline constexpr std::uint8_t kRxTcpcs = 1U << 5;
inline constexpr std::uint8_t kRxIpcs = 1U << 6;
inline constexpr std::uint8_t kRxPif = 1U << 7;
inline constexpr std::uint8_t kRxErrorTcpe = 1U << 5;
inline constexpr std::uint8_t kRxErrorIpe = 1U << 6;
inline constexpr std::uint8_t kRxErrorRxe = 1U << 7;

}  // namespace backplane::e1000
