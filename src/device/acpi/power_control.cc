#include "device/acpi/power_control.h"

#include <utility>

namespace backplane {

namespace {

constexpr std::uint8_t kSleepEnable = 0x20;     // SLP_EN, write-only
constexpr std::uint8_t kResetProcessor = 0x04;  // RST_CPU
constexpr std::uint8_t kResetStored = 0x0a;     // FULL_RST and SYS_RST
constexpr std::uint8_t kFastReset = 0x01;
constexpr std::uint8_t kSystemControlStored = 0x0a;  // address line 20, and a bit without meaning

}  // namespace

Expected<void, Error> PowerControl::attach(Bus& bus) {
    BACKPLANE_TRY_VOID(bus.attach_ports(kSleepControlPort, 2, *this));
    BACKPLANE_TRY_VOID(bus.attach_ports(kSystemControlPort, 1, system_control_));
    return {};
}

PowerEvent PowerControl::take_event() { return std::exchange(event_, PowerEvent::none); }

void PowerControl::request(PowerEvent event) {
    if (event_ == PowerEvent::none) event_ = event;
    if (attention_ != nullptr) *attention_ = true;
}

// Both registers read 0: SLP_EN is write-only, SLP_TYP is not kept, and nothing ever wakes the machine.
std::uint64_t PowerControl::read(std::uint64_t /*offset*/, Width /*width*/) { return 0; }

void PowerControl::write(std::uint64_t offset, Width /*width*/, std::uint64_t value) {
    if (offset != 0 || (value & kSleepEnable) == 0) return;
    if ((value >> 2 & 7) == kSleepTypeS5) request(PowerEvent::power_off);
}

std::uint64_t PowerControl::ResetRegister::read(std::uint64_t /*offset*/, Width /*width*/) { return value_; }

void PowerControl::ResetRegister::write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) {
    value_ = static_cast<std::uint8_t>(value & kResetStored);
    if ((value & kResetProcessor) != 0) owner_.request(PowerEvent::reset);
}

std::uint64_t PowerControl::SystemControl::read(std::uint64_t /*offset*/, Width /*width*/) { return value_; }

void PowerControl::SystemControl::write(std::uint64_t /*offset*/, Width /*width*/, std::uint64_t value) {
    value_ = static_cast<std::uint8_t>(value & kSystemControlStored);
    if ((value & kFastReset) != 0) owner_.request(PowerEvent::reset);
}

}  // namespace backplane
