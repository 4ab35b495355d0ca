#include "device/acpi/power_control.h"

#include <utility>

namespace backplane {

namespace {

constexpr std::uint8_t kSleepEnable = 0x20;        // SLP_EN, write-only
constexpr std::uint8_t kResetProcessor = 0x04;     // RST_CPU
constexpr std::uint8_t kResetStored = 0x0a;        // FULL_RST and SYS_RST
constexpr std::uint8_t kPulseResetCommand = 0xfe;  // pulses output bit 0, which is wired to the processor's reset

}  // namespace

Expected<void, Error> PowerControl::attach(Bus& bus) {
    BACKPLANE_TRY_VOID(bus.attach_ports(kSleepControlPort, 2, *this));
    BACKPLANE_TRY_VOID(bus.attach_ports(kKeyboardCommandPort, 1, keyboard_command_));
    return {};
}

PowerEvent PowerControl::take_event() { return std::exchange(event_, PowerEvent::none); }

void PowerControl::raise(PowerEvent event) {
    if (event_ == PowerEvent::none) event_ = event;
    if (attention_ != nullptr) *attention_ = true;
}

// Both registers read 0: SLP_EN is write-only, SLP_TYP is not kept, and nothing ever wakes the machine.
std::uint64_t PowerControl::read(std::uint64_t /*offset*/, Width /*width*/) { return 0; }

void PowerControl::write(std::uint64_t offset, Width /*width*/, std::uint64_t value) {
    if (offset != 0 || (value & kSleepEnable) == 0) return;
    if ((value >> 2 & 7) == kSleepTypeS5) raise(PowerEvent::power_off);
}

std::uint64_t PowerControl::ResetRegister::read(std::uint64_t /*offset*/, Width /*width*/) { return value_; }

void PowerControl::ResetRegister::write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) {
    value_ = static_cast<std::uint8_t>(value & kResetStored);
    if ((value & kResetProcessor) != 0) owner_.raise(PowerEvent::reset);
}

// Neither buffer full, so that software that waits before its command does not wait.
std::uint64_t PowerControl::KeyboardCommand::read(std::uint64_t /*offset*/, Width /*width*/) { return 0; }

void PowerControl::KeyboardCommand::write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) {
    if ((value & 0xff) == kPulseResetCommand) owner_.raise(PowerEvent::reset);
}

}  // namespace backplane
