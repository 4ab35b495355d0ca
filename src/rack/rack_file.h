// The rack file: one TOML document that describes machines, links and policy (README, "The rack file").
//
// Reading it checks everything that can be known without running it, the files it names included. The first thing
// that is wrong comes back as one line, ready to print:
//
//     rack.toml:7:10: machine.alpha.memory: "3 bananas"; expected a size such as "256M" or "1G", 16M to 512G
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "clock/virtual_time.h"
#include "crossover/ipv4.h"
#include "crossover/link.h"
#include "device/frame_port.h"
#include "machine/share.h"
#include "rack/queue_file.h"
#include "rack/window_file.h"
#include "device/network_card.h"
#include "device/virtio/net_options.h"
#include "cpu/cpu_model.h"
#include "cpu/cpu_topology.h"
#include "engine/tier.h"
#include "host/disk_image.h"
#include "host/nat_uplink.h"
#include "machine/acpi_tables.h"

namespace backplane {

inline constexpr std::uint64_t kDefaultInstructionsPerSecond = 1'000'000'000;
inline constexpr std::uint64_t kDefaultMemoryBytes = std::uint64_t{256} << 20;
inline constexpr std::string_view kDefaultCommandLine = "console=ttyS0";
inline constexpr std::string_view kScreenCommandLine = "console=tty0";  // of a machine with a screen
inline constexpr std::size_t kMaxDisks = 8;  // of a machine
inline constexpr std::size_t kMaxCommandLineBytes = 2047;  // COMMAND_LINE_SIZE of Linux on x86, without the final zero

/// How the kernel is entered.
enum class BootProtocol : std::uint8_t {
    automatic,  ///< what the kernel offers, PVH first
    pvh,        ///< 32-bit entry of the PVH note ([XenPVH])
    linux64,    ///< 64-bit entry of the bzImage ([LinuxBoot] 1.15)
    bzimage,    ///< the same with the packed kernel: its own decompressor runs in the machine
    multiboot,  ///< [Multiboot] version 1; the initrd is its module
};

/// A NIC of the rack: indexes into RackFile::machines and MachineFile::nics.
struct NicPlace {
    std::uint32_t machine{0};
    std::uint32_t nic{0};
    auto operator<=>(NicPlace const&) const = default;
};

/// What a link has besides machines.
struct UplinkFile {
    enum class Kind : std::uint8_t { none, nat, tap };
    Kind kind{Kind::none};
    std::string tap;  ///< name of the host's device, for Kind::tap
    bool operator==(UplinkFile const&) const = default;
};

/// A port of the host that leads to a machine's.
struct ForwardFile {
    NatForward::Protocol protocol{NatForward::Protocol::tcp};
    Ipv4Address host_address{127, 0, 0, 1};
    std::uint16_t host_port{0};
    std::string machine;
    std::uint16_t machine_port{0};
};

struct NicFile {
    NicModel model{NicModel::e1000};
    std::uint32_t link{0};  ///< index into RackFile::links
    MacAddress mac{};       ///< from the file, or derived (rack/identity.h)
    virtio::NetOptions virtio{};  ///< of a virtio-net card
    std::string group;      ///< isolation group; empty: none
    std::string device;     ///< the uplink that it declares itself, such as "tap:x" (S2.2); empty: none
    std::optional<NicPlace> peer{};  ///< the NIC that the file couples it with (S2.3)
};

struct DiskFile {
    std::filesystem::path image;
    DiskMode mode{DiskMode::in_place};
};

struct MachineFile {
    std::string name;
    std::uint64_t memory_bytes{kDefaultMemoryBytes};
    std::filesystem::path kernel;                   ///< empty when there is a firmware
    std::optional<std::filesystem::path> firmware;  ///< a flat image; it finds out itself what to start
    std::optional<std::filesystem::path> initrd;
    std::string command_line{kDefaultCommandLine};
    BootProtocol boot{BootProtocol::automatic};
    AcpiPlatform acpi{AcpiPlatform::reduced};
    CpuTopology topology{};
    bool has_debug_exit{false};
    bool has_debug_console{false};
    bool has_hpet{false};
    bool has_vga{false};                            ///< its screen is the console
    std::optional<std::filesystem::path> vga_rom;   ///< the adapter's BIOS, with a firmware
    std::vector<NicFile> nics;
    std::vector<DiskFile> disks;
    /// Where a debugger can connect (host/stream_listener.h); none: nowhere.
    std::optional<std::string> gdb;
    std::uint32_t weight{0};                 ///< against the other machines' weights; 0: a processor of its own
    std::uint32_t cap_ppm{kWholeShare};      ///< the most of a processor, in millionths
    bool waits_for_gdb{false};  ///< nothing is executed before a debugger lets it go
};

/// What differs for the frames of one machine.
struct DirectionFile {
    std::string machine;
    Impairment impairment;
};

struct LinkFile {
    std::string name;
    Completion completion{Completion::landed};
    /// How long a frame waits in its sender's buffers for a posted receive buffer before it is dropped.
    Ticks wait{milliseconds(10)};
    std::optional<std::filesystem::path> capture;
    Impairment impairment;            ///< of every machine's frames
    std::vector<DirectionFile> from;  ///< but of these machines' frames instead
    std::uint64_t store_bytes{std::uint64_t{4} << 20};
    SourceCheck source_check{SourceCheck::off};
    std::vector<CarrierChange> carrier_changes;  ///< in the order of time
    UplinkFile uplink;
    bool has_services{true};  ///< the built-in address and name service
    Ipv4Subnet subnet;        ///< of that service and of `nat`
    NatOptions::HostAccess host_access{NatOptions::HostAccess::no};
    std::vector<ForwardFile> forwards;

    [[nodiscard]] Impairment const& impairment_from(std::string_view machine) const;
};

struct RackFile {
    Tier tier{Tier::translator};
    std::optional<CpuModel> processor{};  ///< empty: the widest that this host can carry out
    std::uint64_t seed{1};
    std::uint64_t instructions_per_second{kDefaultInstructionsPerSecond};
    Ticks quantum{microseconds(100)};   ///< how long machines run between two barriers (delivery rule)
    std::vector<MachineFile> machines;  ///< in the order of the file; never empty after reading
    std::vector<LinkFile> links;        ///< likewise
    std::optional<QueueFile> queue;     ///< every machine has a queue device, or none
    std::optional<WindowFile> window;   ///< memory that machines have in common
    std::string name{"rack"};           ///< by which `backplane ctl` finds it
    std::optional<std::filesystem::path> control;  ///< where, if not at the name's usual place
    std::optional<unsigned> threads;    ///< of the host, to run machines; none: 1

    /// What a machine gets of each quantum's instructions, in millionths: the smaller of its cap and its weight's part
    /// of the largest weight.
    [[nodiscard]] std::uint32_t share_of(MachineFile const& machine) const;
};

/// Reads and checks the file at `path`. Relative paths in it are relative to the file's folder.
/// Errors: bad_input, one line `file:line:column: key: what was found; expected ...`.
[[nodiscard]] Expected<RackFile, Error> read_rack_file(std::filesystem::path const& path);

/// The same for a text already in memory; `path` names it in errors and gives the folder.
[[nodiscard]] Expected<RackFile, Error> parse_rack_file(std::string_view text, std::filesystem::path const& path);

/// Whether the files that a machine names exist and can fit into its memory; if not, which key is wrong and why.
struct FileProblem {
    std::string key;      ///< "kernel", "initrd", ...
    std::string message;  ///< what was found; expected ...
};
[[nodiscard]] std::optional<FileProblem> find_file_problem(MachineFile const& machine);
/// The same for the screen: what is there without the other, a ROM that cannot be read.
[[nodiscard]] std::optional<FileProblem> find_screen_problem(MachineFile const& machine);

/// The name of a rack whose file gives it none: that of the file, or of its folder when it is a rack.toml.
[[nodiscard]] std::string rack_name(std::filesystem::path const& rack_file);

/// What `backplane check` prints: one line a machine, NIC and link.
[[nodiscard]] std::string rack_summary(RackFile const& rack);

[[nodiscard]] std::string_view model_text(NicModel model);
/// "beta.nic0"
[[nodiscard]] std::string nic_name(RackFile const& rack, NicPlace place);

/// "pvh", "linux64", "bzimage" or "multiboot".
[[nodiscard]] std::optional<BootProtocol> boot_protocol(std::string_view word);
[[nodiscard]] std::string_view completion_text(Completion completion);

}  // namespace backplane
