// The PCI host: configuration mechanism #1 at ports 0xCF8 to 0xCFF, bus 0 with its host bridge, and the interrupt
// wires of its slots.
//
// State:    stable
// Features: memory-mapped configuration (ECAM) of bus 0; one bus of 32 slots with one function each, accesses of every width, INTA of each slot to one of four I/O
// APIC
//           inputs, BARs assigned as firmware would
// Missing:  bridges, multi-function devices, extended configuration space (reads as ones), INTB to INTD
// Differs from the hardware: the host bridge says that it is an 82441FX and has none of its own registers
// Source:   [PCI30] 3.2.2.3.2, 6.1, [PCIFW] 4.1
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "device/pci/function.h"
#include "interrupt/line.h"

namespace backplane {

/// Joins the INTx pins of all slots on four inputs: an input is asserted while any of its slots is.
class IntxRouter final : public LineInputs {
  public:
    static constexpr unsigned kFirstInput = 16;
    static constexpr unsigned kInputCount = 4;

    explicit IntxRouter(LineInputs& inputs) : inputs_{inputs} {}

    /// The I/O APIC input of INTA of a slot; what _PRT has to say.
    [[nodiscard]] static constexpr unsigned input_of(unsigned slot) { return kFirstInput + slot % kInputCount; }
    void set_level(unsigned slot, bool asserted) override;

  private:
    LineInputs& inputs_;
    std::uint32_t levels_{0};  // a bit for each slot
};

/// Where assign_bars() may put things.
struct PciWindows {
    GuestPhys memory_base{};
    std::uint64_t memory_bytes{0};
    PortNumber port_base{};
    std::uint32_t port_count{0};
};

class PciHost final : public RegisterBank {
  public:
    static constexpr PortNumber kPorts{0xcf8};
    static constexpr std::uint16_t kPortCount = 8;
    static constexpr unsigned kSlotCount = 32;

    /// `interrupt_inputs` is the I/O APIC, `messages` takes MSI (null: nobody does). The host bridge is in slot 0 from
    /// the beginning.
    PciHost(Bus& bus, LineInputs& interrupt_inputs, MessageSink* messages = nullptr);
    PciHost(PciHost const&) = delete;
    PciHost& operator=(PciHost const&) = delete;

    /// Puts a function into a slot. Errors: no such slot, taken, a pin other than INTA.
    [[nodiscard]] Expected<void, Error> plug(unsigned slot, PciFunction& function);

    /// Gives every BAR an address, the largest first, and enables decoding; the interrupt line register names the I/O
    /// APIC input. The same board always gets the same addresses. Errors: a window is too small; a BAR could not be
    /// decoded there.
    [[nodiscard]] Expected<void, Error> assign_bars(PciWindows const& windows);

    /// Back to power-on: every function's configuration space, and the address register.
    void reset();

    /// Memory-mapped configuration of bus 0: kEcamBytes anywhere in memory; MCFG says where.
    static constexpr std::uint64_t kEcamBytes = 0x10'0000;
    [[nodiscard]] RegisterBank& ecam() { return ecam_; }

    /// The chipset's reset register at 0xCF9 lies among our ports; byte accesses to it go there, at offset 0.
    void set_reset_register(RegisterBank& bank) { reset_register_ = &bank; }

    [[nodiscard]] std::string_view name() const override { return "pci-host"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    /// 4 KiB of configuration space for each function, in the order of their numbers.
    class Ecam final : public RegisterBank {
      public:
        explicit Ecam(PciHost& owner) : owner_{owner} {}
        [[nodiscard]] std::string_view name() const override { return "pci-ecam"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        PciHost& owner_;
    };
    [[nodiscard]] PciFunction* selected() const;

    Bus& bus_;
    IntxRouter router_;
    MessageSink* messages_;
    PciFunction bridge_;
    std::array<PciFunction*, kSlotCount> slots_{};
    std::uint32_t address_{0};
    RegisterBank* reset_register_{nullptr};
    Ecam ecam_{*this};
};

}  // namespace backplane
