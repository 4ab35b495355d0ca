// The shared window: memory that several machines have in common, and doorbells between them (claims S2.3, S2.4, S2.6).
//
// State:    stable
// Features: registers of ivshmem version 1 (mask, status, position, doorbell), an output section for each peer, which
//           only its owner writes, a common part that all write, INTx with the PCI 2.3 bits, MSI-X
// Missing:  states of peers, sections of different sizes, more than one window in a rack
// Differs from the hardware: there is no hardware. From QEMU's device: INTx works while MSI-X is disabled, although
//           there is the capability; a capability tells how the memory is divided; most of it is read-only
// Source:   docs/design/window.md, [QEMU] ivshmem-spec
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/pci/function.h"
#include "device/pci/window_parts.h"
#include "device/window/layout.h"
#include "device/window_port.h"

namespace backplane {

struct WindowDeviceSettings {
    std::string name{"window"};
    window::Layout layout{};
    std::uint32_t position{0};  ///< this machine's peer number
    unsigned vectors{1};        ///< 1 to 32
};

class WindowDevice final : private PciWindowParts,
                           private DwordRegisters::Owner,
                           private BusObserver,
                           private TranslationObserver,
                           public PciFunction,
                           public WindowPort {
  public:
    /// The bus is the machine's, and like the clock outlives the device.
    WindowDevice(WindowDeviceSettings const& settings, Bus& bus, MachineClock& clock);
    ~WindowDevice() override;

    /// To be called before the machine executes anything: other machines may have stored into code that it made from
    /// the window.
    void forget_code();

    // WindowPort
    [[nodiscard]] PageWindow& window() override { return window_; }
    [[nodiscard]] std::vector<Doorbell> take_doorbells() override;
    void hear(std::uint32_t vector) override;
    [[nodiscard]] WindowCounters const& counters() const override { return counters_; }

  private:
    struct State {
        std::uint32_t mask{0};
        std::uint32_t status{0};
    };

    [[nodiscard]] std::uint32_t read_register(std::uint64_t offset) override;
    void write_register(std::uint64_t offset, std::uint32_t value) override;
    void ring(std::uint32_t value);
    void update_pin() { set_interrupt((state_.status & state_.mask & 1) != 0); }

    // BusObserver
    void accessed(BusAccess const& access) override;

    // TranslationObserver
    void drop_pages(GuestPage, std::uint64_t) override {}
    void watch_stores(GuestPage page) override;
    void code_written(GuestPhys, std::uint64_t) override {}

    WindowDeviceSettings settings_;
    Bus& bus_;
    MachineClock& clock_;
    State state_;
    WindowCounters counters_;
    std::vector<Doorbell> doorbells_;
    std::vector<bool> is_rung_;          // by peer and vector: it is in doorbells_
    std::vector<GuestPage> code_pages_;  // of the machine, in the window: code was made from them
};

}  // namespace backplane
