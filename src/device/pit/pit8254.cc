#include "device/pit/pit8254.h"

#include <algorithm>

#include "clock/frequency.h"

namespace backplane {

namespace {

constexpr unsigned kSpeakerCounter = 2;
constexpr std::uint64_t kControlWord = 3;  // the port
// Status of the read-back command, [8254] figure 11.
constexpr std::uint8_t kStatusOutput = 0x80;
constexpr std::uint8_t kStatusNullCount = 0x40;

// Port 0x61, [ICH10] 13.7.1.
constexpr std::uint8_t kGate2 = 0x01;
constexpr std::uint8_t kControlWritable = 0x0f;
constexpr std::uint8_t kRefresh = 0x10;
constexpr std::uint8_t kOutput2 = 0x20;
constexpr std::uint64_t kRefreshHalfNs = 15'000;

std::uint32_t from_bcd(std::uint16_t value) {
    std::uint32_t result = 0;
    for (int shift = 12; shift >= 0; shift -= 4) result = result * 10 + std::min(value >> shift & 0xf, 9);
    return result;
}

std::uint16_t to_bcd(std::uint32_t value) {
    std::uint32_t result = 0;
    for (int shift = 0; shift < 16; shift += 4, value /= 10) result |= value % 10 << shift;
    return static_cast<std::uint16_t>(result);
}

}  // namespace

// [8254] "Control word format"; modes 6 and 7 are 2 and 3.
void PitCounter::write_control(std::uint8_t control, std::uint64_t now) {
    access_ = control >> 4 & 3;
    mode_ = control >> 1 & 7;
    if (mode_ > 5) mode_ = static_cast<std::uint8_t>(mode_ - 4);
    bcd_ = (control & 1) != 0;
    has_count_ = is_running_ = writes_high_next_ = reads_high_next_ = false;
    held_.reset();
    latched_count_.reset();
    latched_status_.reset();
    started_ = now;
}

void PitCounter::write_count(std::uint8_t value, std::uint64_t now) {
    if (access_ == 1) return load(value, now);
    if (access_ == 2) return load(static_cast<std::uint16_t>(value << 8), now);
    if (!writes_high_next_) {
        low_byte_ = value;
        writes_high_next_ = true;
        if (mode_ == 0) is_running_ = false;  // the first byte stops the counting
        return;
    }
    writes_high_next_ = false;
    load(static_cast<std::uint16_t>(value << 8 | low_byte_), now);
}

void PitCounter::load(std::uint16_t value, std::uint64_t now) {
    std::uint32_t const full = bcd_ ? 10'000 : 0x1'0000;
    std::uint32_t const count = bcd_ ? from_bcd(value) : value;
    period_ = count == 0 ? full : count;
    // Periodic modes need two ticks at least.
    if (is_periodic()) period_ = std::max(period_, 2U);
    has_count_ = true;
    if (is_triggered_mode()) return;  // waits for the gate
    start(now);
}

void PitCounter::start(std::uint64_t now) {
    is_running_ = true;
    started_ = now;
    held_.reset();
    if (!gate_ && !is_triggered_mode()) held_ = 0;
}

std::uint64_t PitCounter::elapsed(std::uint64_t now) const { return held_ ? *held_ : now - started_; }

// [8254] table 4: the gate holds modes 0 and 4, holds and restarts 2 and 3, triggers 1 and 5.
void PitCounter::set_gate(bool high, std::uint64_t now) {
    if (high == gate_) return;
    if (is_triggered_mode()) {
        if (high && has_count_) start(now);
    } else if (is_running_ && !high) {
        held_ = elapsed(now);
    } else if (is_running_) {
        started_ = is_periodic() ? now : now - *held_;
        held_.reset();
    }
    gate_ = high;
}

bool PitCounter::output(std::uint64_t now) const {
    std::uint64_t const passed = is_running_ ? elapsed(now) : 0;
    switch (mode_) {
        case 0:
            return is_running_ && passed >= period_;
        case 1:
            return !is_running_ || passed >= period_;
        case 2:
            return !is_running_ || held_ || passed % period_ != period_ - 1;
        case 3:
            return !is_running_ || held_ || passed % period_ < (period_ + 1) / 2;
        default:
            return !is_running_ || passed != period_;
    }
}

std::optional<std::uint64_t> PitCounter::next_rise(std::uint64_t now) const {
    if (!is_running_ || held_) return std::nullopt;
    std::uint64_t const passed = now - started_;
    if (is_periodic()) return now + (period_ - passed % period_);
    std::uint64_t const rise = mode_ <= 1 ? period_ : std::uint64_t{period_} + 1;
    return passed < rise ? std::optional{started_ + rise} : std::nullopt;
}

std::uint16_t PitCounter::count(std::uint64_t now) const {
    std::uint64_t const passed = is_running_ ? elapsed(now) : 0;
    std::uint64_t const full = bcd_ ? 10'000 : 0x1'0000;
    std::uint64_t value = 0;
    if (mode_ == 2)
        value = period_ - passed % period_;
    else if (mode_ == 3)
        value = (period_ - 2 * (passed % period_ % ((period_ + 1) / 2))) & ~std::uint64_t{1};
    else
        value = (period_ + full - passed % full) % full;  // goes on through zero
    value %= full;
    return bcd_ ? to_bcd(static_cast<std::uint32_t>(value)) : static_cast<std::uint16_t>(value);
}

// A count that is latched stays until it has been read; a second latch command does nothing ([8254] "Counter latch").
void PitCounter::latch_count(std::uint64_t now) {
    if (!latched_count_) latched_count_ = count(now);
}

void PitCounter::latch_status(std::uint64_t now) {
    if (latched_status_) return;
    latched_status_ =
        static_cast<std::uint8_t>((output(now) ? kStatusOutput : 0) | (has_count_ ? 0 : kStatusNullCount) |
                                  access_ << 4 | mode_ << 1 | (bcd_ ? 1 : 0));
}

std::uint8_t PitCounter::read(std::uint64_t now) {
    if (latched_status_) {
        std::uint8_t const status = *latched_status_;
        latched_status_.reset();
        return status;
    }
    std::uint16_t const value = latched_count_.value_or(count(now));
    bool const is_high = access_ == 2 || (access_ == 3 && reads_high_next_);
    if (access_ == 3) reads_high_next_ = !reads_high_next_;
    if (access_ != 3 || is_high) latched_count_.reset();
    return static_cast<std::uint8_t>(is_high ? value >> 8 : value);
}

Pit8254::Pit8254(MachineClock& clock, InterruptLine line)
    : clock_{clock}, line_{line}, timer_{clock, [this] { rise(); }}, control_port_{*this} {
    reset();
}

Expected<void, Error> Pit8254::attach(Bus& bus) {
    BACKPLANE_TRY_VOID(bus.attach_ports(PortNumber{0x40}, 4, *this));
    return bus.attach_ports(PortNumber{0x61}, 1, control_port_);
}

void Pit8254::reset() {
    counters_ = {};
    control_ = 0;
    counters_[kSpeakerCounter].set_gate(false, now());
    timer_.disarm();
    line_.set(false);
}

std::uint64_t Pit8254::now() const { return cycles_at(clock_.now(), kPitHertz); }

void Pit8254::update_line() {
    line_.set(counters_[0].output(now()));
    auto const next = counters_[0].next_rise(now());
    if (next)
        timer_.arm(time_of_cycle(*next, kPitHertz));
    else
        timer_.disarm();
}

void Pit8254::rise() {
    line_.set(false);
    update_line();
}

std::uint64_t Pit8254::read(std::uint64_t offset, Width width) {
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width); ++i) value |= std::uint64_t{read_port(offset + i)} << (8 * i);
    return value;
}

void Pit8254::write(std::uint64_t offset, Width width, std::uint64_t value) {
    for (std::uint64_t i = 0; i < bytes_in(width); ++i)
        write_port(offset + i, static_cast<std::uint8_t>(value >> (8 * i)));
}

std::uint8_t Pit8254::read_port(std::uint64_t port) { return port < kControlWord ? counters_[port].read(now()) : 0xff; }

void Pit8254::write_port(std::uint64_t port, std::uint8_t value) {
    if (port > kControlWord) return;
    if (port < kControlWord) {
        counters_[port].write_count(value, now());
    } else if (value >> 6 == 3) {
        return read_back(value);
    } else if ((value >> 4 & 3) == 0) {
        return counters_[value >> 6].latch_count(now());
    } else {
        port = value >> 6;
        counters_[port].write_control(value, now());
    }
    if (port == 0) update_line();
}

// [8254] "Read-back command": the count and status bits are active low.
void Pit8254::read_back(std::uint8_t command) {
    for (unsigned i = 0; i < counters_.size(); ++i) {
        if ((command & 2U << i) == 0) continue;
        if ((command & 0x20) == 0) counters_[i].latch_count(now());
        if ((command & 0x10) == 0) counters_[i].latch_status(now());
    }
}

std::uint64_t Pit8254::ControlPort::read(std::uint64_t /*offset*/, Width /*width*/) {
    bool const refresh = owner_.clock_.now().ns() / kRefreshHalfNs % 2 != 0;
    bool const output = owner_.counters_[kSpeakerCounter].output(owner_.now());
    return owner_.control_ | (refresh ? kRefresh : 0U) | (output ? kOutput2 : 0U);
}

void Pit8254::ControlPort::write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) {
    owner_.control_ = static_cast<std::uint8_t>(value & kControlWritable);
    owner_.counters_[kSpeakerCounter].set_gate((value & kGate2) != 0, owner_.now());
}

}  // namespace backplane
