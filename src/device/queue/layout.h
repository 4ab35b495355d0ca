// The queue device as its driver sees it: docs/design/queue-device.md, to the byte.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/address.h"

namespace backplane::queue {

// BAR 0, registers: dwords.
inline constexpr std::uint64_t kRegisterBytes = 0x1000;
inline constexpr std::uint32_t kMagic = 0x3151'5042;  // "BPQ1"
inline constexpr std::uint32_t kVersion = 1 << 16 | 1;
inline constexpr std::uint64_t kIdRegister = 0x00;
inline constexpr std::uint64_t kVersionRegister = 0x04;
inline constexpr std::uint64_t kSelfRegister = 0x08;
inline constexpr std::uint64_t kPeerCountRegister = 0x0C;
inline constexpr std::uint64_t kPageCountRegister = 0x10;
inline constexpr std::uint64_t kFirstPageRegister = 0x14;
inline constexpr std::uint64_t kTransferRegister = 0x18;
inline constexpr std::uint64_t kControlRegister = 0x20;
inline constexpr std::uint64_t kStatusRegister = 0x24;
inline constexpr std::uint64_t kCauseRegister = 0x28;
inline constexpr std::uint64_t kMaskRegister = 0x2C;
inline constexpr std::uint64_t kDoorbellRegister = 0x30;
inline constexpr std::uint64_t kShortDataRegister = 0x40;  // 48 bytes
inline constexpr std::uint64_t kShortSendRegister = 0x70;
inline constexpr std::uint64_t kShortStatusRegister = 0x74;
inline constexpr std::uint64_t kShortCookieRegister = 0x78;

inline constexpr std::uint32_t kControlEnable = 1, kControlReset = 2;
inline constexpr std::uint32_t kStatusEnabled = 1, kStatusBroken = 2, kStatusResetting = 4;
inline constexpr std::uint32_t kCauseReceived = 1, kCauseCompleted = 2, kCauseSpace = 4, kCauses = 7;

// BAR 2, pages.
inline constexpr std::uint32_t kControlPage = 0;
inline constexpr std::uint32_t kSubmitPage = 1, kSubmitPages = 4;
inline constexpr std::uint32_t kCompletePage = 5;
inline constexpr std::uint32_t kReceivePage = 6, kReceivePages = 8;
inline constexpr std::uint32_t kDirectoryPage = 16, kDirectoryPages = 16;
inline constexpr std::uint32_t kFirstMessagePage = 32;
/// Control page and rings, which the guest may write.
inline constexpr std::uint32_t kRingPages = kReceivePage + kReceivePages;

// The control structure: free-running indexes, modulo 2^32, each in a cache line of its own.
inline constexpr std::size_t kSubmitProducer = 0x000;    // the guest's
inline constexpr std::size_t kSubmitConsumer = 0x040;    // the device's
inline constexpr std::size_t kCompleteProducer = 0x080;  // the device's
inline constexpr std::size_t kCompleteConsumer = 0x0C0;  // the guest's
inline constexpr std::size_t kReceiveProducer = 0x100;   // the device's
inline constexpr std::size_t kReceiveConsumer = 0x140;   // the guest's

inline constexpr std::uint32_t kSubmitEntries = 256, kSubmitBytes = 64;
inline constexpr std::uint32_t kCompleteEntries = 256, kCompleteBytes = 16;
inline constexpr std::uint32_t kReceiveEntries = 64, kReceiveBytes = 512;
static_assert(kSubmitEntries * kSubmitBytes == kSubmitPages * kPageBytes);
static_assert(kCompleteEntries * kCompleteBytes == kPageBytes);
static_assert(kReceiveEntries * kReceiveBytes == kReceivePages * kPageBytes);

inline constexpr std::uint32_t kMessagePages = 64;  // the most in one message
inline constexpr std::uint32_t kRangesPerEntry = 6;
inline constexpr std::uint16_t kFlagInline = 1, kFlagExchange = 2, kFlagWritable = 4, kFlagWhole = 8, kFlags = 15;
inline constexpr std::size_t kSwapRamOffset = 40;  // SWAP: of the operand; five ranges fit before it

// Offsets in a receive entry.
inline constexpr std::size_t kArrivalData = 40, kArrivalPages = 128;

inline constexpr std::uint32_t kDirectoryBytes = 64, kDirectoryName = 8, kDirectoryNameBytes = 40;

}  // namespace backplane::queue
