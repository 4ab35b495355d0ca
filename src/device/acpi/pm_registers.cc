#include "device/acpi/pm_registers.h"

#include "clock/frequency.h"

namespace backplane {

namespace {

// PM1 status and enable, [ACPI65] tables 4.11 and 4.12.
constexpr std::uint16_t kTimer = 1U << 0;
constexpr std::uint16_t kGlobalLock = 1U << 5;
constexpr std::uint16_t kPowerButton = 1U << 8;
constexpr std::uint16_t kRtcAlarm = 1U << 10;
constexpr std::uint16_t kEnableWritable = kTimer | kGlobalLock | kPowerButton | kRtcAlarm;
// PM1 control, table 4.13.
constexpr std::uint16_t kSciEnabled = 1U << 0;
constexpr std::uint16_t kControlStored = 0x1c06;  // bus master reload, global lock release, SLP_TYP
constexpr std::uint16_t kSleepEnable = 1U << 13;
constexpr unsigned kSleepTypeShift = 10;
constexpr unsigned kTimerTopBit = 31;

constexpr std::uint64_t kEnableOffset = 2;
constexpr std::uint64_t kControlOffset = kPmControlPorts.value() - kPmEventPorts.value();
constexpr std::uint64_t kTimerOffset = kPmTimerPorts.value() - kPmEventPorts.value();
constexpr std::uint16_t kPortCount = kTimerOffset + 4;

void put_byte(std::uint16_t& word, std::uint64_t index, std::uint8_t value) {
    unsigned const shift = static_cast<unsigned>(8 * index);
    word = static_cast<std::uint16_t>((word & ~(0xffU << shift)) | static_cast<unsigned>(value) << shift);
}
std::uint8_t byte_of(std::uint32_t value, std::uint64_t index) {
    return static_cast<std::uint8_t>(value >> (8 * index));
}

}  // namespace

PmRegisters::PmRegisters(MachineClock& clock, InterruptLine line, PowerControl& power)
    : clock_{clock}, line_{line}, power_{power}, timer_{clock, [this] { update(); }} {}

Expected<void, Error> PmRegisters::attach(Bus& bus) { return bus.attach_ports(kPmEventPorts, kPortCount, *this); }

void PmRegisters::reset() {
    status_ = enable_ = control_ = 0;
    halves_seen_ = cycles() >> kTimerTopBit;
    update();
}

void PmRegisters::press_power_button() {
    status_ |= kPowerButton;
    update();
}

std::uint64_t PmRegisters::cycles() const { return cycles_at(clock_.now(), kPmTimerHertz); }

void PmRegisters::update() {
    std::uint64_t const halves = cycles() >> kTimerTopBit;
    if (halves != halves_seen_) status_ |= kTimer;
    halves_seen_ = halves;
    line_.set((status_ & enable_) != 0);
    if ((enable_ & kTimer) != 0)
        timer_.arm(time_of_cycle((halves + 1) << kTimerTopBit, kPmTimerHertz));
    else
        timer_.disarm();
}

std::uint8_t PmRegisters::read_byte(std::uint64_t offset) {
    if (offset < kEnableOffset) return byte_of(status_, offset);
    if (offset < kControlOffset) return byte_of(enable_, offset - kEnableOffset);
    if (offset < kControlOffset + 2) return byte_of(control_ | kSciEnabled, offset - kControlOffset);
    if (offset >= kTimerOffset) return byte_of(static_cast<std::uint32_t>(cycles()), offset - kTimerOffset);
    return 0;
}

void PmRegisters::write_byte(std::uint64_t offset, std::uint8_t value) {
    if (offset < kEnableOffset) {
        status_ = static_cast<std::uint16_t>(status_ & ~(std::uint32_t{value} << (8 * offset)));  // writing 1 clears
    } else if (offset < kControlOffset) {
        put_byte(enable_, offset - kEnableOffset, value);
        enable_ &= kEnableWritable;
    } else if (offset < kControlOffset + 2) {
        std::uint16_t written = control_;
        put_byte(written, offset - kControlOffset, value);
        control_ = written & kControlStored;
        bool const sleeps = (written & kSleepEnable) != 0;
        if (sleeps && (written >> kSleepTypeShift & 7) == kSleepTypeS5) power_.request(PowerEvent::power_off);
    }
}

std::uint64_t PmRegisters::read(std::uint64_t offset, Width width) {
    update();
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < bytes_in(width) && offset + i < kPortCount; ++i)
        value |= std::uint64_t{read_byte(offset + i)} << (8 * i);
    return value;
}

void PmRegisters::write(std::uint64_t offset, Width width, std::uint64_t value) {
    update();
    for (std::uint64_t i = 0; i < bytes_in(width) && offset + i < kPortCount; ++i)
        write_byte(offset + i, static_cast<std::uint8_t>(value >> (8 * i)));
    update();
}

}  // namespace backplane
