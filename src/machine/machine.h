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
#include "cpu/cpu_model.h"
#include "cpu/cpu_topology.h"
#include "device/acpi/power_control.h"
#include "device/block_port.h"
#include "device/byte_port.h"
#include "device/network_card.h"
#include "device/pci/host.h"
#include "device/queue/queue_device.h"
#include "device/uart/uart16550.h"
#include "device/vga/vga.h"
#include "device/virtio/net_options.h"
#include "device/virtio/virtio_block.h"
#include "device/window/window_device.h"
#include "interrupt/apic_fabric.h"
#include "interrupt/apic_page.h"
#include "interrupt/io_apic.h"
#include "machine/boot_loader.h"
#include "machine/board.h"
#include "machine/kernel_image.h"
#include "machine/machine_observer.h"
#include "machine/share.h"
#include "machine/vcpu.h"
#include "memory/guest_memory.h"

namespace backplane {

struct NicSettings {
    NicModel model{NicModel::e1000};
    MacAddress mac{};
    virtio::NetOptions virtio{};  ///< of a virtio-net card
};

struct DiskSettings {
    BlockPort* port;  ///< outlives the machine
    std::string id;   ///< what the disk says of itself
};

struct MachineSettings {
    std::string name;
    std::uint64_t memory_bytes;
    std::uint64_t instructions_per_second;
    Tier tier{Tier::translator};
    std::size_t code_bytes{SimEngine::kDefaultCodeBytes};  ///< for translated code, each processor
    CpuModel processor{widest_cpu_model()};
    CpuTopology topology{};
    std::uint64_t random_seed;  ///< for RDRAND and RDSEED; different for each machine of a rack
    std::vector<NicSettings> nics;
    std::vector<DiskSettings> disks{};
    std::optional<QueueDeviceSettings> queue{};  ///< for messages to other machines
    std::optional<WindowDeviceSettings> window{};  ///< memory that it has in common with other machines
    AcpiPlatform acpi{AcpiPlatform::reduced};
    std::uint32_t share_ppm{kWholeShare};  ///< of each quantum's instructions, in millionths
    bool has_debug_exit{false};  ///< port 0xF4 ends the machine with a status
    bool has_debug_console{false};  ///< what is written to port 0x402 goes to the console
    bool has_hpet{false};
    std::optional<ScreenStyle> screen{};  ///< there is a VGA adapter, whose screen is the console, with a keyboard
    bool has_firmware{false};    ///< starts with boot_firmware() and gets the devices that firmware asks
};

class Machine {
  public:
    enum class State : std::uint8_t { running, powered_off, crashed, stopped };  // stopped: from outside

    /// Builds the board. `console` gets what the serial line sends and outlives the machine, like the pool.
    /// Errors: memory size refused, no memory left.
    [[nodiscard]] static Expected<std::unique_ptr<Machine>, Error> create(MachineSettings settings, FramePool& pool,
                                                                          ByteSink& console);

    Machine(Machine const&) = delete;
    Machine& operator=(Machine const&) = delete;

    /// Loads a kernel and sets the processor to its entry.
    [[nodiscard]] Expected<void, Error> boot(KernelImage const& kernel, ConstByteSpan initrd,
                                             std::string_view command_line, BootEntry entry);

    /// Puts a flat image at the top of 4 GiB and sets the processor to its state after power-on.
    /// Errors: check_firmware(), the pool is empty.
    /// `vga_rom` is the adapter's BIOS, if there is an adapter.
    [[nodiscard]] Expected<void, Error> boot_firmware(std::string_view name, ConstByteSpan image, ConstByteSpan vga_rom = {});

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
    /// Ends it as somebody who pulls the plug.
    void switch_off() { state_ = State::stopped; }
    /// The guest gets an event and decides. False: there is no such button (hardware-reduced ACPI).
    bool press_power_button();

    // --- debugging (docs/design/debug.md): all of it between runs only ----------------------------------------------
    enum class Resume : std::uint8_t { run, step };
    /// A held machine executes nothing, and its time stands still. It is held by hold(), by a breakpoint or watchpoint,
    /// and at the end of a step; then run_until() returns before its barrier.
    [[nodiscard]] bool is_held() const { return held_; }
    void hold() { held_ = true, stop_ = {}; }
    /// Step: one instruction, without interrupts (a halted processor is first woken by one).
    /// \param cpu  which one steps
    void resume(Resume how, unsigned cpu = 0) {
        held_ = false;
        stepping_cpu_ = how == Resume::step ? std::optional{cpu} : std::nullopt;
        piece_left_.reset();
    }
    /// Until all processors together have executed so many instructions more, or forever if the machine ends first.
    void resume_for(std::uint64_t instructions) {
        resume(Resume::run);
        piece_left_ = instructions;
    }
    /// Why it is held.
    [[nodiscard]] DebugStop debug_stop() const { return stop_; }
    /// Observers must outlive their registration.
    void add_observer(MachineObserver& observer) { observers_.push_back(&observer); }
    void remove_observer(MachineObserver& observer) { std::erase(observers_, &observer); }

    [[nodiscard]] Ticks now() const { return clock_.now(); }
    [[nodiscard]] Ticks idle_time() const { return idle_time_; }
    /// Time in which it would have executed more, but its share was used up (docs/design/quotas.md).
    [[nodiscard]] Ticks stolen_time() const { return stolen_time_; }
    /// Executed by all processors.
    [[nodiscard]] std::uint64_t instructions() const;
    [[nodiscard]] std::uint64_t unclaimed_accesses() const { return bus_.unclaimed_count(); }

    /// What the guest left at the debug exit, when that ended it.
    [[nodiscard]] std::optional<std::uint8_t> exit_status() const { return board_.exit_status(); }
    [[nodiscard]] Board& board() { return board_; }

    /// What somebody types at the console: for the serial line, or the keyboard of a machine with a screen.
    /// \return how many bytes were taken
    [[nodiscard]] std::size_t type(ConstByteSpan bytes);
    /// The last of the screen, once the machine has ended.
    void finish_screen() {
        if (vga_) vga_->finish();
    }

    [[nodiscard]] Uart16550& serial() { return serial_; }
    /// Null when the machine has none.
    [[nodiscard]] QueueDevice* queue() { return queue_.get(); }
    [[nodiscard]] WindowDevice* window() { return window_.get(); }
    [[nodiscard]] std::size_t nic_count() const { return nics_.size(); }
    [[nodiscard]] NetworkCard& nic(std::size_t index) { return *nics_[index]; }
    [[nodiscard]] NetworkCard const& nic(std::size_t index) const { return *nics_[index]; }
    [[nodiscard]] std::size_t disk_count() const { return disks_.size(); }
    [[nodiscard]] VirtioBlock const& disk(std::size_t index) const { return *disks_[index]; }
    [[nodiscard]] GuestMemory& memory() { return memory_; }
    [[nodiscard]] GuestMemory const& memory() const { return memory_; }
    [[nodiscard]] Bus& bus() { return bus_; }
    [[nodiscard]] unsigned cpu_count() const { return static_cast<unsigned>(vcpus_.size()); }
    /// Whose turn it is, or was last.
    [[nodiscard]] unsigned current_cpu() const { return current_; }
    [[nodiscard]] SimEngine& engine(unsigned cpu) { return vcpus_[cpu]->engine; }
    [[nodiscard]] SimEngine const& engine(unsigned cpu) const { return vcpus_[cpu]->engine; }

  private:
    Machine(MachineSettings settings, FramePool& pool, ByteSink& console);
    [[nodiscard]] Expected<void, Error> assemble();
    [[nodiscard]] AcpiSettings acpi_settings() const;
    [[nodiscard]] std::uint64_t quota_until(Ticks time) const;
    [[nodiscard]] SimEngine& running_engine() { return vcpus_[current_]->engine; }
    [[nodiscard]] bool take_turn();
    [[nodiscard]] bool others_wait() const;
    void switch_to(unsigned cpu);
    [[nodiscard]] std::uint64_t quota(Ticks stop, bool shares) const;
    void handle(VirtualizationEvent const& event);
    void hold_if_stopped(VirtualizationEvent const& event);
    void take_power_event();
    void rest_until(Ticks time);
    void steal_until(Ticks time);
    [[nodiscard]] std::uint64_t budget_until(Ticks barrier) const;

    MachineSettings settings_;
    MachineClock clock_;
    GuestMemory memory_;
    Bus bus_;
    ApicFabric fabric_;
    ApicPage apic_page_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
    IoApic io_apic_;
    PowerControl power_;
    Board board_;
    std::unique_ptr<Vga> vga_;
    NullSink unheard_;  // the serial line of a machine whose console is its screen
    Uart16550 serial_;
    PciHost pci_;
    std::vector<std::unique_ptr<NetworkCard>> nics_;
    std::vector<std::unique_ptr<VirtioBlock>> disks_;
    std::unique_ptr<QueueDevice> queue_;
    std::unique_ptr<WindowDevice> window_;

    unsigned current_{0};
    std::uint64_t turn_left_{0};  ///< instructions
    std::uint64_t budget_{0};     ///< instructions up to budget_barrier_, whether it was held on its way there or not
    Ticks budget_barrier_{};
    State state_{State::running};
    std::string cause_;
    std::uint64_t crash_rip_{0};
    Ticks idle_time_{};
    Ticks stolen_time_{};
    bool held_{false};
    std::optional<unsigned> stepping_cpu_;
    std::optional<std::uint64_t> piece_left_;  ///< instructions until it is held
    DebugStop stop_;
    std::vector<MachineObserver*> observers_;
};

}  // namespace backplane
