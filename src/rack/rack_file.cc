#include "rack/rack_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "host/file.h"
#include "host/stream_listener.h"
#include "rack/identity.h"
#include "rack/link_reader.h"
#include "rack/nearest_word.h"
#include "rack/nic_linker.h"
#include "rack/printable.h"
#include "rack/rack_values.h"
#include "rack/toml_table.h"

namespace backplane {
namespace {

using Words = std::span<std::string_view const>;
using Path = std::filesystem::path;

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kMinInstructionsPerSecond = 1'000'000;
constexpr std::uint64_t kMaxInstructionsPerSecond = 10'000'000'000;
constexpr Ticks kMinQuantum = microseconds(1);
constexpr Ticks kMaxQuantum = milliseconds(1000);
constexpr Ticks kMaxChosenQuantum = milliseconds(10);
constexpr std::uint64_t kMaxWeight = 10'000;
constexpr std::size_t kMaxMachines = 1024;
constexpr std::size_t kMaxNics = 8;
constexpr std::uint64_t kMaxMtuBytes = 65535;
constexpr std::size_t kMaxLinks = 1024;
constexpr std::uint64_t kMaxRackMemoryBytes = std::uint64_t{8} << 40;  // frame numbers have 32 bits: 16T in all
constexpr std::uint64_t kMaxSeed = INT64_MAX;                          // what a TOML number can say

constexpr std::array<std::string_view, 5> kTopKeys{"rack", "machine", "link", "queue", "window"};
constexpr std::array<std::string_view, 10> kRackKeys{"engine", "tier", "processor", "time", "seed", "ips", "quantum", "name", "control", "threads"};
constexpr std::array<std::string_view, 2> kTiers{"translator", "interpreter"};
constexpr auto kProcessors = std::to_array(kCpuModelNames);
constexpr std::array<std::string_view, 20> kMachineKeys{"memory", "cpus", "threads-per-core", "kernel", "firmware", "initrd", "cmdline",
                                                         "boot", "acpi", "debug-exit", "debug-console", "hpet", "vga", "vga-rom", "nic", "disk",
                                                         "gdb", "gdb-wait", "weight", "cap"};
constexpr std::array<std::string_view, 8> kNicKeys{"model", "link", "uplink", "peer", "mac", "group", "queues", "mtu"};

constexpr std::array<std::string_view, 3> kDiskKeys{"image", "readonly", "snapshot"};

constexpr std::array<std::string_view, 1> kEngines{"sim"};
constexpr std::array<std::string_view, 3> kEnginesNotBuilt{"auto", "user", "kvm"};
constexpr std::array<std::string_view, 1> kTimes{"virtual"};
constexpr std::array<std::string_view, 1> kTimesNotBuilt{"real"};
constexpr std::array<std::string_view, 4> kBoots{"pvh", "linux64", "bzimage", "multiboot"};
constexpr std::array<std::string_view, 2> kAcpis{"reduced", "full"};
constexpr std::array<std::string_view, 2> kModels{"e1000", "virtio-net"};

constexpr std::array<BootProtocol, kBoots.size()> kBootProtocols{BootProtocol::pvh, BootProtocol::linux64,
                                                                 BootProtocol::bzimage, BootProtocol::multiboot};

/// "50%", of one processor.
Expected<std::uint32_t, Error> parse_cap(std::string_view text) {
    auto const share = parse_probability(text);
    if (share && *share != 0) return *share;
    return Unexpected{bad_input(fmt::format("\"{}\"; expected a part of a processor, such as \"50%\"", text))};
}

/// Reads one document; the state is what later parts of it need of earlier ones.
class Reader {
  public:
    explicit Reader(Path const& file) : folder_{file.parent_path()} { rack_.name = rack_name(file); }

    Expected<RackFile, Error> read(TomlTable const& top) {
        BACKPLANE_TRY_VOID(top.check_keys(kTopKeys, {}));
        BACKPLANE_TRY_VOID(read_rack(top));
        BACKPLANE_TRY_VOID(read_links(top));
        BACKPLANE_TRY_VOID(read_machines(top));
        BACKPLANE_TRY_VOID(link_nics(top, rack_));
        std::vector<std::string> names;
        for (MachineFile const& machine : rack_.machines) names.push_back(machine.name);
        rack_.queue = BACKPLANE_TRY(read_queue(top, names));
        rack_.window = BACKPLANE_TRY(read_window(top, names, folder_));
        BACKPLANE_TRY_VOID(finish_links(top));
        choose_quantum();
        return std::move(rack_);
    }

  private:
    Expected<void, Error> read_rack(TomlTable const& top) {
        std::optional<TomlTable> const table = BACKPLANE_TRY(top.table("rack"));
        if (!table) return {};
        BACKPLANE_TRY_VOID(table->check_keys(kRackKeys, {}));
        BACKPLANE_TRY_VOID(table->word("engine", kEngines, kEnginesNotBuilt));
        BACKPLANE_TRY_VOID(table->word("time", kTimes, kTimesNotBuilt));
        auto const tier = BACKPLANE_TRY(table->word("tier", kTiers, {}));
        if (tier == kTiers[1]) rack_.tier = Tier::interpreter;
        auto const processor = BACKPLANE_TRY(table->word("processor", kProcessors, {}));
        if (processor) rack_.processor = *processor == kProcessors[0] ? CpuModel::avx2 : CpuModel::sse;
        auto const seed = BACKPLANE_TRY(table->number("seed", 0, kMaxSeed));
        rack_.seed = seed.value_or(rack_.seed);
        auto const ips = BACKPLANE_TRY(table->number("ips", kMinInstructionsPerSecond, kMaxInstructionsPerSecond));
        rack_.instructions_per_second = ips.value_or(rack_.instructions_per_second);
        auto const name = BACKPLANE_TRY(table->text("name"));
        if (name) {
            if (auto const valid = check_name(*name); !valid) return Unexpected{table->error_at("name", valid.error().message)};
            rack_.name = *name;
        }
        auto const control = BACKPLANE_TRY(table->text("control"));
        if (control) {
            rack_.control = in_folder(*control);
            if (auto const valid = StreamListener::check_address(rack_.control->string()); !valid)
                return Unexpected{table->error_at("control", valid.error().message)};
        }
        rack_.threads = BACKPLANE_TRY(table->parsed_or_number("threads", parse_threads));
        auto const quantum = BACKPLANE_TRY(table->parsed("quantum", parse_duration));
        has_quantum_ = quantum.has_value();
        rack_.quantum = quantum.value_or(rack_.quantum);
        if (rack_.quantum >= kMinQuantum && rack_.quantum <= kMaxQuantum) return {};
        return Unexpected{
            table->error_at("quantum", fmt::format("\"{}\"; expected \"{}\" to \"{}\"", duration_text(rack_.quantum),
                                                   duration_text(kMinQuantum), duration_text(kMaxQuantum)))};
    }

    /// Nothing crosses a link before its latency is over, so machines that meet on such links only need no barrier
    /// earlier (delivery rule): a longer quantum costs no exactness.
    void choose_quantum() {
        if (has_quantum_ || rack_.links.empty() || rack_.queue || rack_.window) return;
        Ticks smallest = kMaxChosenQuantum;
        for (LinkFile const& link : rack_.links) {
            smallest = std::min(smallest, link.impairment.latency);
            for (DirectionFile const& direction : link.from) smallest = std::min(smallest, direction.impairment.latency);
        }
        rack_.quantum = std::max(rack_.quantum, smallest);
    }

    Expected<void, Error> read_links(TomlTable const& top) {
        std::optional<TomlTable> const links = BACKPLANE_TRY(top.table("link"));
        if (!links) return {};
        for (std::string const& name : links->keys_in_file_order()) {
            if (auto const valid = check_name(name); !valid) {
                return Unexpected{links->error_at(name, valid.error().message)};
            }
            if (rack_.links.size() == kMaxLinks) return Unexpected{too_many(*links, name, kMaxLinks, "links")};
            TomlTable const table = BACKPLANE_TRY(links->required_table(name));
            LinkFile link = BACKPLANE_TRY(read_link(table, name, folder_, rack_.links.size()));
            rack_.links.push_back(std::move(link));
        }
        return {};
    }

    /// What is said of a link and needs the machines.
    Expected<void, Error> finish_links(TomlTable const& top) {
        std::optional<TomlTable> const links = BACKPLANE_TRY(top.table("link"));
        if (!links) return {};
        std::map<Path, std::string> captures;
        std::map<std::string, std::string> taps;
        auto const written_links = static_cast<std::uint32_t>(links->keys_in_file_order().size());
        for (std::uint32_t i = 0; i < written_links; ++i) {
            LinkFile const& link = rack_.links[i];
            TomlTable const table = BACKPLANE_TRY(links->required_table(link.name));
            BACKPLANE_TRY_VOID(check_members(table, rack_, i));
            if (link.uplink.kind == UplinkFile::Kind::tap) {
                auto const [taken, is_new] = taps.emplace(link.uplink.tap, table.name());
                if (!is_new) {
                    return Unexpected{table.error_at("uplink", fmt::format("\"tap:{}\" is the uplink of {} already; "
                                                                           "expected another",
                                                                           link.uplink.tap, taken->second))};
                }
            }
            if (!link.capture) continue;
            auto const [taken, is_new] = captures.emplace(link.capture->lexically_normal(), table.name());
            if (is_new) continue;
            return Unexpected{table.error_at("capture", fmt::format("{} is the capture of {} already; expected another",
                                                                    in_quotes(link.capture->filename().string()),
                                                                    taken->second))};
        }
        return {};
    }

    Expected<void, Error> read_machines(TomlTable const& top) {
        std::optional<TomlTable> const machines = BACKPLANE_TRY(top.table("machine"));
        if (!machines || machines->keys_in_file_order().empty()) {
            return Unexpected{top.error_at("machine", "no machine; expected at least one [machine.NAME]")};
        }
        std::uint64_t memory_bytes = 0;
        for (std::string const& name : machines->keys_in_file_order()) {
            if (auto const valid = check_name(name); !valid) {
                return Unexpected{machines->error_at(name, valid.error().message)};
            }
            if (rack_.machines.size() == kMaxMachines) {
                return Unexpected{too_many(*machines, name, kMaxMachines, "machines")};
            }
            MachineFile machine = BACKPLANE_TRY(read_machine(*machines, name));
            memory_bytes += machine.memory_bytes;
            if (memory_bytes > kMaxRackMemoryBytes) {
                return Unexpected{
                    machines->error_at(name, fmt::format("more than {} of memory in the rack; expected less",
                                                         memory_text(kMaxRackMemoryBytes)))};
            }
            rack_.machines.push_back(std::move(machine));
        }
        return {};
    }

    Expected<MachineFile, Error> read_machine(TomlTable const& machines, std::string const& name) {
        TomlTable const table = BACKPLANE_TRY(machines.required_table(name));
        BACKPLANE_TRY_VOID(table.check_keys(kMachineKeys, {}));
        MachineFile machine;
        machine.name = name;
        auto const memory = BACKPLANE_TRY(table.parsed_or_number("memory", parse_memory_size));
        machine.memory_bytes = memory.value_or(machine.memory_bytes);
        machine.topology = BACKPLANE_TRY(read_topology(table));
        BACKPLANE_TRY_VOID(read_images(table, machine));
        BACKPLANE_TRY_VOID(read_command_line(table, machine));
        auto const boot = BACKPLANE_TRY(table.word("boot", kBoots, {}));
        if (boot) machine.boot = *boot_protocol(*boot);
        if (BACKPLANE_TRY(table.word("acpi", kAcpis, {})) == "full") machine.acpi = AcpiPlatform::full;
        machine.has_debug_exit = BACKPLANE_TRY(table.truth("debug-exit")).value_or(false);
        machine.has_debug_console = BACKPLANE_TRY(table.truth("debug-console")).value_or(false);
        machine.has_hpet = BACKPLANE_TRY(table.truth("hpet")).value_or(false);
        BACKPLANE_TRY_VOID(read_screen(table, machine));
        auto const weight = BACKPLANE_TRY(table.number("weight", 1, kMaxWeight));
        machine.weight = static_cast<std::uint32_t>(weight.value_or(0));
        machine.cap_ppm = BACKPLANE_TRY(table.parsed("cap", parse_cap)).value_or(machine.cap_ppm);
        BACKPLANE_TRY_VOID(read_debugger(table, machine));
        BACKPLANE_TRY_VOID(read_nics(table, machine));
        BACKPLANE_TRY_VOID(read_disks(table, machine));
        return machine;
    }

    Expected<void, Error> read_screen(TomlTable const& table, MachineFile& machine) {
        machine.has_vga = BACKPLANE_TRY(table.truth("vga")).value_or(false);
        auto const rom = BACKPLANE_TRY(table.text("vga-rom"));
        if (rom) machine.vga_rom = in_folder(*rom);
        if (machine.has_vga && !BACKPLANE_TRY(table.text("cmdline"))) machine.command_line = kScreenCommandLine;
        auto const problem = find_screen_problem(machine);
        if (!problem) return {};
        return Unexpected{table.error_at(problem->key, problem->message)};
    }

    Expected<void, Error> read_debugger(TomlTable const& table, MachineFile& machine) {
        machine.gdb = BACKPLANE_TRY(table.text("gdb"));
        machine.waits_for_gdb = BACKPLANE_TRY(table.truth("gdb-wait")).value_or(false);
        if (machine.waits_for_gdb && !machine.gdb) {
            return Unexpected{table.error_at("gdb-wait", "no address to wait at; expected gdb = \":PORT\" as well")};
        }
        if (!machine.gdb) return {};
        if (machine.gdb->find('/') != std::string::npos) machine.gdb = in_folder(*machine.gdb).string();
        if (auto const valid = StreamListener::check_address(*machine.gdb); !valid) {
            return Unexpected{table.error_at("gdb", valid.error().message)};
        }
        return {};
    }

    Expected<CpuTopology, Error> read_topology(TomlTable const& machine) {
        CpuTopology topology;
        topology.cpus = static_cast<unsigned>(BACKPLANE_TRY(machine.number("cpus", 1, kMaxCpus)).value_or(1));
        auto const threads = BACKPLANE_TRY(machine.number("threads-per-core", 1, 2));
        topology.threads_per_core = static_cast<unsigned>(threads.value_or(1));
        if (topology.cpus % topology.threads_per_core == 0) return topology;
        return Unexpected{machine.error_at("threads-per-core", fmt::format("2, of {} cpus; expected an even number of cpus", topology.cpus))};
    }

    Expected<void, Error> read_images(TomlTable const& table, MachineFile& machine) {
        auto const kernel = BACKPLANE_TRY(table.text("kernel"));
        auto const firmware = BACKPLANE_TRY(table.text("firmware"));
        if (firmware) {
            for (std::string_view other : {"kernel", "initrd", "boot"}) {
                if (BACKPLANE_TRY(table.text(other)))
                    return Unexpected{table.error_at(other, "the machine has a firmware; expected only one of the two")};
            }
            machine.firmware = in_folder(*firmware);
            auto const bytes = readable_file_bytes(*machine.firmware);
            if (!bytes) return Unexpected{table.error_at("firmware", printable(bytes.error().message))};
            return {};
        }
        if (!kernel) return Unexpected{table.error_at("kernel", "no kernel; expected kernel = \"FILE\"")};
        machine.kernel = in_folder(*kernel);
        auto const initrd = BACKPLANE_TRY(table.text("initrd"));
        if (initrd) machine.initrd = in_folder(*initrd);
        auto const problem = find_file_problem(machine);
        if (!problem) return {};
        return Unexpected{table.error_at(problem->key, problem->message)};
    }

    Expected<void, Error> read_command_line(TomlTable const& table, MachineFile& machine) {
        auto const words = BACKPLANE_TRY(table.text("cmdline"));
        machine.command_line = words.value_or(machine.command_line);
        if (auto const valid = check_command_line(machine.command_line); !valid) {
            return Unexpected{table.error_at("cmdline", valid.error().message)};
        }
        return {};
    }

    Expected<void, Error> read_nics(TomlTable const& table, MachineFile& machine) {
        std::vector<TomlTable> const nics = BACKPLANE_TRY(table.tables("nic"));
        if (nics.size() > kMaxNics) return Unexpected{too_many(table, "nic", kMaxNics, "NICs")};
        for (TomlTable const& nic_table : nics) {
            NicFile nic = BACKPLANE_TRY(read_nic(nic_table, machine));
            machine.nics.push_back(nic);
        }
        return {};
    }

    Expected<NicFile, Error> read_nic(TomlTable const& table, MachineFile const& machine) {
        BACKPLANE_TRY_VOID(table.check_keys(kNicKeys, {}));
        auto const model = BACKPLANE_TRY(table.word("model", kModels, {}));
        NicFile nic;
        if (model == "virtio-net") nic.model = NicModel::virtio_net;
        BACKPLANE_TRY_VOID(read_virtio(table, nic));
        auto const group = BACKPLANE_TRY(table.text("group"));
        if (group) {
            if (auto const valid = check_name(*group); !valid) {
                return Unexpected{table.error_at("group", valid.error().message)};
            }
            nic.group = *group;
        }
        auto const mac = BACKPLANE_TRY(table.parsed("mac", parse_mac));
        nic.mac = mac.value_or(derive_mac(rack_.seed, machine.name, static_cast<unsigned>(machine.nics.size())));
        auto const [taken, is_new] = mac_owners_.emplace(nic.mac, table.name());
        if (is_new) return nic;
        return Unexpected{table.error_at("mac", fmt::format("\"{}\" is the address of {} already; expected another",
                                                            mac_text(nic.mac), taken->second))};
    }

    Expected<void, Error> read_virtio(TomlTable const& table, NicFile& nic) {
        auto const queues = BACKPLANE_TRY(table.number("queues", 1, virtio::NetOptions::kMaximumPairs));
        auto const mtu = BACKPLANE_TRY(table.number("mtu", virtio::NetOptions::kSmallestMtuBytes, kMaxMtuBytes));
        bool const is_virtio = nic.model == NicModel::virtio_net;
        if (queues && !is_virtio)
            return Unexpected{table.error_at("queues", "an e1000 has one of each kind; expected model = \"virtio-net\" as well")};
        if (mtu && !is_virtio)
            return Unexpected{table.error_at("mtu", "an e1000 tells its driver none; expected model = \"virtio-net\" as well")};
        nic.virtio.pairs = static_cast<std::uint16_t>(queues.value_or(nic.virtio.pairs));
        nic.virtio.mtu_bytes = static_cast<std::uint16_t>(mtu.value_or(nic.virtio.mtu_bytes));
        return {};
    }

    Expected<void, Error> read_disks(TomlTable const& table, MachineFile& machine) {
        std::vector<TomlTable> const disks = BACKPLANE_TRY(table.tables("disk"));
        if (disks.size() > kMaxDisks) return Unexpected{too_many(table, "disk", kMaxDisks, "disks")};
        for (TomlTable const& disk : disks) machine.disks.push_back(BACKPLANE_TRY(read_disk(disk)));
        return {};
    }

    Expected<DiskFile, Error> read_disk(TomlTable const& table) {
        BACKPLANE_TRY_VOID(table.check_keys(kDiskKeys, {}));
        auto const image = BACKPLANE_TRY(table.text("image"));
        if (!image) return Unexpected{table.error_at("image", "no image; expected image = \"FILE\"")};
        bool const is_read_only = BACKPLANE_TRY(table.truth("readonly")).value_or(false);
        bool const is_snapshot = BACKPLANE_TRY(table.truth("snapshot")).value_or(false);
        if (is_read_only && is_snapshot)
            return Unexpected{table.error_at("snapshot", "nothing is written to a disk that is readonly; expected one of the two")};
        DiskFile const disk{in_folder(*image), is_read_only  ? DiskMode::read_only
                                               : is_snapshot ? DiskMode::snapshot
                                                             : DiskMode::in_place};
        auto const valid = DiskImage::open(disk.image, disk.mode);
        if (!valid) return Unexpected{table.error_at("image", printable(valid.error().message))};
        return disk;
    }

    [[nodiscard]] static Error too_many(TomlTable const& table, std::string_view key, std::size_t most,
                                        std::string_view what) {
        return table.error_at(key, fmt::format("too many {}; expected at most {}", what, most));
    }

    [[nodiscard]] Path in_folder(std::string const& name) const { return folder_ / name; }  // absolute names stay

    Path folder_;
    RackFile rack_;
    bool has_quantum_{false};
    std::map<MacAddress, std::string> mac_owners_;
};

FileProblem does_not_fit(MachineFile const& machine, std::string key, Path const& file, std::uint64_t bytes) {
    return {std::move(key), fmt::format("{}: {} bytes; expected an image that fits into the memory of {}",
                                        printable(file.string()), bytes, memory_text(machine.memory_bytes))};
}

}  // namespace

std::optional<BootProtocol> boot_protocol(std::string_view word) {
    auto const found = std::ranges::find(kBoots, word);
    if (found == kBoots.end()) return std::nullopt;
    return kBootProtocols[static_cast<std::size_t>(found - kBoots.begin())];
}

Expected<RackFile, Error> parse_rack_file(std::string_view text, Path const& path) {
    TomlDocument const document = BACKPLANE_TRY(TomlDocument::parse(text, printable(path.string())));
    return Reader{path}.read(document.top());
}

std::uint32_t RackFile::share_of(MachineFile const& machine) const {
    std::uint32_t largest = 0;
    for (MachineFile const& each : machines) largest = std::max(largest, each.weight);
    std::uint64_t const part = machine.weight == 0 ? kWholeShare : std::uint64_t{kWholeShare} * machine.weight / largest;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(part, machine.cap_ppm));
}

std::string rack_name(std::filesystem::path const& rack_file) {
    // Every example is a rack.toml: then the folder says more.
    std::string name = rack_file.stem().string();
    if (name == "rack") name = std::filesystem::absolute(rack_file).lexically_normal().parent_path().filename().string();
    return check_name(name) ? name : "rack";
}

Expected<RackFile, Error> read_rack_file(Path const& path) {
    std::vector<std::byte> const content = BACKPLANE_TRY(read_file(path, kMaxFileBytes));
    return parse_rack_file({reinterpret_cast<char const*>(content.data()), content.size()}, path);
}

std::optional<FileProblem> find_file_problem(MachineFile const& machine) {
    if (machine.firmware) {
        auto const firmware_bytes = readable_file_bytes(*machine.firmware);
        if (!firmware_bytes) return FileProblem{"firmware", printable(firmware_bytes.error().message)};
        return std::nullopt;
    }
    auto const kernel_bytes = readable_file_bytes(machine.kernel);
    if (!kernel_bytes) return FileProblem{"kernel", printable(kernel_bytes.error().message)};
    // A compressed kernel needs more than its file; what is sure here is that it needs no less.
    if (*kernel_bytes >= machine.memory_bytes) {
        return does_not_fit(machine, "kernel", machine.kernel, *kernel_bytes);
    }
    if (!machine.initrd) return std::nullopt;
    auto const initrd_bytes = readable_file_bytes(*machine.initrd);
    if (!initrd_bytes) return FileProblem{"initrd", printable(initrd_bytes.error().message)};
    if (*initrd_bytes < machine.memory_bytes - *kernel_bytes) return std::nullopt;
    return does_not_fit(machine, "initrd", *machine.initrd, *initrd_bytes);
}

std::optional<FileProblem> find_screen_problem(MachineFile const& machine) {
    if (!machine.vga_rom) {
        if (!machine.has_vga || !machine.firmware) return std::nullopt;
        return FileProblem{"vga", "a firmware shows nothing without the adapter's BIOS; expected vga-rom as well"};
    }
    if (!machine.has_vga) return FileProblem{"vga-rom", "the machine has no screen; expected vga as well"};
    if (!machine.firmware) return FileProblem{"vga-rom", "nobody runs it without a firmware; expected firmware as well"};
    auto const bytes = readable_file_bytes(*machine.vga_rom);
    if (!bytes) return FileProblem{"vga-rom", printable(bytes.error().message)};
    return std::nullopt;
}

std::string_view model_text(NicModel model) { return model == NicModel::e1000 ? "e1000" : "virtio-net"; }

std::string nic_name(RackFile const& rack, NicPlace place) {
    return fmt::format("{}.nic{}", rack.machines[place.machine].name, place.nic);
}

std::string_view completion_text(Completion completion) { return completion == Completion::landed ? "landed" : "read"; }

namespace {

std::size_t talking_pairs(QueueFile const& queue) {
    std::set<std::pair<std::uint32_t, std::uint32_t>> pairs;
    for (QueueRule const& rule : queue.rules) pairs.emplace(rule.from, rule.to);
    return pairs.size();
}

std::string_view disk_mode_text(DiskMode mode) {
    switch (mode) {
        case DiskMode::in_place:
            return "";
        case DiskMode::read_only:
            return ", readonly";
        case DiskMode::snapshot:
            return ", snapshot";
    }
    return "";
}

/// "window: 64K a machine: alpha, beta; 8K in common; 1 outside; the memory of FILE"
std::string window_summary_text(WindowFile const& window, RackFile const& rack) {
    std::vector<std::string_view> names;
    for (std::uint32_t const machine : window.machines) names.emplace_back(rack.machines[machine].name);
    std::string text = fmt::format("window: {} a machine: {}", memory_text(window.layout.section_bytes), comma_list(names));
    if (window.layout.common_bytes != 0) text += fmt::format("; {} in common", memory_text(window.layout.common_bytes));
    if (window.outside != 0) text += fmt::format("; {} outside", window.outside);
    if (window.backing) text += fmt::format("; the memory of {}", printable(window.backing->string()));
    return text + '\n';
}

}  // namespace

std::string rack_summary(RackFile const& rack) {
    std::string text = fmt::format("rack: engine sim, virtual time, {} instructions a second, quantum {}, seed {}\n",
                                   rack.instructions_per_second, duration_text(rack.quantum), rack.seed);
    for (MachineFile const& machine : rack.machines) {
        text += fmt::format("machine {}: memory {}, {} {}", machine.name, memory_text(machine.memory_bytes),
                            machine.firmware ? "firmware" : "kernel", machine.firmware.value_or(machine.kernel).string());
        if (machine.initrd) text += fmt::format(", initrd {}", machine.initrd->string());
        text += '\n';
        for (std::size_t i = 0; i < machine.nics.size(); ++i) {
            NicFile const& nic = machine.nics[i];
            text += fmt::format("  nic{}: {}, {}, link {}", i, model_text(nic.model), mac_text(nic.mac), rack.links[nic.link].name);
            if (nic.virtio.pairs != 1) text += fmt::format(", {} queues", nic.virtio.pairs);
            if (nic.virtio.mtu_bytes != virtio::NetOptions{}.mtu_bytes) text += fmt::format(", MTU {}", nic.virtio.mtu_bytes);
            text += '\n';
            if (nic.peer) text += fmt::format("    peer {}\n", nic_name(rack, *nic.peer));
        }
        for (std::size_t i = 0; i < machine.disks.size(); ++i) {
            DiskFile const& disk = machine.disks[i];
            text += fmt::format("  disk{}: {}{}\n", i, disk.image.string(), disk_mode_text(disk.mode));
        }
    }
    for (LinkFile const& link : rack.links) {
        text += fmt::format("link {}: completion {}, wait {}{}\n", link.name, completion_text(link.completion),
                            duration_text(link.wait), link_summary_text(link));
    }
    if (rack.queue) {
        text += fmt::format("queue: transfer {}, window {}K a machine, {} pairs of machines may talk\n",
                            transfer_mode_text(rack.queue->options.transfer), rack.queue->window_bytes >> 10,
                            talking_pairs(*rack.queue));
    }
    if (rack.window) text += window_summary_text(*rack.window, rack);
    return text;
}

}  // namespace backplane
