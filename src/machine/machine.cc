#include "machine/machine.h"

#include <algorithm>
#include <utility>

#include "base/int128.h"
#include "cpu/descriptor.h"
#include "cpu/power_on.h"
#include "device/e1000/e1000.h"
#include "device/virtio/virtio_net.h"
#include "machine/firmware.h"
#include "machine/layout.h"

namespace backplane {

namespace {

constexpr unsigned kFirstNicSlot = 3;
constexpr unsigned kFirstDiskSlot = 16;  // beyond the last NIC
constexpr unsigned kWindowSlot = 30;
constexpr unsigned kQueueSlot = 31;  // the last one: nothing else moves when a rack gets queues
constexpr std::uint64_t kTurn = 10'000;  // instructions, while another processor waits
constexpr std::uint32_t kPciPortBase = 0xc000;
constexpr std::uint32_t kPciPortCount = 0x4000;

Segment segment_of(BootSegment const& segment) { return segment_from(segment.selector, segment.descriptor); }

CpuState processor_state(BootState const& boot) {
    CpuState state;
    state.gpr[rax] = boot.rax;
    state.gpr[rbx] = boot.rbx;
    state.gpr[rsi] = boot.rsi;
    state.gpr[rsp] = boot.rsp;
    state.rip = boot.entry.value();
    state.rflags = boot.rflags;
    state.cr0 = boot.cr0;
    state.cr3 = boot.cr3;
    state.cr4 = boot.cr4;
    state.efer = boot.efer;
    state.gdtr = {boot.gdt_base.value(), boot.gdt_limit};
    state.idtr = {0, 0};
    state.segments.fill(segment_of(boot.data));
    state.segments[cs] = segment_of(boot.code);
    state.tr = segment_of(boot.task);
    return state;
}

std::vector<std::unique_ptr<Vcpu>> make_vcpus(MachineSettings const& settings, Bus& bus, MachineClock& clock,
                                              ApicFabric& fabric) {
    std::vector<std::unique_ptr<Vcpu>> vcpus;
    Vcpu::Parts const parts{bus, clock, fabric, settings.instructions_per_second, settings.random_seed, settings.processor,
                            settings.topology};
    for (unsigned i = 0; i < settings.topology.cpus; ++i) vcpus.push_back(std::make_unique<Vcpu>(parts, i));
    return vcpus;
}

std::unique_ptr<NetworkCard> make_nic(NicSettings const& settings, std::string name, MachineClock& clock) {
    switch (settings.model) {
        case NicModel::e1000:
            return std::make_unique<E1000>(std::move(name), settings.mac, clock);
        case NicModel::virtio_net:
            return std::make_unique<VirtioNet>(std::move(name), settings.mac, clock, settings.virtio);
    }
    return nullptr;
}

}  // namespace

Machine::Machine(MachineSettings settings, FramePool& pool, ByteSink& console)
    : settings_{std::move(settings)},
      memory_{pool},
      bus_{memory_},
      vcpus_{make_vcpus(settings_, bus_, clock_, fabric_)},
      io_apic_{fabric_},
      board_{{clock_, vcpus_.front()->local_apic, io_apic_, fabric_, power_, console}},
      vga_{settings_.screen ? std::make_unique<Vga>(clock_, console, *settings_.screen) : nullptr},
      serial_{settings_.screen ? static_cast<ByteSink&>(unheard_) : console, board_.isa_line(kSerialInterrupt)},
      pci_{bus_, io_apic_, &fabric_} {
    apic_page_.select(vcpus_.front()->local_apic);
    power_.set_wake_flag(vcpus_.front()->engine.cpu().attention_flag());
    pci_.set_reset_register(power_.reset_register());
    for (NicSettings const& nic : settings_.nics) {
        nics_.push_back(make_nic(nic, "nic" + std::to_string(nics_.size()), clock_));
    }
    for (DiskSettings const& disk : settings_.disks) {
        std::string name = "disk" + std::to_string(disks_.size());
        disks_.push_back(std::make_unique<VirtioBlock>(std::move(name), *disk.port, disk.id, clock_));
    }
}

Expected<std::unique_ptr<Machine>, Error> Machine::create(MachineSettings settings, FramePool& pool,
                                                          ByteSink& console) {
    BACKPLANE_TRY_VOID(check_memory_size(settings.memory_bytes));
    std::unique_ptr<Machine> machine{new Machine{std::move(settings), pool, console}};
    BACKPLANE_TRY_VOID(machine->assemble());
    return machine;
}

Expected<void, Error> Machine::assemble() {
    for (auto const& vcpu : vcpus_) BACKPLANE_TRY_VOID(vcpu->engine.set_tier(settings_.tier, settings_.code_bytes));
    for (MemoryRange const& range : ram_ranges(settings_.memory_bytes))
        BACKPLANE_TRY_VOID(memory_.add_ram(page_of(range.start), range.bytes / kPageBytes));
    BACKPLANE_TRY_VOID(bus_.attach(LocalApic::kBase, LocalApic::kBytes, apic_page_));
    BACKPLANE_TRY_VOID(bus_.attach(kIoApic, kIoApicBytes, io_apic_));
    if (vga_) BACKPLANE_TRY_VOID(vga_->attach(bus_));
    BACKPLANE_TRY_VOID(bus_.attach_ports(kSerialPorts, kSerialPortCount, serial_));
    BACKPLANE_TRY_VOID(bus_.attach_ports(PciHost::kPorts, PciHost::kPortCount, pci_));
    BACKPLANE_TRY_VOID(bus_.attach(kPciEcam, kPciEcamBytes, pci_.ecam()));
    BACKPLANE_TRY_VOID(power_.attach(bus_));
    BACKPLANE_TRY_VOID(board_.attach(bus_, {.memory_bytes = settings_.memory_bytes,
                                            .processor_count = cpu_count(),
                                            .has_debug_exit = settings_.has_debug_exit,
                                            .has_debug_console = settings_.has_debug_console,
                                            .has_fw_cfg = settings_.has_firmware,
                                            .has_hpet = settings_.has_hpet}));
    for (unsigned i = 0; i < nics_.size(); ++i) BACKPLANE_TRY_VOID(pci_.plug(kFirstNicSlot + i, nics_[i]->function()));
    for (unsigned i = 0; i < disks_.size(); ++i) BACKPLANE_TRY_VOID(pci_.plug(kFirstDiskSlot + i, *disks_[i]));
    if (settings_.queue) {
        queue_ = BACKPLANE_TRY(QueueDevice::create(*settings_.queue, memory_.pool(), clock_));
        BACKPLANE_TRY_VOID(pci_.plug(kQueueSlot, *queue_));
    }
    if (settings_.window) {
        window_ = std::make_unique<WindowDevice>(*settings_.window, bus_, clock_);
        BACKPLANE_TRY_VOID(pci_.plug(kWindowSlot, *window_));
    }
    return pci_.assign_bars({kPciWindow32, kPciWindow32Bytes, PortNumber{kPciPortBase}, kPciPortCount});
}

AcpiSettings Machine::acpi_settings() const {
    return {.platform = settings_.acpi,
            .has_vga = vga_ != nullptr,
            .has_hpet = settings_.has_hpet,
            .processor_count = cpu_count()};
}

std::size_t Machine::type(ConstByteSpan bytes) { return vga_ ? board_.keyboard().type(bytes) : serial_.push(bytes); }

Expected<void, Error> Machine::boot(KernelImage const& kernel, ConstByteSpan initrd, std::string_view command_line,
                                    BootEntry entry) {
    BootState const state = BACKPLANE_TRY(load_kernel({.kernel = kernel,
                                                       .initrd = initrd,
                                                       .command_line = command_line,
                                                       .memory_bytes = settings_.memory_bytes,
                                                       .acpi = acpi_settings(),
                                                       .entry = entry},
                                                      memory_));
    vcpus_.front()->engine.set_state(processor_state(state));
    return {};
}

Expected<void, Error> Machine::boot_firmware(std::string_view name, ConstByteSpan image, ConstByteSpan vga_rom) {
    BACKPLANE_TRY_VOID(check_firmware(name, image.size()));
    BACKPLANE_TRY_VOID(load_firmware(image, memory_));
    describe_board(board_.fw_cfg(), settings_.memory_bytes, acpi_settings());
    if (!vga_rom.empty()) board_.fw_cfg().set_file("vgaroms/vgabios.bin", {vga_rom.begin(), vga_rom.end()});
    vcpus_.front()->engine.set_state(power_on_state());
    return {};
}

/// Instructions that bring the clock to `time` or just beyond it.
std::uint64_t Machine::quota_until(Ticks time) const {
    Uint128 const product = static_cast<Uint128>((time - clock_.now()).ns()) * settings_.instructions_per_second;
    auto const quota = static_cast<std::uint64_t>((product + 999'999'999) / 1'000'000'000);
    return std::max<std::uint64_t>(quota, 1);
}

void Machine::rest_until(Ticks time) {
    idle_time_ = idle_time_ + (time - clock_.now());
    running_engine().skip_to(time);
}

void Machine::steal_until(Ticks time) {
    stolen_time_ = stolen_time_ + (time - clock_.now());
    for (MachineObserver* observer : observers_) observer->stolen(clock_.now(), time);
    running_engine().skip_to(time);
}

/// The instructions that its share allows up to a barrier.
std::uint64_t Machine::budget_until(Ticks barrier) const {
    if (settings_.share_ppm == kWholeShare) return ~std::uint64_t{0};
    Uint128 const whole = static_cast<Uint128>((barrier - clock_.now()).ns()) * settings_.instructions_per_second;
    return static_cast<std::uint64_t>(whole * settings_.share_ppm / (Uint128{1'000'000'000} * kWholeShare));
}

// --- turns (docs/design/smp.md) ---------------------------------------------------------------------------------------

void Machine::switch_to(unsigned cpu) {
    turn_left_ = kTurn;
    if (cpu == current_) return;
    current_ = cpu;
    apic_page_.select(vcpus_[cpu]->local_apic);
    running_engine().skip_to(clock_.now());  // what it executes from here on counts from here
}

/// Makes a processor with something to execute the current one. False: there is none.
bool Machine::take_turn() {
    for (auto const& vcpu : vcpus_) vcpu->engine.cpu().take_start_signals();
    if (stepping_cpu_ && !vcpus_[*stepping_cpu_]->is_idle()) return switch_to(*stepping_cpu_), true;
    if (turn_left_ != 0 && !vcpus_[current_]->is_idle()) return true;
    for (unsigned i = 1; i <= cpu_count(); ++i) {
        unsigned const next = (current_ + i) % cpu_count();
        if (!vcpus_[next]->is_idle()) return switch_to(next), true;
    }
    return false;
}

bool Machine::others_wait() const {
    for (unsigned i = 0; i < cpu_count(); ++i)
        if (i != current_ && !vcpus_[i]->is_idle()) return true;
    return false;
}

std::uint64_t Machine::quota(Ticks stop, bool shares) const {
    if (stepping_cpu_ == current_) return 1;
    std::uint64_t most = std::min(budget_, quota_until(stop));
    if (piece_left_) most = std::min(most, *piece_left_);
    return shares ? std::min(most, turn_left_) : most;
}

void Machine::run_until(Ticks barrier) {
    if (window_) window_->forget_code();
    if (std::exchange(budget_barrier_, barrier) != barrier) budget_ = clock_.now() < barrier ? budget_until(barrier) : 0;
    while (state_ == State::running && !held_ && clock_.now() < barrier) {
        clock_.fire_due();
        Ticks const stop = std::min(barrier, clock_.next_deadline());
        if (!take_turn()) {
            rest_until(stop);
        } else if (budget_ == 0) {
            steal_until(barrier);
        } else if (stop > clock_.now()) {
            bool const shares = others_wait();
            running_engine().cpu().set_yields(shares);
            Ticks const begin = clock_.now();
            VirtualizationEvent const event = running_engine().run(quota(stop, shares));
            turn_left_ -= std::min(turn_left_, event.instructions);
            if (settings_.share_ppm != kWholeShare) budget_ -= event.instructions;
            for (MachineObserver* observer : observers_) observer->executed(current_, begin, event);
            handle(event);
        }
    }
    if (state_ == State::running && !held_) clock_.fire_due();
}

void Machine::hold_if_stopped(VirtualizationEvent const& event) {
    bool const stopped = event.kind == VirtualizationEvent::Kind::debug_stop;
    bool const ends_piece = piece_left_ && (*piece_left_ -= event.instructions) == 0;
    if (!stopped && !ends_piece && !(stepping_cpu_ == current_ && event.instructions != 0)) return;
    held_ = true;
    stop_ = stopped ? running_engine().debug_stop() : DebugStop{.cause = DebugStop::Cause::step};
}

void Machine::handle(VirtualizationEvent const& event) {
    if (queue_) queue_->notice_exit();
    hold_if_stopped(event);
    switch (event.kind) {
        case VirtualizationEvent::Kind::quota_end:
            break;
        case VirtualizationEvent::Kind::halt:
            if (std::ranges::all_of(vcpus_, [](auto const& vcpu) { return vcpu->is_dead(); }))
                stop("halted with interrupts disabled");
            break;
        case VirtualizationEvent::Kind::pause:
            turn_left_ = 0;
            break;
        case VirtualizationEvent::Kind::device:
        case VirtualizationEvent::Kind::debug_stop:  // which may be the instruction that touched a device, too
            take_power_event();
            break;
        case VirtualizationEvent::Kind::shutdown:
            stop(event.cause);
            break;
    }
}

void Machine::take_power_event() {
    switch (power_.take_event()) {
        case PowerEvent::none:
            break;
        case PowerEvent::power_off:
            state_ = State::powered_off;
            break;
        case PowerEvent::reset:
            stop("reset by the guest");
            break;
    }
}

bool Machine::press_power_button() {
    if (settings_.acpi != AcpiPlatform::full) return false;
    board_.pm_registers().press_power_button();
    return true;
}

void Machine::stop(std::string cause) {
    state_ = State::crashed;
    cause_ = std::move(cause);
    crash_rip_ = running_engine().state().rip;
}

std::uint64_t Machine::instructions() const {
    std::uint64_t sum = 0;
    for (auto const& vcpu : vcpus_) sum += vcpu->engine.instructions();
    return sum;
}

Ticks Machine::next_event() const {
    if (state_ != State::running) return Ticks::never();
    bool const is_idle = std::ranges::all_of(vcpus_, [](auto const& vcpu) { return vcpu->is_idle(); });
    return is_idle ? clock_.next_deadline() : clock_.now();
}

}  // namespace backplane
