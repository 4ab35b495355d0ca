#include "device/uart/uart16550.h"

#include <algorithm>
#include <utility>

namespace backplane {

namespace {

enum Register : std::uint64_t { kData, kIer, kIir, kLcr, kMcr, kLsr, kMsr, kScratch };

constexpr std::uint8_t kIerReceive = 0x01;
constexpr std::uint8_t kIerTransmit = 0x02;
constexpr std::uint8_t kIerLineStatus = 0x04;
constexpr std::uint8_t kIerModemStatus = 0x08;

// Interrupt identification, [PC16550D] table V, highest priority first.
constexpr std::uint8_t kCauseLineStatus = 0x06;
constexpr std::uint8_t kCauseReceive = 0x04;
constexpr std::uint8_t kCauseTimeout = 0x0c;
constexpr std::uint8_t kCauseTransmit = 0x02;
constexpr std::uint8_t kCauseModemStatus = 0x00;
constexpr std::uint8_t kCauseNone = 0x01;
constexpr std::uint8_t kFifosEnabled = 0xc0;

constexpr std::uint8_t kFcrEnable = 0x01;
constexpr std::uint8_t kFcrClearReceive = 0x02;
constexpr std::uint8_t kLcrDivisorLatch = 0x80;
constexpr std::uint8_t kMcrOut2 = 0x08;
constexpr std::uint8_t kMcrLoop = 0x10;
constexpr std::uint8_t kLsrDataReady = 0x01;
constexpr std::uint8_t kLsrOverrun = 0x02;
constexpr std::uint8_t kLsrTransmitterEmpty = 0x60;
// The other side is always there: carrier, data set ready, clear to send.
constexpr std::uint8_t kModemConnected = 0xb0;

}  // namespace

void Uart16550::reset() {
    state_ = State{};
    update_line();
}

std::size_t Uart16550::capacity() const { return (state_.fcr & kFcrEnable) != 0 ? kFifoBytes : 1; }

std::size_t Uart16550::room() const {
    if ((state_.mcr & kMcrLoop) != 0) return 0;
    return capacity() - std::min(capacity(), state_.fifo_count);
}

std::size_t Uart16550::push(ConstByteSpan bytes) {
    std::size_t const count = std::min(bytes.size(), room());
    for (std::byte const byte : bytes.first(count)) append(static_cast<std::uint8_t>(byte));
    update_line();
    return count;
}

// [PC16550D] 8.4: with the FIFO full the newest byte is lost; without a FIFO the older one is.
void Uart16550::append(std::uint8_t byte) {
    if (state_.fifo_count == capacity()) {
        state_.overrun = kLsrOverrun;
        if (capacity() == 1) state_.fifo[state_.fifo_first] = byte;
        return;
    }
    state_.fifo[(state_.fifo_first + state_.fifo_count++) % kFifoBytes] = byte;
}

std::uint8_t Uart16550::take_byte() {
    if (state_.fifo_count == 0) return 0;
    std::uint8_t const byte = state_.fifo[state_.fifo_first];
    state_.fifo_first = (state_.fifo_first + 1) % kFifoBytes;
    --state_.fifo_count;
    return byte;
}

std::uint64_t Uart16550::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width); ++i) value |= std::uint64_t{read_register(offset + i)} << (8 * i);
    return value;
}

void Uart16550::write(std::uint64_t offset, Width width, std::uint64_t value) {
    for (std::uint64_t i = 0; i < bytes_in(width); ++i)
        write_register(offset + i, static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint8_t Uart16550::read_register(std::uint64_t index) {
    bool const latch = (state_.lcr & kLcrDivisorLatch) != 0;
    std::uint8_t value = 0xff;
    switch (index) {
        case kData:
            value = latch ? static_cast<std::uint8_t>(state_.divisor) : take_byte();
            break;
        case kIer:
            value = latch ? static_cast<std::uint8_t>(state_.divisor >> 8) : state_.ier;
            break;
        case kIir:
            value = interrupt_cause();
            if (value == kCauseTransmit) state_.thre_pending = false;
            if ((state_.fcr & kFcrEnable) != 0) value |= kFifosEnabled;
            break;
        case kLcr:
            value = state_.lcr;
            break;
        case kMcr:
            value = state_.mcr;
            break;
        case kLsr:
            value = line_status();
            state_.overrun = 0;
            break;
        case kMsr:
            value = modem_inputs() | std::exchange(state_.msr_delta, std::uint8_t{0});
            break;
        case kScratch:
            value = state_.scratch;
            break;
        default:
            break;  // beyond the last register of a wide access: nothing drives the bus
    }
    update_line();
    return value;
}

void Uart16550::write_register(std::uint64_t index, std::uint8_t value) {
    bool const latch = (state_.lcr & kLcrDivisorLatch) != 0;
    switch (index) {
        case kData:
            if (latch) {
                state_.divisor = static_cast<std::uint16_t>((state_.divisor & 0xff00) | value);
            } else {
                transmit(value);
            }
            break;
        case kIer:
            if (latch) {
                state_.divisor = static_cast<std::uint16_t>((state_.divisor & 0x00ff) | value << 8);
            } else {
                // Enabling it while the register is empty is an interrupt ([PC16550D] 8.6.1).
                if ((value & ~state_.ier & kIerTransmit) != 0) state_.thre_pending = true;
                state_.ier = value & 0x0f;
            }
            break;
        case kIir:
            write_fifo_control(value);
            break;
        case kLcr:
            state_.lcr = value;
            break;
        case kMcr:
            write_modem_control(value);
            break;
        case kScratch:
            state_.scratch = value;
            break;
        default:
            break;  // LSR and MSR are read-only
    }
    update_line();
}

void Uart16550::transmit(std::uint8_t byte) {
    if ((state_.mcr & kMcrLoop) != 0) {
        append(byte);
    } else {
        sink_.put(bytes_of(byte));
    }
    state_.thre_pending = true;
}

// [PC16550D] 8.5: changing the enable bit empties the FIFOs; the other bits count only together with it.
void Uart16550::write_fifo_control(std::uint8_t value) {
    bool const is_enabled = (value & kFcrEnable) != 0;
    bool const was_enabled = (state_.fcr & kFcrEnable) != 0;
    state_.fcr = is_enabled ? value & (kFcrEnable | kFifosEnabled) : 0;
    if (is_enabled != was_enabled || (is_enabled && (value & kFcrClearReceive) != 0)) state_.fifo_count = 0;
}

// [PC16550D] 8.7 bits 0 to 3: a change of CTS, DSR or DCD sets its delta; of RI only the trailing edge does.
void Uart16550::write_modem_control(std::uint8_t value) {
    std::uint8_t const before = modem_inputs();
    state_.mcr = value & 0x1f;
    std::uint8_t const after = modem_inputs();
    state_.msr_delta |= static_cast<std::uint8_t>((before ^ after) >> 4 & 0xb);
    state_.msr_delta |= static_cast<std::uint8_t>((before & ~after) >> 4 & 0x4);
}

std::uint8_t Uart16550::line_status() const {
    return static_cast<std::uint8_t>(kLsrTransmitterEmpty | state_.overrun |
                                     (state_.fifo_count != 0 ? kLsrDataReady : 0));
}

// [PC16550D] 8.7, bit 4: in loopback DTR, RTS, OUT1 and OUT2 become DSR, CTS, RI and DCD.
std::uint8_t Uart16550::modem_inputs() const {
    if ((state_.mcr & kMcrLoop) == 0) return kModemConnected;
    unsigned const mcr = state_.mcr;
    return static_cast<std::uint8_t>((mcr & 1) << 5 | (mcr & 2) << 3 | (mcr & 4) << 4 | (mcr & 8) << 4);
}

std::uint8_t Uart16550::interrupt_cause() const {
    static constexpr std::array<std::uint8_t, 4> kTriggerBytes{1, 4, 8, 14};
    if ((state_.ier & kIerLineStatus) != 0 && state_.overrun != 0) return kCauseLineStatus;
    if ((state_.ier & kIerReceive) != 0 && state_.fifo_count != 0) {
        std::size_t const trigger = kTriggerBytes[state_.fcr >> 6];
        return state_.fifo_count >= trigger ? kCauseReceive : kCauseTimeout;
    }
    if ((state_.ier & kIerTransmit) != 0 && state_.thre_pending) return kCauseTransmit;
    if ((state_.ier & kIerModemStatus) != 0 && state_.msr_delta != 0) return kCauseModemStatus;
    return kCauseNone;
}

void Uart16550::update_line() { line_.set(interrupt_cause() != kCauseNone && (state_.mcr & kMcrOut2) != 0); }

}  // namespace backplane
