// The devices that every PC has at fixed ports, and the wires of its ISA interrupts.
//
// They are there whatever the ACPI tables say; one that nobody uses arms no timer and costs nothing.
#pragma once

#include <cstdint>
#include <optional>

#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "device/acpi/pm_registers.h"
#include "device/acpi/power_control.h"
#include "device/byte_port.h"
#include "device/debug/debug_ports.h"
#include "device/fw_cfg/fw_cfg.h"
#include "device/hpet/hpet.h"
#include "device/keyboard/keyboard_controller.h"
#include "device/pit/pit8254.h"
#include "device/rtc/cmos_clock.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/io_apic.h"
#include "interrupt/local_apic.h"
#include "interrupt/pic8259.h"

namespace backplane {

/// Each ISA interrupt is a wire to the 8259s and to the I/O APIC, which has the timer at another input.
class IsaInterrupts final : public LineInputs {
  public:
    IsaInterrupts(PicPair& pics, IoApic& io_apic) : pics_{pics}, io_apic_{io_apic} {}
    void set_level(unsigned number, bool asserted) override;

  private:
    PicPair& pics_;
    IoApic& io_apic_;
};

struct BoardOptions {
    std::uint64_t memory_bytes;
    unsigned processor_count;
    bool has_debug_exit;
    bool has_debug_console;
    bool has_fw_cfg;
    bool has_hpet;
};

class Board {
  public:
    /// The parts of the machine that the board is wired to. `local_apic` is the bootstrap processor's; `debug_sink` gets
    /// what firmware prints at its debug port.
    struct Wiring {
        MachineClock& clock;
        LocalApic& local_apic;
        IoApic& io_apic;
        ApicFabric& fabric;
        PowerControl& power;
        ByteSink& debug_sink;
    };
    explicit Board(Wiring const& wiring);
    Board(Board const&) = delete;
    Board& operator=(Board const&) = delete;

    /// Puts every device at its ports and tells the clock's memory what firmware looks for. Errors: a port is taken.
    [[nodiscard]] Expected<void, Error> attach(Bus& bus, BoardOptions const& options);

    [[nodiscard]] InterruptLine isa_line(unsigned number) { return {isa_, number}; }
    [[nodiscard]] FwCfg& fw_cfg() { return fw_cfg_; }
    [[nodiscard]] KeyboardController& keyboard() { return keyboard_; }
    [[nodiscard]] PmRegisters& pm_registers() { return pm_; }
    [[nodiscard]] std::optional<std::uint8_t> exit_status() const { return debug_exit_.status(); }

  private:
    PicPair pics_;
    IsaInterrupts isa_;
    LegacyTimerLines timer_lines_;
    Pit8254 pit_;
    CmosClock clock_;
    Hpet hpet_;
    KeyboardController keyboard_;
    PmRegisters pm_;
    DebugExit debug_exit_;
    DebugConsole debug_console_;
    FwCfg fw_cfg_;
};

}  // namespace backplane
