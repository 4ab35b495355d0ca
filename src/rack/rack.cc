#include "rack/rack.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <string_view>

#include "debug/debug_server.h"
#include "debug/machine_tracer.h"
#include "host/backing_file.h"
#include "host/usage.h"
#include "machine/boot_file.h"
#include "machine/firmware.h"
#include "machine/layout.h"
#include "rack/block_search.h"
#include "rack/console_buffer.h"
#include "rack/control_server.h"
#include "rack/identity.h"
#include "rack/lockstep.h"
#include "rack/monitor.h"
#include "rack/nearest_word.h"
#include "rack/network.h"
#include "rack/printable.h"
#include "rack/timeline.h"

namespace backplane {

namespace {

using HostClock = std::chrono::steady_clock;

BootEntry entry_of(BootProtocol protocol) {
    switch (protocol) {
        case BootProtocol::automatic: return BootEntry::automatic;
        case BootProtocol::pvh: return BootEntry::pvh;
        case BootProtocol::linux64: return BootEntry::long64;
        case BootProtocol::bzimage:
        case BootProtocol::multiboot: return BootEntry::automatic;  // the form of the image says it
    }
    return BootEntry::automatic;
}

KernelForm form_of(BootProtocol protocol) {
    if (protocol == BootProtocol::bzimage) return KernelForm::bzimage;
    return protocol == BootProtocol::multiboot ? KernelForm::multiboot : KernelForm::unpacked;
}

std::uint64_t frames_of(MachineFile const& machine) {
    std::uint64_t frames = 0;
    for (MemoryRange const& range : ram_ranges(machine.memory_bytes)) frames += range.bytes / kPageBytes;
    if (machine.firmware) frames += kMaxFirmwareBytes / kPageBytes;
    return frames;
}

/// Bytes that a console may take at once; a 16550's FIFO is smaller.
constexpr std::size_t kInputChunkBytes = 256;
/// How long a stopped rack waits for its debugger, or to be resumed, before it looks at signals and its timeout.
constexpr std::chrono::milliseconds kDebuggerWait{50};
/// How long after SIGTERM the machines have to switch themselves off.
constexpr std::chrono::seconds kPowerButtonGrace{10};

}  // namespace

struct Rack::Parts final : ControlTarget {
    RackFile file;
    RackOptions options;
    std::optional<FramePool> pool;
    std::vector<std::unique_ptr<DiskImage>> disks;
    std::vector<std::unique_ptr<Machine>> machines;
    std::unique_ptr<Network> network;
    std::optional<MessageExchange> exchange;
    std::optional<SharedWindow> window;
    std::optional<Monitor> monitor;
    std::unique_ptr<Rack> shadow;  // the same rack in the interpreter, with `verify`
    SeenDifference seen{};
    bool differs{false};
    std::optional<BoundedFile> instruction_trace, exit_trace;
    std::vector<std::unique_ptr<MachineTracer>> tracers;
    std::unique_ptr<Timeline> timeline;
    std::unique_ptr<CodeRecorder> code_recorder;
    DebugServer debuggers;
    std::vector<std::unique_ptr<ConsoleBuffer>> consoles;  // by machine
    TraceHash console_hash;
    std::unique_ptr<ControlServer> control;
    std::optional<std::string> control_problem;
    bool was_controlled{false};
    bool paused{false};
    std::uint64_t quanta_to_step{0};
    std::optional<HostClock::time_point> termination;  // when the power buttons were pressed
    std::optional<Ending> ending;
    bool input_taken{false};
    std::vector<std::byte> typed;  // taken from the input, not yet in the machine

    [[nodiscard]] Expected<void, Error> build();
    [[nodiscard]] Expected<void, Error> start_machine(Machine& machine, MachineFile const& machine_file,
                                                      std::map<std::string, KernelImage>& kernels);
    [[nodiscard]] Expected<void, Error> build_machine(MachineFile const& machine_file, std::map<std::string, KernelImage>& kernels);
    [[nodiscard]] Expected<void, Error> plug_in();
    [[nodiscard]] std::uint64_t queue_frames() const;
    [[nodiscard]] Expected<void, Error> connect_queues();
    [[nodiscard]] Expected<void, Error> create_window();
    [[nodiscard]] bool has_backing() const { return file.window && file.window->backing; }
    void connect_windows();
    [[nodiscard]] std::string_view reason_for_one_thread() const;
    [[nodiscard]] Expected<void, Error> start_debugging();
    [[nodiscard]] Expected<void, Error> start_timeline();
    [[nodiscard]] Expected<void, Error> start_recording_code();
    [[nodiscard]] Expected<void, Error> start_control();
    [[nodiscard]] Answer carry_out(ControlRequest const& request) override;
    [[nodiscard]] Answer carry_out_on_machine(ControlRequest const& request);
    [[nodiscard]] Answer carry_out_on_link(ControlRequest const& request);
    [[nodiscard]] bool is_paused() const override { return paused; }
    [[nodiscard]] std::size_t type(std::size_t machine, ConstByteSpan bytes) override;
    void show_consoles();
    [[nodiscard]] bool must_end_now(StopFlags const& stop);
    [[nodiscard]] RackReport report() const;
    [[nodiscard]] bool is_timed_out(HostClock::time_point start) const;
    void pass_input();
    void verify();
    [[nodiscard]] std::optional<std::string> difference_to_shadow(std::size_t machine, bool with_memory) const;
    void wait_for_next_event(StopFlags const& stop);
    [[nodiscard]] bool only_input_can_help() const;
    [[nodiscard]] bool is_paced() const;
    [[nodiscard]] MachineReport machine_report(std::size_t index) const;
    void add_translators(Machine const& machine, HostReport& out) const;
    [[nodiscard]] LinkSummary link_summary(std::size_t index) const;
    [[nodiscard]] QueueSummary queue_summary() const;
    [[nodiscard]] WindowSummary window_summary() const;
};

namespace {

bool writes_disk_files(RackFile const& file) {
    auto const in_place = [](DiskFile const& disk) { return disk.mode == DiskMode::in_place; };
    return std::ranges::any_of(file.machines, [&](MachineFile const& machine) { return std::ranges::any_of(machine.disks, in_place); });
}

}  // namespace

Rack::Rack(std::unique_ptr<Parts> parts) : parts_{std::move(parts)} {}
Rack::~Rack() = default;

namespace {

/// The same rack once more, for a comparison: it leaves nothing behind.
Expected<std::unique_ptr<Rack>, Error> create_again(RackFile file, RackOptions const& options, Tier tier) {
    file.tier = tier;
    for (LinkFile& link : file.links) link.capture.reset();
    RackOptions quiet;
    quiet.machine_made = options.machine_made;
    quiet.code_bytes = options.code_bytes;
    return Rack::create(file, std::move(quiet));
}

}  // namespace

Expected<std::unique_ptr<Rack>, Error> Rack::create(RackFile const& file, RackOptions options) {
    auto parts = std::make_unique<Parts>();
    parts->file = file;
    parts->options = std::move(options);
    bool const debugged = std::any_of(file.machines.begin(), file.machines.end(), [](MachineFile const& machine) { return machine.gdb.has_value(); });
    if (parts->options.verify && debugged)
        return Unexpected{bad_input("--verify: a debugger would change one tier and not the other; expected no gdb")};
    bool const writes_files = writes_disk_files(file);
    if (parts->options.verify && writes_files)
        return Unexpected{bad_input("--verify: both tiers would write to one disk; expected readonly or snapshot")};
    bool const has_uplink = std::any_of(file.links.begin(), file.links.end(), [](LinkFile const& link) { return link.uplink.kind != UplinkFile::Kind::none; });
    if (parts->options.verify && has_uplink)
        return Unexpected{bad_input("--verify: what comes from outside cannot come twice; expected no uplink")};
    if (parts->options.verify && parts->has_backing())
        return Unexpected{bad_input("--verify: both tiers would write to one memory; expected no window.backing")};
    if (char const* const missing = missing_on_host())
        return Unexpected{bad_input(std::string{"this host's processor lacks "} + missing +
                                    "; expected SSE4.2, POPCNT, AES and PCLMULQDQ (as all since 2011 have)")};
    if (file.processor == CpuModel::avx2 && widest_cpu_model() != CpuModel::avx2)
        return Unexpected{bad_input("processor: \"avx2\": this host lacks AVX2, FMA or F16C; expected \"sse\"")};
    BACKPLANE_TRY_VOID(parts->build());
    if (parts->options.verify) {
        parts->shadow = BACKPLANE_TRY(create_again(file, parts->options, Tier::interpreter));
    }
    return std::unique_ptr<Rack>{new Rack{std::move(parts)}};
}

namespace {

QueueDeviceSettings queue_settings(QueueFile const& queue, std::size_t machine_count) {
    return {.page_count = queue.window_bytes / kPageBytes,
            .peer_count = static_cast<std::uint32_t>(machine_count),
            .transfer = static_cast<std::uint32_t>(queue.options.transfer)};
}

}  // namespace

std::uint64_t Rack::Parts::queue_frames() const {
    if (!file.queue) return 0;
    auto const count = static_cast<std::uint32_t>(file.machines.size());
    std::uint64_t const pages = file.queue->window_bytes / kPageBytes;
    std::uint64_t frames = count * QueueDevice::own_frames(count);
    for (std::uint32_t i = 0; i < count; ++i) frames += MessageExchange::frames_needed(pages, file.queue->quotas_of(i));
    return frames;
}

Expected<void, Error> Rack::Parts::connect_queues() {
    if (!file.queue) return {};
    exchange.emplace(file.queue->options, *pool);
    for (std::uint32_t i = 0; i < machines.size(); ++i) {
        QueuePort& port = machines[i]->queue()->port();
        BACKPLANE_TRY_VOID(exchange->attach(port, machines[i]->name(), file.queue->quotas_of(i)));
    }
    for (QueueRule const& rule : file.queue->rules) {
        exchange->allow(MachineId{static_cast<std::uint16_t>(rule.from)}, MachineId{static_cast<std::uint16_t>(rule.to)},
                        rule.calls, rule.queued_bytes);
    }
    exchange->publish();
    monitor->set_exchange(&*exchange);
    return {};
}

namespace {

std::uint64_t window_frames(WindowFile const& window) {
    return SharedWindow::frames_needed(window.layout, window.backing ? SharedWindow::Memory::backed : SharedWindow::Memory::own);
}

}  // namespace

/// Before anything else takes frames: a backing replaces whole huge pages, and the pool begins with one.
Expected<void, Error> Rack::Parts::create_window() {
    if (!file.window) return {};
    window::Layout const& layout = file.window->layout;
    UniqueFd backing;
    if (has_backing()) backing = BACKPLANE_TRY(open_backing(*file.window->backing, layout.used_pages() * kPageBytes));
    window.emplace(BACKPLANE_TRY(SharedWindow::create(layout, *pool, backing)));
    return {};
}

void Rack::Parts::connect_windows() {
    if (!window) return;
    std::vector<Machine*> members;
    for (std::uint32_t const index : file.window->machines) {
        Machine& machine = *machines[index];
        window->attach(*machine.window(), machine.name());
        members.push_back(&machine);
    }
    monitor->set_window(&*window, std::move(members));
}

Expected<void, Error> Rack::Parts::build() {
    std::uint64_t frames = 0;
    for (MachineFile const& machine : file.machines) {
        BACKPLANE_TRY_VOID(check_memory_size(machine.memory_bytes));
        frames += frames_of(machine);
    }
    frames += queue_frames();
    if (file.window) frames += window_frames(*file.window);
    pool.emplace(BACKPLANE_TRY(FramePool::create(frames)));
    BACKPLANE_TRY_VOID(create_window());
    // Machines with the same kernel unpack it once.
    std::map<std::string, KernelImage> kernels;
    for (MachineFile const& machine : file.machines) BACKPLANE_TRY_VOID(build_machine(machine, kernels));
    kernels.clear();
    return_freed_memory();
    BACKPLANE_TRY_VOID(plug_in());
    BACKPLANE_TRY_VOID(start_debugging());
    BACKPLANE_TRY_VOID(start_timeline());
    BACKPLANE_TRY_VOID(start_recording_code());
    return start_control();
}

namespace {

NullSink null_sink;

}  // namespace

Expected<void, Error> Rack::Parts::start_machine(Machine& machine, MachineFile const& machine_file,
                                                 std::map<std::string, KernelImage>& kernels) {
    if (machine_file.firmware) {
        std::string const name = machine_file.firmware->string();
        std::vector<std::byte> vga_rom;
        if (machine_file.vga_rom) vga_rom = BACKPLANE_TRY(read_boot_file(machine_file.vga_rom->string(), kMaxVgaRomBytes));
        return machine.boot_firmware(name, BACKPLANE_TRY(read_boot_file(name, kMaxFirmwareBytes)), vga_rom);
    }
    std::string const path = machine_file.kernel.string();
    KernelForm const form = form_of(machine_file.boot);
    std::string const key = path + '\0' + std::to_string(static_cast<unsigned>(form));
    auto kernel = kernels.find(key);
    if (kernel == kernels.end()) kernel = kernels.emplace(key, BACKPLANE_TRY(KernelImage::load(path, form))).first;
    std::vector<std::byte> initrd;
    if (machine_file.initrd) initrd = BACKPLANE_TRY(read_boot_file(machine_file.initrd->string()));
    return machine.boot(kernel->second, initrd, machine_file.command_line, entry_of(machine_file.boot));
}

Expected<void, Error> Rack::Parts::build_machine(MachineFile const& machine_file, std::map<std::string, KernelImage>& kernels) {
    MachineSettings settings{.name = machine_file.name,
                             .memory_bytes = machine_file.memory_bytes,
                             .instructions_per_second = file.instructions_per_second,
                             .tier = file.tier,
                             .code_bytes = options.code_bytes,
                             .processor = file.processor.value_or(widest_cpu_model()),
                             .topology = machine_file.topology,
                             .random_seed = derive_seed(file.seed, machine_file.name, "random"),
                             .nics = {},
                             .acpi = machine_file.acpi,
                             .share_ppm = file.share_of(machine_file),
                             .has_debug_exit = machine_file.has_debug_exit,
                             .has_debug_console = machine_file.has_debug_console,
                             .has_hpet = machine_file.has_hpet,
                             .has_firmware = machine_file.firmware.has_value()};
    if (machine_file.has_vga) settings.screen = options.screen;
    for (NicFile const& nic : machine_file.nics) settings.nics.push_back({nic.model, nic.mac, nic.virtio});
    for (DiskFile const& disk : machine_file.disks) {
        disks.push_back(BACKPLANE_TRY(DiskImage::open(disk.image, disk.mode)));
        settings.disks.push_back({disks.back().get(), machine_file.name + ".disk" + std::to_string(settings.disks.size())});
    }
    if (file.queue) settings.queue = queue_settings(*file.queue, file.machines.size());
    auto const position = file.window ? file.window->position_of(static_cast<std::uint32_t>(machines.size())) : std::nullopt;
    if (position)
        settings.window = WindowDeviceSettings{.layout = file.window->layout, .position = *position, .vectors = file.window->vectors};
    ByteSink* const console = options.console ? options.console(machine_file.name) : nullptr;
    consoles.push_back(std::make_unique<ConsoleBuffer>(console != nullptr ? *console : null_sink));
    auto machine = BACKPLANE_TRY(Machine::create(std::move(settings), *pool, *consoles.back()));
    BACKPLANE_TRY_VOID(start_machine(*machine, machine_file, kernels));
    machines.push_back(std::move(machine));
    if (options.machine_made) options.machine_made(*machines.back());
    return {};
}

/// Why the machines of this rack have to run one after the other; empty: they need not.
std::string_view Rack::Parts::reason_for_one_thread() const {
    if (options.traces.instructions || options.traces.exits) return "traces are written in the order in which machines run";
    if (file.window) return "[window] is memory of several machines, and who reads it first would depend on the host";
    if (!file.queue) return {};
    bool const may_share = std::any_of(file.queue->rules.begin(), file.queue->rules.end(),
                                       [](QueueRule const& rule) { return (rule.calls & QueuePeer::kMayShare) != 0; });
    bool const shares = may_share || file.queue->options.transfer == TransferMode::shared;
    return shares ? "[queue] allows shared pages, and who reads them first would depend on the host" : "";
}

Expected<void, Error> Rack::Parts::plug_in() {
    network = BACKPLANE_TRY(
        Network::create(file, [this](NicPlace place) -> FramePort& { return machines[place.machine]->nic(place.nic).port(); }));
    std::vector<Machine*> all_machines;
    for (auto const& machine : machines) all_machines.push_back(machine.get());
    std::vector<Link*> all_links;
    for (std::size_t i = 0; i < network->link_count(); ++i) all_links.push_back(&network->link(i));
    unsigned const threads = reason_for_one_thread().empty() ? options.threads : 1;
    monitor.emplace(std::move(all_machines), std::move(all_links), file.quantum, threads);
    connect_windows();
    return connect_queues();
}

Expected<void, Error> Rack::Parts::start_debugging() {
    auto const& traces = options.traces;
    if (traces.instructions) instruction_trace.emplace(BACKPLANE_TRY(BoundedFile::create(*traces.instructions, traces.limit_bytes)));
    if (traces.exits) exit_trace.emplace(BACKPLANE_TRY(BoundedFile::create(*traces.exits, traces.limit_bytes)));
    for (std::size_t i = 0; i < machines.size(); ++i) {
        if (traces.instructions || traces.exits) {
            tracers.push_back(std::make_unique<MachineTracer>(*machines[i], instruction_trace ? &*instruction_trace : nullptr,
                                                              exit_trace ? &*exit_trace : nullptr));
        }
        MachineFile const& machine = file.machines[i];
        auto const start = machine.waits_for_gdb ? DebugServer::Start::held : DebugServer::Start::running;
        if (machine.gdb) BACKPLANE_TRY_VOID(debuggers.add(*machines[i], *machine.gdb, start));
    }
    return {};
}

Expected<void, Error> Rack::Parts::start_timeline() {
    if (!options.traces.timeline) return {};
    timeline = BACKPLANE_TRY(Timeline::create(*options.traces.timeline, options.traces.limit_bytes));
    std::vector<std::string> names;
    for (auto const& machine : machines) {
        timeline->add_machine(*machine);
        names.push_back(machine->name());
    }
    for (std::size_t i = 0; i < network->link_count(); ++i)
        network->link(i).add_recorder(timeline->add_link(network->link(i).name(), network->port_names(i)));
    if (exchange) exchange->set_recorder(&timeline->add_queue(names));
    return {};
}

Expected<void, Error> Rack::Parts::start_recording_code() {
    if (!options.code.any()) return {};
    if (file.tier == Tier::interpreter)
        return Unexpected{bad_input("--perf-map, --dump-blocks, --gdb-jit: the interpreter makes no code; expected the translator")};
    code_recorder = BACKPLANE_TRY(CodeRecorder::create(options.code, options.traces.limit_bytes));
    for (auto const& machine : machines) code_recorder->add(*machine);
    return {};
}

// A socket that was not asked for by name is not worth failing for.
Expected<void, Error> Rack::Parts::start_control() {
    if (!options.control) return {};
    auto server = ControlServer::create(options.control->string());
    if (server)
        control = *std::move(server);
    else if (file.control)
        return Unexpected{server.error()};
    else
        control_problem = server.error().message;
    return {};
}

std::optional<std::string> Rack::control_problem() const { return parts_->control_problem; }

void Rack::Parts::show_consoles() {
    for (std::size_t i = 0; i < consoles.size(); ++i) {
        if (ending || machines[i]->state() != Machine::State::running) machines[i]->finish_screen();
        ConstByteSpan const bytes = consoles[i]->held();
        if (!bytes.empty()) console_hash.add(i), console_hash.add(bytes);
        if (control && !bytes.empty()) control->show(i, bytes);
        consoles[i]->pass_on();
    }
}

std::size_t Rack::Parts::type(std::size_t machine, ConstByteSpan bytes) {
    if (machines[machine]->state() != Machine::State::running) return bytes.size();
    return machines[machine]->type(bytes);
}

ControlTarget::Answer Rack::Parts::carry_out(ControlRequest const& request) {
    if (request.command == "stats") return {.result = json_report(report())};
    if (request.command == "pause") paused = true, quanta_to_step = 0;
    if (request.command == "resume") paused = false, quanta_to_step = 0;
    if (request.command == "step") {
        paused = false;
        quanta_to_step = request.quanta;
        return {.comes_when_paused = true};
    }
    if (request.command == "cut" || request.command == "heal") return carry_out_on_link(request);
    if (!request.argument.empty()) return carry_out_on_machine(request);
    return {};
}

ControlTarget::Answer Rack::Parts::carry_out_on_link(ControlRequest const& request) {
    Link* const link = network->find(request.argument);
    if (link == nullptr) {
        std::vector<std::string_view> names;
        for (LinkFile const& known : file.links) names.emplace_back(known.name);
        return {.error = "link " + in_quotes(request.argument) + "; expected one of " + comma_list(names) +
                         did_you_mean(request.argument, names)};
    }
    was_controlled = true;
    link->set_carrier(request.command == "cut" ? Carrier::down : Carrier::up);
    return {};
}

ControlTarget::Answer Rack::Parts::carry_out_on_machine(ControlRequest const& request) {
    std::size_t index = 0;
    while (index < machines.size() && machines[index]->name() != request.argument) ++index;
    if (index == machines.size()) {
        std::vector<std::string_view> names;
        for (MachineFile const& known : file.machines) names.emplace_back(known.name);
        return {.error = "machine " + in_quotes(request.argument) + "; expected one of " + comma_list(names) +
                         did_you_mean(request.argument, names)};
    }
    Machine& machine = *machines[index];
    if (machine.state() != Machine::State::running) return {.error = "machine " + machine.name() + " does not run any more"};
    if (request.command == "power-button" && !machine.press_power_button())
        return {.error = "machine " + machine.name() + " has no power button; expected acpi = \"full\" in its rack file"};
    was_controlled = true;
    if (request.command == "stop") machine.switch_off();
    if (request.command == "console") return {.console = index};
    return {};
}

/// SIGTERM presses the power buttons first; Ctrl-C and a second look after the time of grace end at once.
bool Rack::Parts::must_end_now(StopFlags const& stop) {
    if (!stop.should_stop()) return false;
    if (stop.is_interrupt_requested()) return true;
    if (termination) return HostClock::now() - *termination >= kPowerButtonGrace;
    bool any = false;
    for (auto const& machine : machines)
        if (machine->state() == Machine::State::running && machine->press_power_button()) any = true;
    termination = HostClock::now();
    was_controlled = true;
    return !any;
}

bool Rack::Parts::is_timed_out(HostClock::time_point start) const {
    return options.timeout && HostClock::now() - start >= *options.timeout;
}

bool Rack::has_smaller_processor() const { return !parts_->file.processor && widest_cpu_model() != CpuModel::avx2; }
std::vector<std::string> Rack::debugger_addresses() const { return parts_->debuggers.addresses(); }

void Rack::Parts::pass_input() {
    if (options.console_input == nullptr) return;
    if (typed.empty()) {
        std::array<std::byte, kInputChunkBytes> buffer;
        std::size_t const count = options.console_input->take(buffer);
        typed.assign(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
        input_taken = input_taken || count != 0;
    }
    std::size_t const accepted = machines.front()->type(typed);
    typed.erase(typed.begin(), typed.begin() + static_cast<std::ptrdiff_t>(accepted));
}

std::optional<std::string> Rack::Parts::difference_to_shadow(std::size_t machine, bool with_memory) const {
    Machine const& other = *shadow->parts_->machines[machine];
    auto difference = find_difference(*machines[machine], other);
    if (!difference && with_memory) difference = find_memory_difference(*machines[machine], other);
    return difference;
}

/// Takes the shadow to the same barrier and compares. Memory now and then: it takes some 50 ms for 256 MiB.
void Rack::Parts::verify() {
    constexpr std::uint64_t kBarriersBetweenMemory = 64;
    shadow->parts_->monitor->run_to_barrier(Ticks::never());
    seen.different_barriers = monitor->barrier_count();
    bool const with_memory = seen.different_barriers - seen.equal_barriers >= kBarriersBetweenMemory || !monitor->has_running_machine();
    for (std::size_t i = 0; i < machines.size(); ++i) {
        auto const difference = difference_to_shadow(i, with_memory);
        if (!difference) continue;
        machines[i]->stop("the translator differs from the interpreter " + *difference);
        differs = true;
        ending = Ending::crashed;
    }
    if (with_memory && !differs) seen.equal_barriers = seen.different_barriers;
}

/// Both tiers of a rack from its beginning.
class Rack::TwoTiers final : public LockstepRun {
  public:
    static Expected<std::unique_ptr<LockstepRun>, Error> create(RackFile const& file, RackOptions const& options) {
        auto tiers = std::make_unique<TwoTiers>();
        tiers->translated_ = BACKPLANE_TRY(create_again(file, options, Tier::translator));
        tiers->interpreted_ = BACKPLANE_TRY(create_again(file, options, Tier::interpreter));
        return std::unique_ptr<LockstepRun>{std::move(tiers)};
    }
    std::size_t machine_count() const override { return translated_->parts_->machines.size(); }
    Machine& translated(std::size_t machine) override { return *translated_->parts_->machines[machine]; }
    Machine& interpreted(std::size_t machine) override { return *interpreted_->parts_->machines[machine]; }
    void run_to_barrier() override {
        translated_->parts_->monitor->run_to_barrier();
        interpreted_->parts_->monitor->run_to_barrier();
    }

  private:
    std::unique_ptr<Rack> translated_, interpreted_;
};

bool Rack::has_difference() const { return parts_->differs; }

std::string Rack::explain_difference(StopFlags const& stop) const {
    parts_->shadow.reset();  // two more come
    return backplane::explain_difference([this] { return TwoTiers::create(parts_->file, parts_->options); }, parts_->seen,
                                         [&stop] { return stop.should_stop(); });
}

/// Nothing will ever happen in the rack by itself.
bool Rack::Parts::only_input_can_help() const { return monitor->next_event() == Ticks::never(); }

/// Something outside of the rack may act at any time, so idle time passes at the pace of the clock on the wall:
/// otherwise the machines' timeouts would be over before an answer can come.
bool Rack::Parts::is_paced() const {
    bool const is_watched = options.console_input != nullptr && options.console_input->is_interactive();
    return is_watched || !network->outsides().empty() || has_backing() || (control && control->has_console());
}

/// Waits for what comes next, or for what comes from outside.
void Rack::Parts::wait_for_next_event(StopFlags const& stop) {
    constexpr std::uint64_t kLongestWaitNs = 50'000'000;
    Ticks const next = monitor->next_event();
    bool const is_idle = next > monitor->now() + file.quantum && !stop.should_stop() && typed.empty();
    std::chrono::nanoseconds const idle{is_idle ? std::min((next - monitor->now()).ns(), kLongestWaitNs) : 0};
    if (!network->outsides().empty()) return poll_all(network->outsides(), idle, monitor->now());
    if (control && control->has_console()) return control->wait(std::chrono::duration_cast<std::chrono::milliseconds>(idle));
    if (has_backing() && is_idle) return poll_all({}, idle, monitor->now());  // nobody says when its memory has changed
    ConsoleInput* const input = options.console_input;
    if (input == nullptr || !is_idle) return;
    if (input->is_interactive() || only_input_can_help()) input->wait(idle);
}

Ending Rack::run(StopFlags const& stop) {
    Parts& p = *parts_;
    auto const start = HostClock::now();
    while (!p.ending) {
        p.show_consoles();
        if (p.options.at_barrier) p.options.at_barrier();
        p.debuggers.serve();
        if (p.control) p.control->serve(p);
        if (p.must_end_now(stop)) {
            p.ending = Ending::interrupted;
        } else if (p.paused && !p.is_timed_out(start) && p.monitor->has_running_machine()) {
            p.control->wait(kDebuggerWait);
        } else if (p.debuggers.holds_any() && !p.is_timed_out(start)) {
            p.debuggers.wait(kDebuggerWait);  // time stands still
        } else if (!p.monitor->has_running_machine()) {
            bool crashed = false;
            for (auto const& machine : p.machines) crashed = crashed || machine->state() == Machine::State::crashed;
            p.ending = crashed ? Ending::crashed : Ending::all_off;
        } else if (p.is_timed_out(start)) {
            p.ending = Ending::timeout;
        } else {
            p.pass_input();
            bool const is_typing = p.options.console_input != nullptr && !(p.options.console_input->is_ended() && p.typed.empty());
            bool const input_may_come = is_typing || !p.network->outsides().empty() || (p.control && p.control->has_console());
            if (p.only_input_can_help() && !input_may_come) {
                for (auto const& machine : p.machines)
                    if (machine->state() == Machine::State::running) machine->stop("halted with nothing left to wake it up");
                continue;
            }
            auto const before = HostClock::now();
            p.wait_for_next_event(stop);
            bool const paced = p.is_paced();
            auto const waited = static_cast<std::uint64_t>((HostClock::now() - before).count());
            p.monitor->run_to_barrier(paced || p.only_input_can_help() ? p.monitor->now() + Ticks{waited} : Ticks::never());
            if (p.timeline) p.timeline->at_barrier();
            if (p.shadow) p.verify();
            if (p.quanta_to_step != 0 && --p.quanta_to_step == 0) p.paused = true;
        }
    }
    p.show_consoles();
    p.network->flush();
    if (p.options.at_barrier) p.options.at_barrier();
    return *p.ending;
}

MachineReport Rack::Parts::machine_report(std::size_t index) const {
    Machine const& machine = *machines[index];
    MachineReport out;
    out.name = machine.name();
    switch (machine.state()) {
        case Machine::State::running: out.state = ending == Ending::timeout ? MachineState::timed_out : MachineState::running; break;
        case Machine::State::powered_off: out.state = MachineState::powered_off; break;
        case Machine::State::stopped: out.state = MachineState::stopped; break;
        case Machine::State::crashed: out.state = MachineState::crashed; break;
    }
    out.cause = machine.cause();
    out.rip = machine.crash_rip();
    out.exit_status = machine.exit_status();
    out.instructions = machine.instructions();
    for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu) {
        CpuCounters const& counters = machine.engine(cpu).cpu().counters();
        out.cpus.push_back({machine.engine(cpu).instructions(), counters.interrupts, counters.exceptions});
    }
    out.virtual_time = machine.now();
    out.idle_time = machine.idle_time();
    out.stolen_time = machine.stolen_time();
    out.unclaimed_accesses = machine.unclaimed_accesses();
    for (std::size_t n = 0; n < machine.nic_count(); ++n) {
        NicFile const& nic_file = file.machines[index].nics[n];
        NicReport nic;
        nic.name = "nic" + std::to_string(n);
        nic.model = model_text(nic_file.model);
        nic.mac = nic_file.mac;
        nic.link = file.links[nic_file.link].name;
        nic.counters = machine.nic(n).counters();
        std::ranges::copy(machine.nic(n).pair_counters(), std::back_inserter(nic.queues));
        for (PortReport const& port : network->link(nic_file.link).report().ports) {
            if (port.machine.value() != index || port.name != nic.name) continue;
            nic.sent_frames = port.frames_sent;
            nic.sent_bytes = port.bytes_sent;
            nic.received_frames = port.frames_received;
            nic.received_bytes = port.bytes_received;
        }
        out.nics.push_back(std::move(nic));
    }
    for (std::size_t d = 0; d < machine.disk_count(); ++d) {
        virtio::BlockCounters const& counters = machine.disk(d).counters();
        out.disks.push_back({.name = "disk" + std::to_string(d),
                             .image = file.machines[index].disks[d].image.string(),
                             .bytes = machine.disk(d).bytes(),
                             .reads = counters.reads,
                             .read_bytes = counters.read_bytes,
                             .writes = counters.writes,
                             .written_bytes = counters.written_bytes,
                             .flushes = counters.flushes,
                             .failures = counters.failures});
    }
    return out;
}

void Rack::Parts::add_translators(Machine const& machine, HostReport& out) const {
    constexpr std::size_t kMostHandlers = 10;
    for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu) {
        SimEngine const& engine = machine.engine(cpu);
        if (engine.translator() == nullptr) continue;
        TranslatorCounters const& counters = engine.translator()->counters();
        TranslatorReport& report = out.translators.emplace_back();
        report = {.processor = machine.name() + ".cpu" + std::to_string(cpu),
                  .instructions = counters.instructions,
                  .all_instructions = engine.instructions(),
                  .blocks = counters.blocks,
                  .guest_bytes = counters.guest_bytes,
                  .host_bytes = counters.host_bytes,
                  .direct_jumps = counters.direct_jumps,
                  .chained = counters.chained,
                  .entries = counters.entries,
                  .slow_accesses = counters.slow_accesses,
                  .split_groups = counters.split_groups,
                  .guesses_given_up = counters.guesses_given_up,
                  .page_walks = engine.cpu().counters().tlb_misses,
                  .flushes = counters.flushes,
                  .longest_flush_ns = static_cast<std::uint64_t>(engine.cpu().traces().longest_flush().count())};
        for (std::size_t i = 0; i < counters.exits.size(); ++i)
            report.exits.emplace_back(translator_exit_text(static_cast<TranslatorExit>(i)), counters.exits[i]);
        for (auto const& [mnemonic, calls] : engine.translator()->handler_calls()) {
            report.handler_calls += calls;
            if (report.handlers.size() < kMostHandlers) report.handlers.emplace_back(mnemonic, calls);
        }
    }
}

LinkSummary Rack::Parts::link_summary(std::size_t index) const {
    LinkReport const& link = network->link(index).report();
    OutsideRefusals const refusals = network->uplink_refusals(index);
    LinkSummary out;
    out.name = link.name;
    out.completion = completion_text(file.links[index].completion);
    out.frames = link.frames;
    out.bytes = link.bytes;
    out.deliveries = link.deliveries;
    out.copies = link.copies;
    out.peak_stored_bytes = link.stored_bytes_peak;
    out.whole_frames = link.whole_frames;
    out.unsummed_frames = link.unsummed_frames;
    out.cut_frames = link.cut_frames;
    out.cut_segments = link.cut_segments;
    out.waits = link.waited_frames;
    out.drops = {{"no buffer posted", link.drops.no_buffer},
                 {"no such machine", link.drops.no_destination},
                 {"refused by the receiver", link.drops.refused},
                 {"withdrawn by the sender", link.drops.withdrawn},
                 {"lost on purpose", link.drops.lost},
                 {"spoofed source", link.drops.spoofed},
                 {"another group", link.drops.isolated},
                 {"under way when cut", link.drops.cut},
                 {"queue from outside full", network->uplink_drops(index)},
                 {"host device down", refusals.down},
                 {"host device full", refusals.full},
                 {"refused by the host", refusals.other}};
    out.detected = {{"destination", link.detected.destination},
                    {"default mapping", link.detected.default_mapping},
                    {"configuration", link.detected.configuration}};
    out.outside_frames = link.outside_frames;
    out.remaps_to_uplink = link.remaps_to_uplink;
    out.remaps_to_peer = link.remaps_to_peer;
    out.delayed_frames = link.delayed_frames;
    out.doubled_frames = link.doubled_frames;
    out.cuts = link.cuts;
    if (LinkCapture const* const recorded = network->capture(index)) {
        PcapngFile const& capture = recorded->file();
        out.capture = CaptureSummary{capture.path().string(), capture.frame_count(), capture.error().value_or("")};
    }
    return out;
}

QueueSummary Rack::Parts::queue_summary() const {
    QueueSummary out;
    out.transfer = transfer_mode_text(exchange->transfer());
    for (std::size_t i = 0; i < exchange->machine_count(); ++i)
        out.machines.push_back(exchange->report(MachineId{static_cast<std::uint16_t>(i)}));
    Ownership::Counters const& counters = exchange->ownership().counters();
    out.pages = {{"donated", counters.donated_pages}, {"lent", counters.lent_pages},
                 {"shared", counters.shared_pages},   {"copied", counters.copied_pages},
                 {"returned", counters.returned_pages}};
    return out;
}

WindowSummary Rack::Parts::window_summary() const {
    WindowSummary out{window->layout().section_bytes, window->layout().common_bytes, {}, file.window->outside, {}};
    if (has_backing()) out.backing = file.window->backing->string();
    for (std::uint32_t peer = 0; peer < window->peer_count(); ++peer) out.peers.push_back(window->report(peer));
    return out;
}

RackReport Rack::report() const { return parts_->report(); }

RackReport Rack::Parts::report() const {
    Parts const& p = *this;
    RackReport out;
    out.ending = p.ending.value_or(Ending::interrupted);
    out.processor = p.file.processor.value_or(widest_cpu_model());
    out.seed = p.file.seed;
    out.is_repeatable = !p.input_taken && !p.debuggers.was_used() && !p.is_paced() && !p.was_controlled &&
                       !writes_disk_files(p.file);
    out.virtual_time = p.monitor->now();
    out.quantum = p.monitor->quantum();
    out.barriers = p.monitor->barrier_count();
    TraceHash trace = console_hash;
    trace.add(p.monitor->trace_hash().value());
    out.trace_hash = trace.value();
    out.host.threads = p.monitor->team().threads();
    if (p.options.threads > 1) out.host.thread_note = p.reason_for_one_thread();
    MachineTeam::Counters const& team = p.monitor->team().counters();
    out.host.shared_barriers = team.shared;
    out.host.shared_wall_ns = team.shared_wall_ns;
    out.host.shared_work_ns = team.shared_work_ns;
    for (std::size_t i = 0; i < p.machines.size(); ++i) out.machines.push_back(p.machine_report(i));
    for (auto const& machine : p.machines) p.add_translators(*machine, out.host);
    for (std::size_t i = 0; i < p.network->link_count(); ++i) out.links.push_back(p.link_summary(i));
    if (p.exchange) out.queue = p.queue_summary();
    if (p.window) out.window = p.window_summary();
    return out;
}

}  // namespace backplane
