// The controller without its PCI function: registers, rings and the frame port (docs/design/e1000.md).
#pragma once

#include <cstdint>
#include <string_view>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/e1000/interrupts.h"
#include "device/e1000/receive.h"
#include "device/e1000/state.h"
#include "device/e1000/transmit.h"
#include "device/frame_port.h"

namespace backplane::e1000 {

class Controller final : public FramePort {
  public:
    /// `mac` goes into the EEPROM. No cable is plugged in. `clock` and `wiring` outlive the controller.
    Controller(MacAddress const& mac, MachineClock& clock, Wiring& wiring);

    /// As the power-on button does it; the EEPROM's contents and the cable stay.
    void power_on_reset();

    /// A register by its offset in the memory BAR, as one aligned 32-bit access. Any offset and value is legal.
    [[nodiscard]] std::uint32_t read_register(std::uint32_t offset);
    void write_register(std::uint32_t offset, std::uint32_t value);

    /// The two BARs as the bus reaches them; widths that the hardware does not have are answered and counted.
    [[nodiscard]] std::uint64_t read_memory_bar(std::uint64_t offset, Width width);
    void write_memory_bar(std::uint64_t offset, Width width, std::uint64_t value);
    [[nodiscard]] std::uint64_t read_io_bar(std::uint64_t offset, Width width);
    void write_io_bar(std::uint64_t offset, Width width, std::uint64_t value);

    void set_observer(FramePortObserver* observer) override { observer_ = observer; }
    [[nodiscard]] MacAddress mac() const override { return mac_; }
    void set_carrier(bool up) override;
    void allow_unfinished_frames() override { transmit_.allow_unfinished_frames(); }
    [[nodiscard]] Frame const* front() override { return loops_back(state_) ? nullptr : transmit_.front(); }
    std::uint64_t take_front() override { return transmit_.take_front(); }
    void complete_transmit(std::uint64_t number) override { transmit_.complete(number); }
    ReceiveResult receive(Frame const& frame) override {
        return loops_back(state_) ? ReceiveResult::refused : receive_.receive(frame);
    }
    [[nodiscard]] std::uint64_t landed_count() const override { return state_.receive.landed_count; }
    [[nodiscard]] std::uint64_t read_count() const override { return state_.receive.read_count; }

    [[nodiscard]] FramePortCounters counters() const;
    [[nodiscard]] GuestErrors const& guest_errors() const { return errors_; }
    [[nodiscard]] State const& state() const { return state_; }

  private:
    friend struct RegisterTable;  // registers.cc: which register has which of the handlers below
    struct Write {
        std::uint32_t offset;
        std::uint32_t before;
        std::uint32_t value;  ///< as written, all 32 bits
    };

    void reset_registers();
    void reset_mac();
    void load_address();
    void update_link();
    void carry_back();
    // There may be something to carry, or room for it.
    void notify() {
        if (loops_back(state_)) carry_back();
        if (observer_ != nullptr) observer_->port_changed();
    }

    void write_ctrl(Write const& write);
    void write_eecd_pins(Write const& write);
    void write_eerd(Write const& write);
    void write_mdic(Write const& write);
    void write_icr(Write const& write);
    void write_itr(Write const& write);
    void write_ics(Write const& write);
    void write_ims(Write const& write);
    void write_imc(Write const& write);
    void write_rctl(Write const& write);
    void write_tctl(Write const& write);
    void write_pba(Write const& write);
    void write_receive_address(Write const& write);
    void write_receive_ring(Write const& write);
    void write_rdt(Write const& write);
    void write_rdtr(Write const& write);
    void write_transmit_ring(Write const& write);
    void write_tdt(Write const& write);
    void write_tidv(Write const& write);
    [[nodiscard]] std::uint32_t read_eecd_pins(std::uint32_t offset);
    [[nodiscard]] std::uint32_t read_icr(std::uint32_t offset);
    [[nodiscard]] std::uint32_t read_statistic(std::uint32_t offset);
    [[nodiscard]] std::uint32_t read_high_octets(std::uint32_t offset);
    [[nodiscard]] std::uint32_t read_low_octets(std::uint32_t offset);

    MacAddress mac_;
    MachineClock& clock_;
    State state_{};
    GuestErrors errors_{};
    Interrupts interrupts_;
    Transmit transmit_;
    Receive receive_;
    Timer loopback_;
    FramePortObserver* observer_{nullptr};
    std::uint64_t tail_moves_{0};
};

}  // namespace backplane::e1000
