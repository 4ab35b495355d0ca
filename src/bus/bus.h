// Where a physical address or a port leads: RAM, or a device and an offset. Every access that is not plain RAM
// passes here, so here is the one place where accesses are traced.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/expected.h"
#include "memory/guest_memory.h"

namespace backplane {

enum class Width : std::uint8_t { byte = 1, word = 2, dword = 4, qword = 8 };

[[nodiscard]] constexpr std::uint64_t bytes_in(Width width) { return static_cast<std::uint64_t>(width); }
[[nodiscard]] constexpr std::uint64_t ones(Width width) {
    return width == Width::qword ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * bytes_in(width))) - 1;
}

/// The registers behind one range of addresses or ports. A device gets offsets and does not know where it lives.
class RegisterBank {
  public:
    virtual ~RegisterBank() = default;
    [[nodiscard]] virtual std::string_view name() const = 0;
    /// Every offset and width within the range is legal guest input. The value's bits above the width are ignored.
    [[nodiscard]] virtual std::uint64_t read(std::uint64_t offset, Width width) = 0;
    /// `value` has no bits set above the width.
    virtual void write(std::uint64_t offset, Width width, std::uint64_t value) = 0;
};

/// One processor or device access to a register bank, for tracing.
struct BusAccess {
    enum class Space : std::uint8_t { memory, port };
    enum class Direction : std::uint8_t { read, write };
    Space space;
    Direction direction;
    Width width;
    std::uint64_t address;
    std::uint64_t value;
    std::string_view device;  ///< "-" when nothing is there
};

class BusObserver {
  public:
    virtual ~BusObserver() = default;
    /// Called after every access to a bank or to nothing.
    virtual void accessed(BusAccess const& access) = 0;
};

class Bus {
  public:
    explicit Bus(GuestMemory& memory) : memory_{memory} {}
    Bus(Bus const&) = delete;
    Bus& operator=(Bus const&) = delete;

    [[nodiscard]] GuestMemory& memory() { return memory_; }

    /// Puts a bank at [base, base + bytes). Errors: empty, wraps around, or overlaps another bank (whose name is given).
    /// A bank hides RAM below it.
    [[nodiscard]] Expected<void, Error> attach(GuestPhys base, std::uint64_t bytes, RegisterBank& bank);
    /// Takes a bank away from where it was attached; does nothing when it was not.
    void detach(GuestPhys base, RegisterBank& bank);
    [[nodiscard]] Expected<void, Error> attach_ports(PortNumber first, std::uint16_t count, RegisterBank& bank);
    void detach_ports(PortNumber first, RegisterBank& bank);

    /// True when [page, page + 4 KiB) is RAM and nothing but RAM, so that a TLB may map it directly.
    [[nodiscard]] bool is_plain_ram(GuestPage page) const;
    /// True when no bank has a byte of the page.
    [[nodiscard]] bool is_free(GuestPage page) const;

    /// One access as a processor makes it. An access that two owners would share is split into bytes; what nobody
    /// claims (and what is a hole) reads as ones and drops writes, counted in unclaimed_count().
    [[nodiscard]] std::uint64_t read(GuestPhys address, Width width);
    void write(GuestPhys address, Width width, std::uint64_t value);
    [[nodiscard]] std::uint64_t in(PortNumber port, Width width);
    void out(PortNumber port, Width width, std::uint64_t value);

    [[nodiscard]] std::uint64_t unclaimed_count() const { return unclaimed_count_; }
    [[nodiscard]] std::uint64_t access_count() const { return access_count_; }

    /// Observers must outlive their registration.
    void add_observer(BusObserver& observer) { observers_.push_back(&observer); }
    void remove_observer(BusObserver& observer) { std::erase(observers_, &observer); }

  private:
    struct Range {
        std::uint64_t bytes;
        RegisterBank* bank;
    };
    using Ranges = std::map<std::uint64_t, Range>;  // by first address; disjoint
    struct Hit {
        RegisterBank* bank;
        std::uint64_t offset;
        bool whole;
    };

    [[nodiscard]] static Expected<void, Error> insert(Ranges& ranges, std::uint64_t first, std::uint64_t bytes, RegisterBank& bank);
    [[nodiscard]] static Hit find(Ranges const& ranges, std::uint64_t address, Width width);
    std::uint64_t access(BusAccess::Space space, BusAccess::Direction direction, std::uint64_t address, Width width, std::uint64_t value);

    GuestMemory& memory_;
    Ranges banks_;
    Ranges ports_;
    std::uint64_t unclaimed_count_{0};
    std::uint64_t access_count_{0};
    std::vector<BusObserver*> observers_;
};

}  // namespace backplane
