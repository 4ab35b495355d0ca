// Intel 82540EM gigabit Ethernet controller ("PRO/1000 MT Desktop"), PCI 8086:100E.
//
// State:    partial
// Features: memory and I/O BAR, EEPROM (EECD, EERD), PHY (MDIC), legacy and TCP/IP context and data descriptors, TCP
//           and UDP segmentation, checksum insertion and checking, VLAN tags inserted, taken out and filtered, address
//           filters, all buffer sizes, frames over several buffers, SECRC, LPE, interrupt throttle and delays,
//           statistics, loopback (PHY, RCTL.LBM); Linux's own test of the card passes
// Missing:  flow control (registers are stored; no FIFO that could overflow), wake-up (stored), flash, small-packet
//           detection, flexible filters (they only wake), power management capability
// Differs from the hardware: no internal FIFO (frames stay in the sender's buffers, docs/design/crossover.md); link
//           negotiation and EEPROM writes take no time; the packet checksum field of a receive descriptor is 0
// Source:   [8254x]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/e1000/controller.h"
#include "device/frame_port.h"
#include "device/network_card.h"
#include "device/pci/function.h"

namespace backplane {

namespace e1000 {

/// The register banks behind the two BARs; made before the PCI function that refers to them.
class Banks {
  protected:
    explicit Banks(Controller& controller) : memory_bar_{controller}, io_bar_{controller} {}

    class MemoryBar final : public RegisterBank {
      public:
        explicit MemoryBar(Controller& controller) : controller_{controller} {}
        [[nodiscard]] std::string_view name() const override { return "e1000 registers"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        Controller& controller_;
    };
    class IoBar final : public RegisterBank {
      public:
        explicit IoBar(Controller& controller) : controller_{controller} {}
        [[nodiscard]] std::string_view name() const override { return "e1000 ports"; }
        [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
        void write(std::uint64_t offset, Width width, std::uint64_t value) override;

      private:
        Controller& controller_;
    };

    MemoryBar memory_bar_;
    IoBar io_bar_;
};

}  // namespace e1000

class E1000 final : private e1000::Wiring, private e1000::Banks, public PciFunction, public NetworkCard {
  public:
    /// A card with this address, no cable plugged in. `clock` is the machine's and outlives the card.
    E1000(std::string name, MacAddress const& mac, MachineClock& clock);

    [[nodiscard]] PciFunction& function() override { return *this; }
    [[nodiscard]] FramePort& port() override { return controller_; }
    [[nodiscard]] FramePortCounters counters() const override { return controller_.counters(); }
    [[nodiscard]] e1000::GuestErrors const& guest_errors() const { return controller_.guest_errors(); }
    [[nodiscard]] e1000::Controller& controller() { return controller_; }

    /// The machine's reset: controller and PCI configuration. The EEPROM's contents and the cable stay.
    void reset();

  private:
    [[nodiscard]] GuestMemory* dma() override;
    void drive_interrupt(bool asserted) override { set_interrupt(asserted); }

    e1000::Controller controller_;
};

}  // namespace backplane
