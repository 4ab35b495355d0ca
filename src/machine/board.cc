#include "machine/board.h"

#include <algorithm>

#include "machine/layout.h"

namespace backplane {

namespace {

// What firmware reads in the clock's memory, as PCs have had it since the AT. KiB from 1 MiB up to 64 MiB; units of
// 64 KiB from 16 MiB up to 4 GiB; the same above 4 GiB.
constexpr std::uint8_t kExtendedKib = 0x17;
constexpr std::uint8_t kExtendedKibCopy = 0x30;
constexpr std::uint8_t kExtended64Kib = 0x34;
constexpr std::uint8_t kAbove4GiB64Kib = 0x5b;
constexpr std::uint8_t kOtherProcessors = 0x5f;  // how many SeaBIOS waits for

void put_word(CmosClock& clock, std::uint8_t index, std::uint64_t value) {
    clock.set_memory(index, static_cast<std::uint8_t>(value));
    clock.set_memory(static_cast<std::uint8_t>(index + 1), static_cast<std::uint8_t>(value >> 8));
}

void put_memory_size(CmosClock& clock, std::uint64_t memory_bytes) {
    std::uint64_t const low = low_memory_end(memory_bytes).value();
    std::uint64_t const kib = std::min<std::uint64_t>((low - kMiB) / 1024, 0xffff);
    put_word(clock, kExtendedKib, kib);
    put_word(clock, kExtendedKibCopy, kib);
    put_word(clock, kExtended64Kib, low > 16 * kMiB ? (low - 16 * kMiB) >> 16 : 0);
    std::uint64_t const above = (memory_bytes - low) >> 16;
    put_word(clock, kAbove4GiB64Kib, above);
    clock.set_memory(kAbove4GiB64Kib + 2, static_cast<std::uint8_t>(above >> 16));
}

}  // namespace

void IsaInterrupts::set_level(unsigned number, bool asserted) {
    pics_.set_level(number, asserted);
    io_apic_.set_level(number == kTimerInterrupt ? kTimerInput : number, asserted);
}

Board::Board(Wiring const& wiring)
    : isa_{pics_, wiring.io_apic},
      timer_lines_{isa_},
      pit_{wiring.clock, InterruptLine{timer_lines_, kTimerInterrupt}},
      clock_{wiring.clock, InterruptLine{timer_lines_, kClockInterrupt}},
      hpet_{wiring.clock, timer_lines_, wiring.io_apic, wiring.fabric},
      keyboard_{wiring.clock, isa_line(kKeyboardInterrupt), wiring.power},
      pm_{wiring.clock, isa_line(kAcpiInterrupt), wiring.power},
      debug_exit_{wiring.power},
      debug_console_{wiring.debug_sink} {
    pics_.set_listener([&apic = wiring.local_apic] { apic.lint0_changed(); });
    wiring.local_apic.connect_lint0(pics_);
}

Expected<void, Error> Board::attach(Bus& bus, BoardOptions const& options) {
    put_memory_size(clock_, options.memory_bytes);
    clock_.set_memory(kOtherProcessors, static_cast<std::uint8_t>(options.processor_count - 1));
    BACKPLANE_TRY_VOID(pics_.attach(bus));
    BACKPLANE_TRY_VOID(pit_.attach(bus));
    BACKPLANE_TRY_VOID(bus.attach_ports(CmosClock::kPorts, CmosClock::kPortCount, clock_));
    BACKPLANE_TRY_VOID(keyboard_.attach(bus));
    BACKPLANE_TRY_VOID(pm_.attach(bus));
    if (options.has_hpet) BACKPLANE_TRY_VOID(bus.attach(kHpet, Hpet::kBytes, hpet_));
    if (options.has_debug_console) BACKPLANE_TRY_VOID(bus.attach_ports(DebugConsole::kPort, 1, debug_console_));
    if (options.has_fw_cfg) BACKPLANE_TRY_VOID(fw_cfg_.attach(bus));
    if (!options.has_debug_exit) return {};
    return bus.attach_ports(DebugExit::kPorts, DebugExit::kPortCount, debug_exit_);
}

}  // namespace backplane
