#include "device/e1000/e1000.h"

#include <array>
#include <utility>

namespace backplane {

namespace e1000 {

std::uint64_t Banks::MemoryBar::read(std::uint64_t offset, Width width) {
    return controller_.read_memory_bar(offset, width);
}
void Banks::MemoryBar::write(std::uint64_t offset, Width width, std::uint64_t value) {
    controller_.write_memory_bar(offset, width, value);
}
std::uint64_t Banks::IoBar::read(std::uint64_t offset, Width width) { return controller_.read_io_bar(offset, width); }
void Banks::IoBar::write(std::uint64_t offset, Width width, std::uint64_t value) {
    controller_.write_io_bar(offset, width, value);
}

}  // namespace e1000

namespace {

constexpr PciIdentity kIdentity{
    .vendor = 0x8086,
    .device = 0x100E,
    .class_code = 0x020000,  // network controller, Ethernet
    .revision = 2,
    .subsystem_vendor = 0x8086,
    .subsystem = 0x001E,
    .interrupt_pin = 1,
};

// BAR 1 would be the flash's. [8254x] 4.1
std::array<PciBar, 6> make_bars(RegisterBank& memory_bar, RegisterBank& io_bar) {
    std::array<PciBar, 6> bars{};
    bars[0] = {.kind = PciBar::Kind::memory32, .bytes = e1000::kMemoryBarBytes, .bank = &memory_bar};
    bars[2] = {.kind = PciBar::Kind::io, .bytes = e1000::kIoBarBytes, .bank = &io_bar};
    return bars;
}

}  // namespace

E1000::E1000(std::string name, MacAddress const& mac, MachineClock& clock)
    : Banks{controller_},
      PciFunction{std::move(name), kIdentity, make_bars(memory_bar_, io_bar_)},
      controller_{mac, clock, *this} {}

void E1000::reset() {
    controller_.power_on_reset();
    reset_config();
}

GuestMemory* E1000::dma() { return is_bus_master() ? &memory() : nullptr; }

}  // namespace backplane
