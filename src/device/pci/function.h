// One PCI function: its configuration space (type 0 header), base address registers, capabilities and interrupts.
//
// State:    stable
// Features: 32/64-bit memory BARs and I/O BARs behind register banks, memory BARs of pages, command and
//           status, INTA with the PCI 2.3 disable and status bits, capabilities, MSI with masking, MSI-X
// Missing:  power management capability, expansion ROM
// Differs from the hardware: a BAR at address 0, over RAM, over other registers or beyond the address space is not
//           decoded, and is tried again only when the guest writes a BAR or the command register of this function; a
//           message that cannot be sent because the function is no bus master stays pending
// Source:   [PCI30] 6.1, 6.2, 6.7, 6.8
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "bus/bus.h"
#include "device/pci/msix_table.h"
#include "interrupt/line.h"
#include "interrupt/message.h"
#include "memory/page_window.h"

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

/// What a base address register decodes. `bytes` is a power of two; a memory BAR of pages has at least 4096.
struct PciBar {
    enum class Kind : std::uint8_t { none, memory32, memory64, io };
    Kind kind{Kind::none};
    std::uint64_t bytes{0};
    bool prefetchable{false};
    RegisterBank* bank{nullptr};  ///< registers, or
    PageWindow* window{nullptr};  ///< bytes / 4096 pages, which keep their frames and owners when the BAR moves
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

    /// Plugged into a slot: where BARs appear, the wire of its interrupt pin, and who takes its messages (null:
    /// nobody).
    void connect(Bus& bus, InterruptLine line, MessageSink* messages = nullptr);

    /// Configuration space, `offset` 0..255, never straddling a dword. Every value is legal guest input.
    [[nodiscard]] std::uint32_t read_config(std::uint8_t offset, Width width);
    void write_config(std::uint8_t offset, Width width, std::uint32_t value);

    /// Back to the state after power-on: BARs unmapped, command 0.
    void reset_config();

  protected:
    /// Appends a capability to the list: its identifier and pointer, then `contents`, from offset 2 of the capability
    /// on. `writable` says which bits of `contents` the guest can change (shorter: none of the rest). For constructors.
    /// \return where in configuration space the capability begins
    std::uint8_t add_capability(std::uint8_t id, ConstByteSpan contents, ConstByteSpan writable = {});
    /// MSI with 64-bit addresses and masking; `vector_count` is a power of two, at most 32. For constructors.
    void add_msi(unsigned vector_count);
    /// MSI-X; `table` is behind BAR `bar`, `offset` bytes from its start (a multiple of 8), and outlives the function.
    /// For constructors.
    void add_msix(MsixTable& table, unsigned bar, std::uint32_t offset = 0);
    /// Called after the guest wrote into a capability; `offset` is that of the dword in configuration space.
    virtual void capability_written(std::uint8_t /*offset*/) {}
    /// Called when the guest reads from a capability: `stored` is the dword at `offset`, the result what the guest sees.
    [[nodiscard]] virtual std::uint32_t read_capability(std::uint8_t /*offset*/, std::uint32_t stored) { return stored; }
    /// The dword of configuration space at `offset`, as the function itself sees it.
    [[nodiscard]] std::uint32_t config_dword(std::uint8_t offset) const { return config_[offset / 4]; }

    /// Sends message `vector` by MSI-X or MSI, or keeps it pending while it is masked; a number that the guest did not
    /// enable is folded (MSI) or dropped (MSI-X).
    /// \return false when the guest uses neither: the function has its INTx pin
    bool send_message(unsigned vector);
    /// The guest has switched to messages, so that the pin is silent.
    [[nodiscard]] bool uses_messages() const { return is_msi_enabled() || is_msix_enabled(); }

    /// Drives the INTx pin; the wire follows unless the guest set Interrupt Disable or uses messages.
    void set_interrupt(bool asserted);
    /// Command register bit 2: the function may read and write guest memory.
    [[nodiscard]] bool is_bus_master() const;
    /// The machine's memory, for DMA; only after connect().
    [[nodiscard]] GuestMemory& memory() const { return bus_->memory(); }

  private:
    void update_mappings();
    void update_line();
    void update_messages();
    [[nodiscard]] bool is_msi_enabled() const;
    [[nodiscard]] bool is_msix_enabled() const;
    void send_msi(unsigned vector);
    void send_unmasked_msi();
    [[nodiscard]] std::optional<std::uint64_t> decoded_address(unsigned index) const;
    [[nodiscard]] bool map_bar(unsigned index, std::uint64_t address);
    [[nodiscard]] bool place_window(PciBar const& bar, GuestPage first);
    void unmap_bar(unsigned index);

    std::string name_;
    PciIdentity identity_;
    std::array<PciBar, 6> bars_;
    std::array<std::optional<std::uint64_t>, 6> mapped_{};  // where each BAR is attached now
    std::array<std::uint32_t, 64> config_{};                // the writable bits' state, as dwords
    std::array<std::uint32_t, 64> writable_{};              // which bits the guest can change
    std::array<std::uint32_t, 64> capabilities_{};          // what the list is at reset; nothing below kHeaderEnd
    std::uint8_t first_capability_{0};
    std::uint8_t last_capability_{0};
    std::uint8_t capabilities_end_{0x40};
    std::uint8_t msi_{0};  // where the capability is; 0: none
    std::uint8_t msix_{0};
    std::uint32_t msi_pending_{0};  // a bit for each vector
    MsixTable* msix_table_{nullptr};
    MessageSink* messages_{nullptr};
    bool asserted_{false};
    std::uint64_t refused_mapping_count_{0};
    Bus* bus_{nullptr};
    InterruptLine line_{};
};

}  // namespace backplane
