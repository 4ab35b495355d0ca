// Addresses and numbers that must not be mixed up, each a type of its own.
//
// There is no conversion among them except through the thing that translates: the MMU turns a GuestVirt into a
// GuestPhys, the page map turns a GuestPage into a frame. What is allowed on an address: compare, difference,
// adding a number of bytes. `value()` is the way out, for the code that translates.
#pragma once

#include <compare>
#include <cstdint>

namespace backplane {

inline constexpr std::uint64_t kPageBytes = 4096;
inline constexpr unsigned kPageShift = 12;
inline constexpr std::uint64_t kPageMask = kPageBytes - 1;

/// A 64-bit byte address in one address space, named by Tag.
template <typename Tag>
class Address {
  public:
    constexpr Address() = default;
    constexpr explicit Address(std::uint64_t value) : value_{value} {}
    [[nodiscard]] constexpr std::uint64_t value() const { return value_; }
    [[nodiscard]] constexpr std::uint64_t page_offset() const { return value_ & kPageMask; }
    constexpr auto operator<=>(Address const&) const = default;
    constexpr Address operator+(std::uint64_t bytes) const { return Address{value_ + bytes}; }
    constexpr std::uint64_t operator-(Address other) const { return value_ - other.value_; }

  private:
    std::uint64_t value_{0};
};

/// An address as the guest's instructions compute it, after segmentation ("linear address" in [SDM3A] 4.1).
using GuestVirt = Address<struct GuestVirtTag>;
/// An address on the machine's physical bus: RAM, a device's BAR, or nothing.
using GuestPhys = Address<struct GuestPhysTag>;

/// A number of some kind; like Address, but it is counted and not computed with.
template <typename Tag, typename Int>
class Number {
  public:
    constexpr Number() = default;
    constexpr explicit Number(Int value) : value_{value} {}
    [[nodiscard]] constexpr Int value() const { return value_; }
    constexpr auto operator<=>(Number const&) const = default;

  private:
    Int value_{0};
};

/// The number of a 4 KiB page of guest-physical memory: GuestPhys >> 12.
using GuestPage = Number<struct GuestPageTag, std::uint64_t>;
/// The number of a 4 KiB frame in the rack's pool.
using FrameNumber = Number<struct FrameNumberTag, std::uint32_t>;
/// A machine within its rack, counted from 0 in the order of the rack file.
using MachineId = Number<struct MachineIdTag, std::uint16_t>;
/// An interrupt vector, 0 to 255.
using Vector = Number<struct VectorTag, std::uint8_t>;
/// An I/O port.
using PortNumber = Number<struct PortNumberTag, std::uint16_t>;

[[nodiscard]] constexpr GuestPage page_of(GuestPhys address) { return GuestPage{address.value() >> kPageShift}; }
[[nodiscard]] constexpr GuestPhys address_of(GuestPage page) { return GuestPhys{page.value() << kPageShift}; }

}  // namespace backplane
