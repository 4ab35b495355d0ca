// Register offsets and bits of the 82540EM, by the manual's names ([8254x] ch. 13).
#pragma once

#include <cstdint>

namespace backplane::e1000 {

inline constexpr std::uint32_t kMemoryBarBytes = 128 * 1024;  // [8254x] 4.1, memory register base address
inline constexpr std::uint32_t kIoBarBytes = 64;              // IOADDR and IODATA, the rest is reserved
inline constexpr std::uint32_t kRegisterBytes = 0x6000;       // above it: flexible filters and packet buffer memory

// Offsets, [8254x] table 13-2.
inline constexpr std::uint32_t kCtrl = 0x0000;
inline constexpr std::uint32_t kStatus = 0x0008;
inline constexpr std::uint32_t kEecd = 0x0010;
inline constexpr std::uint32_t kEerd = 0x0014;
inline constexpr std::uint32_t kMdic = 0x0020;
inline constexpr std::uint32_t kVet = 0x0038;
inline constexpr std::uint32_t kIcr = 0x00C0;
inline constexpr std::uint32_t kItr = 0x00C4;
inline constexpr std::uint32_t kIcs = 0x00C8;
inline constexpr std::uint32_t kIms = 0x00D0;
inline constexpr std::uint32_t kImc = 0x00D8;
inline constexpr std::uint32_t kRctl = 0x0100;
inline constexpr std::uint32_t kTctl = 0x0400;
inline constexpr std::uint32_t kPba = 0x1000;
inline constexpr std::uint32_t kRdbal = 0x2800;
inline constexpr std::uint32_t kRdbah = 0x2804;
inline constexpr std::uint32_t kRdlen = 0x2808;
inline constexpr std::uint32_t kRdh = 0x2810;
inline constexpr std::uint32_t kRdt = 0x2818;
inline constexpr std::uint32_t kRdtr = 0x2820;
inline constexpr std::uint32_t kRadv = 0x282C;
inline constexpr std::uint32_t kTdbal = 0x3800;
inline constexpr std::uint32_t kTdbah = 0x3804;
inline constexpr std::uint32_t kTdlen = 0x3808;
inline constexpr std::uint32_t kTdh = 0x3810;
inline constexpr std::uint32_t kTdt = 0x3818;
inline constexpr std::uint32_t kTidv = 0x3820;
inline constexpr std::uint32_t kTadv = 0x382C;
inline constexpr std::uint32_t kRxcsum = 0x5000;
inline constexpr std::uint32_t kMta = 0x5200;
inline constexpr std::uint32_t kRa = 0x5400;  // RAL and RAH in turn
inline constexpr std::uint32_t kVfta = 0x5600;

// Statistics, [8254x] 13.7. All are 32 bits, stick at their maximum and are cleared by reading; of the 64-bit ones
// the given offset is the low half, and reading the high half clears both.
inline constexpr std::uint32_t kStatistics = 0x4000;
inline constexpr std::uint32_t kStatisticsCount = 64;  // CRCERRS to TSCTFC
inline constexpr std::uint32_t kMpc = 0x4010;
inline constexpr std::uint32_t kPrc64 = 0x405C;
inline constexpr std::uint32_t kGprc = 0x4074;
inline constexpr std::uint32_t kBprc = 0x4078;
inline constexpr std::uint32_t kMprc = 0x407C;
inline constexpr std::uint32_t kGptc = 0x4080;
inline constexpr std::uint32_t kGorcl = 0x4088;
inline constexpr std::uint32_t kGotcl = 0x4090;
inline constexpr std::uint32_t kRuc = 0x40A4;
inline constexpr std::uint32_t kRoc = 0x40AC;
inline constexpr std::uint32_t kTorl = 0x40C0;
inline constexpr std::uint32_t kTotl = 0x40C8;
inline constexpr std::uint32_t kTpr = 0x40D0;
inline constexpr std::uint32_t kTpt = 0x40D4;
inline constexpr std::uint32_t kPtc64 = 0x40D8;
inline constexpr std::uint32_t kMptc = 0x40F0;
inline constexpr std::uint32_t kBptc = 0x40F4;
inline constexpr std::uint32_t kTsctc = 0x40F8;

// CTRL, [8254x] 13.4.1
inline constexpr std::uint32_t kCtrlFd = 1U << 0;
inline constexpr std::uint32_t kCtrlSlu = 1U << 6;
inline constexpr std::uint32_t kCtrlSpeed1000 = 2U << 8;
inline constexpr std::uint32_t kCtrlRst = 1U << 26;
inline constexpr std::uint32_t kCtrlVme = 1U << 30;
inline constexpr std::uint32_t kCtrlPhyRst = 1U << 31;

// STATUS, [8254x] 13.4.2
inline constexpr std::uint32_t kStatusFd = 1U << 0;
inline constexpr std::uint32_t kStatusLu = 1U << 1;
inline constexpr std::uint32_t kStatusSpeed1000 = 2U << 6;
inline constexpr std::uint32_t kStatusAsdv1000 = 2U << 8;

// MDIC, [8254x] 13.4.7
inline constexpr std::uint32_t kMdicWrite = 1U << 26;
inline constexpr std::uint32_t kMdicRead = 2U << 26;
inline constexpr std::uint32_t kMdicOperation = 3U << 26;
inline constexpr std::uint32_t kMdicReady = 1U << 28;
inline constexpr std::uint32_t kMdicInterrupt = 1U << 29;
inline constexpr std::uint32_t kMdicError = 1U << 30;

// EECD, [8254x] 13.4.3
inline constexpr std::uint32_t kEecdSk = 1U << 0;
inline constexpr std::uint32_t kEecdCs = 1U << 1;
inline constexpr std::uint32_t kEecdDi = 1U << 2;
inline constexpr std::uint32_t kEecdDo = 1U << 3;
inline constexpr std::uint32_t kEecdReq = 1U << 6;
inline constexpr std::uint32_t kEecdGnt = 1U << 7;
inline constexpr std::uint32_t kEecdPres = 1U << 8;

// EERD, [8254x] 13.4.4
inline constexpr std::uint32_t kEerdStart = 1U << 0;
inline constexpr std::uint32_t kEerdDone = 1U << 4;

// Interrupt causes, [8254x] 13.4.17
inline constexpr std::uint32_t kCauseTxdw = 1U << 0;
inline constexpr std::uint32_t kCauseTxqe = 1U << 1;
inline constexpr std::uint32_t kCauseLsc = 1U << 2;
inline constexpr std::uint32_t kCauseRxdmt0 = 1U << 4;
inline constexpr std::uint32_t kCauseRxt0 = 1U << 7;
inline constexpr std::uint32_t kCauseMdac = 1U << 9;
inline constexpr std::uint32_t kCauses = 0x0001FFFF;  // with the reserved ones below bit 17: ICS sets and ICR shows them

// RCTL, [8254x] 13.4.22
inline constexpr std::uint32_t kRctlEn = 1U << 1;
inline constexpr std::uint32_t kRctlUpe = 1U << 3;
inline constexpr std::uint32_t kRctlMpe = 1U << 4;
inline constexpr std::uint32_t kRctlLpe = 1U << 5;
inline constexpr std::uint32_t kRctlLbm = 3U << 6;
inline constexpr std::uint32_t kRctlLbmMac = 1U << 6;
inline constexpr std::uint32_t kRctlBam = 1U << 15;
inline constexpr std::uint32_t kRctlVfe = 1U << 18;
inline constexpr std::uint32_t kRctlCfien = 1U << 19;
inline constexpr std::uint32_t kRctlCfi = 1U << 20;
inline constexpr std::uint32_t kRctlBsex = 1U << 25;
inline constexpr std::uint32_t kRctlSecrc = 1U << 26;

// RXCSUM, [8254x] table 13-2, "Receive Checksum Control"
inline constexpr std::uint32_t kRxcsumIpofl = 1U << 8;
inline constexpr std::uint32_t kRxcsumTuofl = 1U << 9;

// RAH, [8254x] 13.5.3
inline constexpr std::uint32_t kRahAv = 1U << 31;
inline constexpr std::uint32_t kRahBits = kRahAv | 0x0003FFFF;  // AV, AS, address

// TCTL, [8254x] 13.4.33
inline constexpr std::uint32_t kTctlEn = 1U << 1;
inline constexpr std::uint32_t kTctlPsp = 1U << 3;

// Flush partial descriptor block, in RDTR and TIDV: the delayed interrupt is raised now.
inline constexpr std::uint32_t kDelayFpd = 1U << 31;

}  // namespace backplane::e1000
