// The registers of the local APIC, and in which mode each may be read and written ([SDM3A] tables 10-1 and 10-6).
#pragma once

#include <array>
#include <cstdint>

namespace backplane::local_apic {

/// A register's number: its offset in the page divided by 16, and its MSR minus 0x800.
enum Index : unsigned {
    kId = 0x02,
    kVersion = 0x03,
    kTaskPriority = 0x08,
    kArbitrationPriority = 0x09,
    kProcessorPriority = 0x0a,
    kEndOfInterrupt = 0x0b,
    kRemoteRead = 0x0c,
    kLogicalDestination = 0x0d,
    kDestinationFormat = 0x0e,
    kSpurious = 0x0f,
    kInService = 0x10,
    kTriggerMode = 0x18,
    kRequested = 0x20,
    kErrorStatus = 0x28,
    kCommandLow = 0x30,
    kCommandHigh = 0x31,
    kLvtFirst = 0x32,
    kLvtLast = 0x37,
    kInitialCount = 0x38,
    kCurrentCount = 0x39,
    kDivide = 0x3e,
    kSelfIpi = 0x3f,
    kIndexCount = 0x100,
};

enum class Rights : std::uint8_t { none, read, write, read_write };

[[nodiscard]] constexpr bool may_read(Rights rights) { return rights == Rights::read || rights == Rights::read_write; }
[[nodiscard]] constexpr bool may_write(Rights rights) {
    return rights == Rights::write || rights == Rights::read_write;
}

struct Rule {
    unsigned index;
    unsigned count;
    Rights xapic;
    Rights x2apic;
    std::uint32_t writable;  ///< the bits that a write changes; in x2APIC mode setting others is #GP
    std::uint32_t ignored;   ///< except these, which are read-only
};

// Delivery status (12) and, of LINT0 and LINT1, remote IRR (14) are read-only bits and not reserved ones.
inline constexpr std::array kRules{
    Rule{kId, 1, Rights::read, Rights::read, 0, 0},
    Rule{kVersion, 1, Rights::read, Rights::read, 0, 0},
    Rule{kTaskPriority, 1, Rights::read_write, Rights::read_write, 0xff, 0},
    Rule{kArbitrationPriority, 1, Rights::read, Rights::none, 0, 0},
    Rule{kProcessorPriority, 1, Rights::read, Rights::read, 0, 0},
    Rule{kEndOfInterrupt, 1, Rights::write, Rights::write, 0, 0},
    Rule{kRemoteRead, 1, Rights::read, Rights::none, 0, 0},
    Rule{kLogicalDestination, 1, Rights::read_write, Rights::read, 0xff00'0000, 0},
    Rule{kDestinationFormat, 1, Rights::read_write, Rights::none, 0xf000'0000, 0},
    Rule{kSpurious, 1, Rights::read_write, Rights::read_write, 0x3ff, 0},
    Rule{kInService, 8, Rights::read, Rights::read, 0, 0},
    Rule{kTriggerMode, 8, Rights::read, Rights::read, 0, 0},
    Rule{kRequested, 8, Rights::read, Rights::read, 0, 0},
    Rule{kErrorStatus, 1, Rights::read_write, Rights::read_write, 0, 0},
    Rule{kCommandLow, 1, Rights::read_write, Rights::read_write, 0xc'cfff, 0},
    Rule{kCommandHigh, 1, Rights::read_write, Rights::none, 0xff00'0000, 0},
    Rule{kLvtFirst, 1, Rights::read_write, Rights::read_write, 0x7'00ff, 0x1000},      // timer
    Rule{kLvtFirst + 1, 2, Rights::read_write, Rights::read_write, 0x1'07ff, 0x1000},  // thermal, performance
    Rule{kLvtFirst + 3, 2, Rights::read_write, Rights::read_write, 0x1'a7ff, 0x5000},  // LINT0, LINT1
    Rule{kLvtLast, 1, Rights::read_write, Rights::read_write, 0x1'00ff, 0x1000},       // error
    Rule{kInitialCount, 1, Rights::read_write, Rights::read_write, 0xffff'ffff, 0},
    Rule{kCurrentCount, 1, Rights::read, Rights::read, 0, 0},
    Rule{kDivide, 1, Rights::read_write, Rights::read_write, 0xb, 0},
    Rule{kSelfIpi, 1, Rights::none, Rights::write, 0xff, 0},
};

/// The rule of a register; one without any rights when it does not exist.
[[nodiscard]] constexpr Rule rule_of(unsigned index) {
    for (Rule const& rule : kRules) {
        if (index - rule.index < rule.count) return rule;
    }
    return {index, 1, Rights::none, Rights::none, 0, 0};
}

// Bits that are the same in several registers.
inline constexpr std::uint32_t kLvtMasked = 1U << 16;
inline constexpr std::uint32_t kSoftwareEnabled = 1U << 8;  // SVR

// Error status, [SDM3A] 10.5.3.
inline constexpr std::uint32_t kSendIllegalVector = 1U << 5;
inline constexpr std::uint32_t kReceiveIllegalVector = 1U << 6;
inline constexpr std::uint32_t kIllegalRegister = 1U << 7;

}  // namespace backplane::local_apic
