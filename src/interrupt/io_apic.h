// The I/O APIC: 24 interrupt inputs that become messages to the local APICs.
//
// State:    stable
// Features: 24 redirection entries, edge and level triggering, remote IRR, EOI by broadcast and by the EOI register
// Missing:  -
// Differs from the hardware: a line is asserted or not, so the polarity bit is stored and means nothing; delivery is
//           immediate, so the delivery status reads 0; entries take effect at a 32-bit write of IOWIN only
// Source:   [82093AA] 3.1 to 3.2, [ICH10] 13.5
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/address.h"
#include "bus/bus.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/line.h"

namespace backplane {

class IoApic final : public RegisterBank, public LineInputs {
  public:
    static constexpr unsigned kInputCount = 24;
    static constexpr std::uint64_t kBytes = kPageBytes;  ///< the range of its registers

    explicit IoApic(ApicFabric& fabric);
    ~IoApic() override { fabric_.set_io_apic(nullptr); }
    IoApic(IoApic const&) = delete;
    IoApic& operator=(IoApic const&) = delete;

    /// Inputs are wires of the board and keep their level; everything else is as after power-on.
    void reset();

    [[nodiscard]] std::string_view name() const override { return "io-apic"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

    /// An input that does not exist is ignored.
    void set_level(unsigned number, bool asserted) override;

    /// Clears remote IRR of every level-triggered entry with this vector; an input that is still asserted is sent
    /// again.
    void end_of_interrupt(Vector vector);
    /// Sends level-triggered inputs that are asserted but were not accepted by any local APIC so far.
    void send_untaken();

  private:
    struct State {
        std::uint8_t id{0};
        std::uint8_t selected{0};
        std::array<std::uint64_t, kInputCount> entries{};
    };
    [[nodiscard]] std::uint32_t read_register(std::uint8_t index) const;
    void write_register(std::uint8_t index, std::uint32_t value);
    void write_entry(unsigned input, unsigned half, std::uint32_t value);
    [[nodiscard]] bool send(unsigned input);
    void send_if_level(unsigned input);

    ApicFabric& fabric_;
    State state_;
    std::uint32_t levels_{0};
};

}  // namespace backplane
