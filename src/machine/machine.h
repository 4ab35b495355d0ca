// One guest computer: the board, its devices, its processor, and how it runs up to a barrier.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "bus/bus.h"
#include "clock/machine_clock.h"
#include "clock/time_stamp_counter.h"
#include "cpu/trace_cache.h"
#include "device/acpi/power_control.h"
#include "device/byte_port.h"
#include "device/e1000/e1000.h"
#include "device/pci/host.h"
#include "device/uart/uart16550.h"
#include "engine/sim/sim_engine.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/io_apic.h"
#include "interrupt/local_apic.h"
#include "machine/boot_loader.h"
#include "machine/board.h"
#include "machine/kernel_image.h"
#include "memory/guest_memory.h"

namespace backplane {

struct MachineSettings {
    std::string name;
    std::uint64_t memory_bytes;
    std::uint64_t instructions_per_second;
    std::uint64_t random_seed;  ///< for RDRAND and RDSEED; different for each machine of a rack
    std::vector<MacAddress> e1000_nics;
    AcpiPlatform acpi{AcpiPlatform::reduced};
    bool has_debug_exit{false};  ///< port 0xF4 ends the machine with a status
};

class Machine {
  public:
    enum class State : std::uint8_t { running, powered_off, crashed };

    /// Builds the board. `console` gets what the serial line sends and outlives the machine, like the pool.
    /// Errors: memory size refused, no memory left.
    [[nodiscard]] static Expected<std::unique_ptr<Machine>, Error> create(MachineSettings settings, FramePool& pool,
                                                                          ByteSink& console);

    Machine(Machine const&) = delete;
    Machine& operator=(Machine const&) = delete;

    /// Loads a kernel and sets the processor to its entry.
    [[nodiscard]] Expected<void, Error> boot(KernelImage const& kernel, ConstByteSpan initrd,
                                             std::string_view command_line, BootEntry entry);

    /// Runs until the machine's clock shows `barrier`, or it stops for good. Idle time costs nothing.
    void run_until(Ticks barrier);

    /// When something happens next: now if there are instructions to execute, else the next timer; never() if nothing
    /// but the outside can wake the machine.
    [[nodiscard]] Ticks next_event() const;

    [[nodiscard]] std::string const& name() const { return settings_.name; }
    [[nodiscard]] State state() const { return state_; }
    /// Why it crashed, one line, and where.
    [[nodiscard]] std::string const& cause() const { return cause_; }
    [[nodiscard]] std::uint64_t crash_rip() const { return crash_rip_; }
    /// Ends the machine as crashed.
    void stop(std::string cause);

    [[nodiscard]] Ticks now() const { return clock_.now(); }
    [[nodiscard]] Ticks idle_time() const { return idle_time_; }
    [[nodiscard]] std::uint64_t instructions() const { return engine_.instructions(); }
    [[nodiscard]] std::uint64_t unclaimed_accesses() const { return bus_.unclaimed_count(); }

    /// What the guest left at the debug exit, when that ended it.
    [[nodiscard]] std::optional<std::uint8_t> exit_status() const { return board_.exit_status(); }
    [[nodiscard]] Board& board() { return board_; }

    [[nodiscard]] Uart16550& serial() { return serial_; }
    [[nodiscard]] std::size_t nic_count() const { return nics_.size(); }
    [[nodiscard]] E1000& nic(std::size_t index) { return *nics_[index]; }
    [[nodiscard]] E1000 const& nic(std::size_t index) const { return *nics_[index]; }
    [[nodiscard]] GuestMemory& memory() { return memory_; }
    [[nodiscard]] Bus& bus() { return bus_; }
    [[nodiscard]] SimEngine& engine() { return engine_; }
    [[nodiscard]] SimEngine const& engine() const { return engine_; }

  private:
    Machine(MachineSettings settings, FramePool& pool, ByteSink& console);
    [[nodiscard]] Expected<void, Error> assemble();
    [[nodiscard]] std::uint64_t quota_until(Ticks time) const;
    void handle(VirtualizationEvent const& event);
    void rest_until(Ticks time);

    MachineSettings settings_;
    MachineClock clock_;
    TimeStampCounter tsc_;
    GuestMemory memory_;
    Bus bus_;
    ApicFabric fabric_;
    LocalApic local_apic_;
    IoApic io_apic_;
    PowerControl power_;
    Board board_;
    Uart16550 serial_;
    PciHost pci_;
    std::vector<std::unique_ptr<E1000>> nics_;
    TraceCache traces_;
    SimEngine engine_;

    State state_{State::running};
    std::string cause_;
    std::uint64_t crash_rip_{0};
    Ticks idle_time_{};
};

}  // namespace backplane
