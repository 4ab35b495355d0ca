// A 16550A serial port.
//
// State:    stable
// Features: both FIFOs, interrupt identification by priority, divisor latch, loopback, modem status with its deltas,
//           scratch register
// Missing:  parity, framing and break conditions; DMA signalling
// Differs from the hardware: a byte is sent the moment it is written, so that the transmitter is always empty; the
//           character timeout comes at once instead of after four character times
// Source:   [PC16550D] 8.0 to 8.6
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "bus/bus.h"
#include "device/byte_port.h"
#include "interrupt/line.h"

namespace backplane {

class Uart16550 final : public RegisterBank {
  public:
    static constexpr std::uint16_t kPortCount = 8;
    static constexpr std::size_t kFifoBytes = 16;

    /// `sink` gets each byte while the guest's instruction runs. As on a PC the line is gated by the OUT2 output.
    Uart16550(ByteSink& sink, InterruptLine line) : sink_{sink}, line_{line} {}

    void reset();

    /// Bytes from outside, as many as there is room for now.
    /// \return how many were taken; the caller keeps the others and comes again
    std::size_t push(ConstByteSpan bytes);
    /// 0 while the guest has the port in loopback.
    [[nodiscard]] std::size_t room() const;

    [[nodiscard]] std::string_view name() const override { return "uart"; }
    /// A wider access is that many byte accesses, lowest port first.
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width width) override;
    void write(std::uint64_t offset, Width width, std::uint64_t value) override;

  private:
    struct State {
        std::uint8_t ier{0};
        std::uint8_t fcr{0};
        std::uint8_t lcr{0};
        std::uint8_t mcr{0};
        std::uint8_t overrun{0};    ///< LSR bit 1
        std::uint8_t msr_delta{0};  ///< MSR bits 3:0
        std::uint8_t scratch{0};
        std::uint16_t divisor{0};
        bool thre_pending{false};  ///< "transmitter holding register empty" was not reported by IIR yet
        std::array<std::uint8_t, kFifoBytes> fifo{};
        std::size_t fifo_first{0};
        std::size_t fifo_count{0};
    };
    [[nodiscard]] std::uint8_t read_register(std::uint64_t index);
    void write_register(std::uint64_t index, std::uint8_t value);
    [[nodiscard]] std::uint8_t take_byte();
    void transmit(std::uint8_t byte);
    void append(std::uint8_t byte);
    void write_fifo_control(std::uint8_t value);
    void write_modem_control(std::uint8_t value);
    [[nodiscard]] std::uint8_t line_status() const;
    [[nodiscard]] std::uint8_t modem_inputs() const;
    [[nodiscard]] std::uint8_t interrupt_cause() const;
    [[nodiscard]] std::size_t capacity() const;
    void update_line();

    ByteSink& sink_;
    InterruptLine line_;
    State state_{};
};

}  // namespace backplane
