// One PCI function: its configuration space (type 0 header), base address registers and INTx pin.
//
// State:    stable
// Features: 32/64-bit memory BARs and I/O BARs behind register banks, memory BARs behind pool frames, command and
//           status, INTA with the PCI 2.3 disable and status bits
// Missing:  capabilities (MSI, MSI-X, power management), expansion ROM
// Differs from the hardware: a BAR at address 0, over RAM, over other registers or beyond the address space is not
//           decoded, and is tried again only when the guest writes a BAR or the command register of this function
// Source:   [PCI30] 6.1, 6.2
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bus/bus.h"
#include "interrupt/line.h"

namespace backplane {

struct PciIdentity {
    std::uint16_t vendor;
    std::uint16_t device;
    std::uint32_t class_code;  ///< 24 bits: class, subclass, programming interface
    std::uint8_t revision;
    std::uint16_t subsystem_vendor;
    std::uint16_t subsystem;
    std::uint8_t interrupt_pin;  ///< 0 none, 1 INTA
};

/// What a base address register decodes. `bytes` is a power of two; for frames-backed memory BARs at least 4096.
struct PciBar {
    enum class Kind : std::uint8_t { none, memory32, memory64, io };
    Kind kind{Kind::none};
    std::uint64_t bytes{0};
    bool prefetchable{false};
    RegisterBank* bank{nullptr};          ///< registers, or
    std::optional<FrameNumber> frames{};  ///< the first of bytes / 4096 pool frames, mapped as RAM
};

class PciFunction {
  public:
    /// A 64-bit BAR takes two entries, of which the second is `none`. Must live as long as the bus it is connected to.
    PciFunction(std::string name, PciIdentity const& identity, std::array<PciBar, 6> const& bars);
    virtual ~PciFunction() = default;
    PciFunction(PciFunction const&) = delete;
    PciFunction& operator=(PciFunction const&) = delete;

    [[nodiscard]] std::string_view name() const { return name_; }
    [[nodiscard]] PciIdentity const& identity() const { return identity_; }
    [[nodiscard]] std::array<PciBar, 6> const& bars() const { return bars_; }
    /// Where a BAR is decoded now; nullopt when it is not.
    [[nodiscard]] std::optional<std::uint64_t> decoded_at(unsigned bar) const { return mapped_[bar]; }
    /// How often the guest placed a BAR where it could not be decoded.
    [[nodiscard]] std::uint64_t refused_mapping_count() const { return refused_mapping_count_; }

    /// Plugged into a slot: where BARs appear, and the wire of its interrupt pin.
    void connect(Bus& bus, InterruptLine line);

    /// Configuration space, `offset` 0..255, never straddling a dword. Every value is legal guest input.
    [[nodiscard]] std::uint32_t read_config(std::uint8_t offset, Width width) const;
    void write_config(std::uint8_t offset, Width width, std::uint32_t value);

    /// Back to the state after power-on: BARs unmapped, command 0.
    void reset_config();

  protected:
    /// Drives the INTx pin; the wire follows unless the guest set Interrupt Disable.
    void set_interrupt(bool asserted);
    /// Command register bit 2: the function may read and write guest memory.
    [[nodiscard]] bool is_bus_master() const;
    /// The machine's memory, for DMA; only after connect().
    [[nodiscard]] GuestMemory& memory() const { return bus_->memory(); }

  private:
    void update_mappings();
    void update_line();
    [[nodiscard]] std::optional<std::uint64_t> decoded_address(unsigned index) const;
    [[nodiscard]] bool map_bar(unsigned index, std::uint64_t address);
    [[nodiscard]] bool map_frames(PciBar const& bar, GuestPage first);
    void unmap_bar(unsigned index);

    std::string name_;
    PciIdentity identity_;
    std::array<PciBar, 6> bars_;
    std::array<std::optional<std::uint64_t>, 6> mapped_{};  // where each BAR is attached now
    std::array<std::uint32_t, 64> config_{};                // the writable bits' state, as dwords
    std::array<std::uint32_t, 64> writable_{};              // which bits the guest can change
    bool asserted_{false};
    std::uint64_t refused_mapping_count_{0};
    Bus* bus_{nullptr};
    InterruptLine line_{};
};

}  // namespace backplane
