#include "rack/rack_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "rack/identity.h"
#include "rack/rack_values.h"

namespace backplane {
namespace {

/// A folder with a kernel, an initrd and an empty file; rack files are parsed as if they stood in it.
class RackFileTest : public testing::Test {
  protected:
    RackFileTest() {
        EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
        make("vmlinuz", "a kernel");
        make("initrd.img", "an initrd");
        make("empty", "");
        make("disk.img", std::string(1024, 'd'));
        make("crooked.img", std::string(1000, 'd'));
    }
    ~RackFileTest() override { std::filesystem::remove_all(folder_); }

    void make(std::string const& name, std::string_view content) const {
        std::ofstream{folder_ + '/' + name} << content;
    }
    [[nodiscard]] std::filesystem::path in_folder(std::string const& name) const { return folder_ + '/' + name; }
    [[nodiscard]] Expected<RackFile, Error> parse(std::string_view text) const {
        return parse_rack_file(text, in_folder("r.toml"));
    }
    /// The message without the folder's name.
    [[nodiscard]] std::string problem(std::string_view text) const {
        auto const rack = parse(text);
        if (rack) return "no problem";
        EXPECT_EQ(rack.error().kind, Error::Kind::bad_input);
        std::string message = rack.error().message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << "one line";
        for (std::size_t at = message.find(folder_ + '/'); at != std::string::npos; at = message.find(folder_ + '/')) {
            message.erase(at, folder_.size() + 1);
        }
        return message;
    }

    std::string folder_{"/tmp/backplane-rack-file-test-XXXXXX"};
};

constexpr std::string_view kTwoMachines = R"([rack]
engine = "sim"
time = "virtual"
seed = 5
ips = 2_000_000_000
quantum = "50us"

[machine.zeta]
memory = "1G"
cpus = 4
threads-per-core = 2
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 quiet"
boot = "linux64"

[[machine.zeta.nic]]
model = "e1000"
link = "wan"
mac = "52:54:00:AB:cd:01"

[[machine.zeta.nic]]
link = "lan"

[machine.alpha]
kernel = "/dev/../FOLDER/vmlinuz"

[link.wan]
completion = "read"
wait = "2s"
uplink = "none"

[link.lan]
)";

TEST_F(RackFileTest, DisksAreImagesAndHowTheyAreWritten) {
    auto const rack = parse(R"([machine.a]
kernel = "vmlinuz"
[[machine.a.disk]]
image = "disk.img"
readonly = true
[[machine.a.disk]]
image = "disk.img"
snapshot = true
)");
    ASSERT_TRUE(rack.has_value()) << rack.error().message;
    auto const& disks = rack->machines.front().disks;
    ASSERT_EQ(disks.size(), 2U);
    EXPECT_EQ(disks[0].image, in_folder("disk.img"));
    EXPECT_EQ(disks[0].mode, DiskMode::read_only);
    EXPECT_EQ(disks[1].mode, DiskMode::snapshot);
    std::string nine{"[machine.a]\nkernel = \"vmlinuz\"\n"};
    for (int i = 0; i < 9; ++i) nine += "[[machine.a.disk]]\nimage = \"disk.img\"\nreadonly = true\n";
    EXPECT_THAT(problem(nine), testing::HasSubstr("machine.a.disk: too many disks; expected at most 8"));
}

TEST_F(RackFileTest, ReadsEveryKey) {
    std::string text{kTwoMachines};
    text.replace(text.find("/dev/../FOLDER"), 14, folder_);
    auto const rack = parse(text);
    ASSERT_TRUE(rack) << rack.error().message;
    EXPECT_EQ(rack->seed, 5U);
    EXPECT_EQ(rack->instructions_per_second, 2'000'000'000U);
    EXPECT_EQ(rack->quantum, microseconds(50));

    ASSERT_EQ(rack->machines.size(), 2U);
    MachineFile const& zeta = rack->machines[0];
    EXPECT_EQ(zeta.name, "zeta") << "machines come in the order of the file";
    EXPECT_EQ(zeta.memory_bytes, std::uint64_t{1} << 30);
    EXPECT_EQ(zeta.topology.cpus, 4U);
    EXPECT_EQ(zeta.topology.threads_per_core, 2U);
    EXPECT_EQ(zeta.kernel, in_folder("vmlinuz"));
    EXPECT_EQ(zeta.initrd, in_folder("initrd.img"));
    EXPECT_EQ(zeta.command_line, "console=ttyS0 quiet");
    EXPECT_EQ(zeta.boot, BootProtocol::linux64);
    ASSERT_EQ(zeta.nics.size(), 2U);
    EXPECT_EQ(rack->links[zeta.nics[0].link].name, "wan");
    EXPECT_EQ(zeta.nics[0].mac, (MacAddress{0x52, 0x54, 0x00, 0xab, 0xcd, 0x01}));
    EXPECT_EQ(rack->links[zeta.nics[1].link].name, "lan");
    EXPECT_EQ(zeta.nics[1].mac, derive_mac(5, "zeta", 1));

    MachineFile const& alpha = rack->machines[1];
    EXPECT_EQ(alpha.kernel, in_folder("vmlinuz")) << "an absolute path stays";
    EXPECT_EQ(alpha.memory_bytes, kDefaultMemoryBytes);
    EXPECT_EQ(alpha.initrd, std::nullopt);
    EXPECT_EQ(alpha.command_line, "console=ttyS0");
    EXPECT_EQ(alpha.boot, BootProtocol::automatic);

    ASSERT_EQ(rack->links.size(), 2U);
    EXPECT_EQ(rack->links[0].completion, Completion::read);
    EXPECT_EQ(rack->links[0].wait, milliseconds(2000));
    EXPECT_EQ(rack->links[1].completion, Completion::landed);
    EXPECT_EQ(rack->links[1].wait, milliseconds(10));
}

TEST_F(RackFileTest, TheSmallestRack) {
    auto const rack = parse("[machine.a]\nkernel = \"vmlinuz\"\n");
    ASSERT_TRUE(rack) << rack.error().message;
    EXPECT_EQ(rack->seed, 1U);
    EXPECT_EQ(rack->instructions_per_second, 1'000'000'000U);
}

TEST_F(RackFileTest, SummaryForCheck) {
    auto const rack = parse(
        "[machine.a]\nkernel = \"vmlinuz\"\ninitrd = \"initrd.img\"\nmemory = \"96M\"\n"
        "nic = [{link = \"lan\", mac = \"02:00:00:00:00:01\"}]\n[link.lan]\n");
    ASSERT_TRUE(rack) << rack.error().message;
    EXPECT_EQ(rack_summary(*rack),
              "rack: engine sim, virtual time, 1000000000 instructions a second, quantum 100us, seed 1\n"
              "machine a: memory 96M, kernel " +
                  folder_ + "/vmlinuz, initrd " + folder_ +
                  "/initrd.img\n"
                  "  nic0: e1000, 02:00:00:00:00:01, link lan\n"
                  "link lan: completion landed, wait 10ms, addresses 10.77.0.0/24\n");
}

TEST_F(RackFileTest, ACardMayHaveSeveralQueuesAndALargerMtu) {
    auto const rack = parse(
        "[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", model = \"virtio-net\", mac = \"02:00:00:00:00:01\", "
        "queues = 4, mtu = 9000}, {link = \"l\", model = \"virtio-net\"}]\n[link.l]\n");
    ASSERT_TRUE(rack) << rack.error().message;
    EXPECT_EQ(rack->machines[0].nics[0].virtio.pairs, 4);
    EXPECT_EQ(rack->machines[0].nics[0].virtio.mtu_bytes, 9000);
    EXPECT_EQ(rack->machines[0].nics[1].virtio.pairs, 1);
    EXPECT_EQ(rack->machines[0].nics[1].virtio.mtu_bytes, 1500);
    EXPECT_NE(rack_summary(*rack).find("  nic0: virtio-net, 02:00:00:00:00:01, link l, 4 queues, MTU 9000\n"), std::string::npos);
}

TEST_F(RackFileTest, ReadsWhatALinkDoesOnPurpose) {
    auto const rack = parse(R"([machine.a]
kernel = "vmlinuz"
nic = [{link = "wan", group = "red"}, {link = "wan"}]
[link.wan]
capture = "wan.pcapng"
latency = "20ms"
rate = "10M"
loss = "0.5%"
duplicate = "1%"
reorder = "100%"
reorder_by = "2ms"
spoofing = "refuse"
cut = ["10s", "30s"]
heal = "20s"
[link.wan.from.a]
loss = "0%"
)");
    ASSERT_TRUE(rack) << rack.error().message;
    LinkFile const& wan = rack->links[0];
    EXPECT_EQ(wan.capture, in_folder("wan.pcapng"));
    Impairment wanted{.latency = milliseconds(20),
                      .rate_bits_per_s = 10'000'000,
                      .loss = 5000,
                      .duplicate = 10'000,
                      .reorder = kAlways,
                      .reorder_by = milliseconds(2)};
    EXPECT_EQ(wan.impairment_from("b"), wanted);
    wanted.loss = 0;
    EXPECT_EQ(wan.impairment_from("a"), wanted) << "the rest is that of the link";
    EXPECT_EQ(wan.source_check, SourceCheck::strict);
    EXPECT_EQ(wan.carrier_changes, (std::vector<CarrierChange>{{milliseconds(10'000), Carrier::down},
                                                               {milliseconds(20'000), Carrier::up},
                                                               {milliseconds(30'000), Carrier::down}}));
    EXPECT_EQ(rack->machines[0].nics[0].group, "red");
    EXPECT_EQ(rack->machines[0].nics[1].group, "");
    std::string const summary = rack_summary(*rack);
    EXPECT_NE(summary.find("link wan: completion landed, wait 10ms, addresses 10.77.0.0/24, latency 20ms, rate 10M, loss 0.5%, duplicate 1%, "
                           "reorder 100% by 2ms, spoofing refused, cut at 10s, heal at 20s, cut at 30s, capture " +
                           folder_ + "/wan.pcapng\n  from a: latency 20ms"),
              std::string::npos)
        << summary;
}

TEST_F(RackFileTest, ReadsWaysOutAndCouplings) {
    auto const rack = parse(R"([machine.a]
kernel = "vmlinuz"
nic = [{link = "out"}, {uplink = "tap:x"}, {peer = "b.eth2"}, {link = "lan", peer = "b.nic3"}]
[machine.b]
kernel = "vmlinuz"
nic = [{uplink = "tap:x"}, {uplink = "nat"}, {peer = "a.nic2"}, {}]
[link.lan]
services = false
[link.out]
uplink = "nat"
subnet = "10.1.0.0/16"
host-access = true
forward = ["tcp:2222:a:22", "udp:0.0.0.0:53:a:5353"]
)");
    ASSERT_TRUE(rack) << rack.error().message;
    std::vector<std::string> names;
    for (LinkFile const& link : rack->links) names.push_back(link.name);
    EXPECT_EQ(names, (std::vector<std::string>{"lan", "out", "uplink tap:x", "a.nic2-b.nic2"}));
    auto const& a = rack->machines[0].nics;
    auto const& b = rack->machines[1].nics;
    EXPECT_EQ(a[0].link, 1u);
    EXPECT_EQ(a[1].link, 2u);
    EXPECT_EQ(b[0].link, 2u);
    EXPECT_EQ(a[1].device, "tap:x");
    EXPECT_EQ(b[1].link, 1u) << "the link that has this uplink";
    EXPECT_EQ(b[1].device, "nat");
    EXPECT_EQ(a[2].link, 3u);
    EXPECT_EQ(b[2].link, 3u);
    EXPECT_EQ(a[2].peer, (NicPlace{1, 2}));
    EXPECT_EQ(b[2].peer, (NicPlace{0, 2}));
    EXPECT_EQ(b[3].link, 0u) << "where its peer is";
    EXPECT_EQ(b[3].peer, (NicPlace{0, 3}));
    EXPECT_FALSE(rack->links[0].has_services);
    LinkFile const& out = rack->links[1];
    EXPECT_EQ(out.uplink, (UplinkFile{UplinkFile::Kind::nat, ""}));
    EXPECT_EQ(out.subnet, (Ipv4Subnet{Ipv4Address{10, 1, 0, 0}, 16}));
    EXPECT_EQ(out.host_access, NatOptions::HostAccess::yes);
    ASSERT_EQ(out.forwards.size(), 2u);
    EXPECT_EQ(out.forwards[0].host_address, (Ipv4Address{127, 0, 0, 1}));
    EXPECT_EQ(out.forwards[0].host_port, 2222);
    EXPECT_EQ(out.forwards[0].machine, "a");
    EXPECT_EQ(out.forwards[0].machine_port, 22);
    EXPECT_EQ(out.forwards[1].protocol, NatForward::Protocol::udp);
    EXPECT_EQ(out.forwards[1].host_address, Ipv4Address{});
    EXPECT_EQ(rack->links[2].uplink, (UplinkFile{UplinkFile::Kind::tap, "x"}));
    EXPECT_FALSE(rack->links[2].has_services) << "the network out there has its own";
    EXPECT_EQ(rack->links[3].subnet, (Ipv4Subnet{Ipv4Address{10, 77, 3, 0}, 24}));
    std::string const summary = rack_summary(*rack);
    EXPECT_NE(summary.find("link out: completion landed, wait 10ms, uplink nat, addresses 10.1.0.0/16, host access, "
                           "127.0.0.1:2222 to a:22, 0.0.0.0:53 to a:5353\n"),
              std::string::npos)
        << summary;
    EXPECT_NE(summary.find("link a.nic2-b.nic2\n    peer b.nic2\n"), std::string::npos) << summary;
}

struct BadFile {
    std::string_view text;
    std::string_view message;
};

constexpr BadFile kBadFiles[] = {
    // Not TOML at all
    {"[machine.a\n", "r.toml:1:11: not TOML: Error while parsing table header: expected ']', saw '\\n'"},
    {"a = \n", "r.toml:1:5: not TOML: Error while parsing key-value pair: expected value, saw '\\n'"},
    {"a = \"\x01\"\n",
     "r.toml:1:6: not TOML: Error while parsing string: unescaped control characters other than TAB (U+0009) are "
     "explicitly prohibited"},
    {"\xff\xfe", "r.toml:1:1: not TOML: Encountered invalid utf-8 sequence"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[machine.a]\nkernel = \"vmlinuz\"\n",
     "r.toml:3:1: not TOML: Error while parsing table header: cannot redefine existing table 'machine.a'; expected "
     "every name once"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nkernel = \"vmlinuz\"\n",
     "r.toml:3:10: not TOML: Error while parsing key-value pair: cannot redefine existing string 'kernel'; expected "
     "every name once"},
    // Nothing to run
    {"", "r.toml:1:1: machine: no machine; expected at least one [machine.NAME]"},
    {"[rack]\nseed = 1\n", "r.toml:1:1: machine: no machine; expected at least one [machine.NAME]"},
    {"[machine]\n", "r.toml:1:1: machine: no machine; expected at least one [machine.NAME]"},
    // Unknown keys
    {"[rak]\n", "r.toml:1:2: rak: unknown key; expected one of rack, machine, link, queue, window; did you mean \"rack\"?"},
    {"colour = \"red\"\n", "r.toml:1:1: colour: unknown key; expected one of rack, machine, link, queue, window"},
    {"\"a\\nb\" = 1\n", "r.toml:1:1: a\\x0ab: unknown key; expected one of rack, machine, link, queue, window"},
    {"[rack]\nsede = 1\n",
     "r.toml:2:1: rack.sede: unknown key; expected one of engine, tier, processor, time, seed, ips, quantum, name, control, threads; did you mean \"seed\"?"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n  memroy = \"1G\"\n",
     "r.toml:3:3: machine.a.memroy: unknown key; expected one of memory, cpus, threads-per-core, kernel, firmware, initrd, cmdline, boot, acpi, debug-exit, debug-console, hpet, vga, vga-rom, nic, disk, gdb, gdb-wait, weight, cap; did "
     "you mean \"memory\"?"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"l\"\nmaac = 1\n[link.l]\n",
     "r.toml:5:1: machine.a.nic[0].maac: unknown key; expected one of model, link, uplink, peer, mac, group, queues, mtu; did you mean \"mac\"?"},
    {"[link.l]\ncomplete = \"read\"\n",
     "r.toml:2:1: link.l.complete: unknown key; expected one of uplink, forward, host-access, services, subnet, "
     "completion, wait, capture, latency, rate, loss, duplicate, reorder, reorder_by, spoofing, cut, heal, from"},
    // Known, but not built yet
    {"[rack]\nprocessor = \"avx512\"\n", "r.toml:2:13: rack.processor: \"avx512\"; expected \"avx2\" or \"sse\""},
    {"[rack]\nengine = \"kvm\"\n", "r.toml:2:10: rack.engine: \"kvm\" is not built yet; expected \"sim\""},
    {"[rack]\nengine = \"auto\"\n", "r.toml:2:10: rack.engine: \"auto\" is not built yet; expected \"sim\""},
    {"[rack]\ntime = \"real\"\n", "r.toml:2:8: rack.time: \"real\" is not built yet; expected \"virtual\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\ncpus = 3\nthreads-per-core = 2\n",
     "r.toml:4:20: machine.a.threads-per-core: 2, of 3 cpus; expected an even number of cpus"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ncpus = 17\n", "r.toml:3:8: machine.a.cpus: 17; expected 1 to 16"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"l\"\nmodel = \"ne2000\"\n[link.l]\n",
     "r.toml:5:9: machine.a.nic[0].model: \"ne2000\"; expected \"e1000\" or \"virtio-net\""},
    // Ways out, and who is coupled with whom
    {"[link.l]\nforward = [\"tcp:2222:a:22\"]\n",
     "r.toml:2:11: link.l.forward: needs uplink = \"nat\"; expected no such key"},
    {"[link.l]\nuplink = \"nat\"\nservices = false\nforward = [\"tcp:2222:a:22\"]\n",
     "r.toml:4:11: link.l.forward: needs services = true; expected no such key"},
    {"[link.l]\nuplink = \"nat\"\nforward = [\"tcp:0:a:22\"]\n",
     "r.toml:3:11: link.l.forward: \"tcp:0:a:22\"; expected \"tcp:PORT:MACHINE:PORT\" or \"udp:...\", such as "
     "\"tcp:2222:alpha:22\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\"}]\n[link.l]\nuplink = \"nat\"\nforward = [\"udp:5:b:5\"]\n",
     "r.toml:6:11: link.l.forward: \"b\"; expected a machine of this link: a; did you mean \"a\"?"},
    {"[link.l]\nhost-access = true\n", "r.toml:2:15: link.l.host-access: needs uplink = \"nat\"; expected no such key"},
    {"[link.l]\nservices = \"no\"\n", "r.toml:2:12: link.l.services: a string; expected true or false"},
    {"[link.l]\nsubnet = \"10.0.0.1/24\"\n",
     "r.toml:2:10: link.l.subnet: \"10.0.0.1/24\"; expected a network such as \"10.77.0.0/24\", 8 to 25 bits long"},
    {"[link.l]\nsubnet = \"10.0.0.0/30\"\n",
     "r.toml:2:10: link.l.subnet: \"10.0.0.0/30\"; expected a network such as \"10.77.0.0/24\", 8 to 25 bits long"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[link.l]\nuplink = \"tap:x\"\n[link.m]\nuplink = \"tap:x\"\n",
     "r.toml:6:10: link.m.uplink: \"tap:x\" is the uplink of link.l already; expected another"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", uplink = \"nat\"}]\n[link.l]\n",
     "r.toml:3:30: machine.a.nic[0].uplink: beside link; expected one of the two: a link has its own uplink"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{uplink = \"none\"}]\n",
     "r.toml:3:18: machine.a.nic[0].uplink: \"none\"; expected \"nat\" or \"tap:DEVICE\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{}]\n",
     "r.toml:3:8: machine.a.nic[0].link: no link; expected link = \"NAME\" and a [link.NAME]"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{peer = \"b.eth0\"}]\n",
     "r.toml:3:16: machine.a.nic[0].peer: \"b.eth0\"; expected another NIC of the rack, such as \"beta.nic0\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{peer = \"a.nic0\"}]\n[machine.b]\nkernel = \"vmlinuz\"\nnic = [{link = "
     "\"l\"}]\n[link.l]\n",
     "r.toml:3:16: machine.a.nic[0].peer: \"a.nic0\"; expected another NIC of the rack, such as \"b.nic0\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{peer = \"b.nic0\"}]\n[machine.b]\nkernel = \"vmlinuz\"\nnic = [{peer = "
     "\"c.nic0\"}]\n[machine.c]\nkernel = \"vmlinuz\"\nnic = [{}]\n",
     "r.toml:6:16: machine.b.nic[0].peer: \"c.nic0\"; expected two NICs that name each other: there is a.nic0 already"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{peer = \"b.nic0\", link = \"l\"}]\n[machine.b]\nkernel = "
     "\"vmlinuz\"\nnic = [{link = \"m\"}]\n[link.l]\n[link.m]\n",
     "r.toml:3:16: machine.a.nic[0].peer: b.nic0 is on link m; expected a NIC of link l"},
    // What links do on purpose
    {"[link.l]\nlatency = \"soon\"\n",
     "r.toml:2:11: link.l.latency: \"soon\"; expected a time such as \"10ms\" (ns, us, ms or s), at most 3600s"},
    {"[link.l]\nrate = \"10\"\n",
     "r.toml:2:8: link.l.rate: \"10\"; expected bits a second such as \"10M\" (K, M or G), 1K to 1000G"},
    {"[link.l]\nrate = 10\n", "r.toml:2:8: link.l.rate: a whole number; expected a string"},
    {"[link.l]\nloss = \"0.1\"\n",
     "r.toml:2:8: link.l.loss: \"0.1\"; expected a share of the frames such as \"0.5%\""},
    {"[link.l]\nduplicate = \"101%\"\n",
     "r.toml:2:13: link.l.duplicate: \"101%\"; expected a share of the frames such as \"0.5%\""},
    {"[link.l]\nreorder = \"nan%\"\n",
     "r.toml:2:11: link.l.reorder: \"nan%\"; expected a share of the frames such as \"0.5%\""},
    {"[link.l]\nspoofing = \"deny\"\n", "r.toml:2:12: link.l.spoofing: \"deny\"; expected \"allow\" or \"refuse\""},
    {"[link.l]\ncut = 3\n", "r.toml:2:7: link.l.cut: a whole number; expected a list of strings"},
    {"[link.l]\ncut = [\"1s\", 2]\n", "r.toml:2:7: link.l.cut: a whole number; expected a list of strings"},
    {"[link.l]\ncut = [\"1s\", \"x\"]\n",
     "r.toml:2:7: link.l.cut: \"x\"; expected a time such as \"10ms\" (ns, us, ms or s), at most 3600s"},
    {"[link.l]\ncut = [\"1s\"]\nheal = \"1000ms\"\n",
     "r.toml:3:8: link.l.heal: \"1s\" twice; expected every time once"},
    {"[link.l]\ncapture = \"\"\n", "r.toml:2:11: link.l.capture: \"\"; expected a file name"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[link.l]\ncapture = \"x\"\n[link.m]\ncapture = \"./x\"\n",
     "r.toml:6:11: link.m.capture: \"x\" is the capture of link.l already; expected another"},
    {"[link.l.from.a]\nlos = \"1%\"\n",
     "r.toml:2:1: link.l.from.a.los: unknown key; expected one of latency, rate, loss, duplicate, reorder, reorder_by; "
     "did you mean \"loss\"?"},
    {"[machine.alpha]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\"}]\n[link.l.from.alpah]\nloss = \"1%\"\n",
     "r.toml:4:1: link.l.from.alpah: \"alpah\"; expected a machine of this link: alpha; did you mean \"alpha\"?"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[link.l.from.a]\n",
     "r.toml:3:1: link.l.from.a: \"a\"; expected no such key: the link has no machine"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", group = \"1\"}]\n[link.l]\n",
     "r.toml:3:29: machine.a.nic[0].group: the name \"1\"; expected a letter, then letters, digits, \"-\" or \"_\", at "
     "most 32 in all"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", model = \"virtio-net\", queues = 0}]\n[link.l]\n",
     "r.toml:3:52: machine.a.nic[0].queues: 0; expected 1 to 16"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", model = \"virtio-net\", queues = 17}]\n[link.l]\n",
     "r.toml:3:52: machine.a.nic[0].queues: 17; expected 1 to 16"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", model = \"virtio-net\", queues = \"4\"}]\n[link.l]\n",
     "r.toml:3:52: machine.a.nic[0].queues: a string; expected a whole number"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", queues = 2}]\n[link.l]\n",
     "r.toml:3:30: machine.a.nic[0].queues: an e1000 has one of each kind; expected model = \"virtio-net\" as well"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", model = \"virtio-net\", mtu = 67}]\n[link.l]\n",
     "r.toml:3:49: machine.a.nic[0].mtu: 67; expected 68 to 65535"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", model = \"virtio-net\", mtu = 65536}]\n[link.l]\n",
     "r.toml:3:49: machine.a.nic[0].mtu: 65536; expected 68 to 65535"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", mtu = 1500}]\n[link.l]\n",
     "r.toml:3:27: machine.a.nic[0].mtu: an e1000 tells its driver none; expected model = \"virtio-net\" as well"},
    // Wrong words
    {"[rack]\nengine = \"simm\"\n", "r.toml:2:10: rack.engine: \"simm\"; expected \"sim\""},
    {"[link.l]\ncompletion = \"done\"\n", "r.toml:2:14: link.l.completion: \"done\"; expected \"landed\" or \"read\""},
    {"[link.l]\nuplink = \"bridge\"\n",
     "r.toml:2:10: link.l.uplink: \"bridge\"; expected \"none\", \"nat\" or \"tap:DEVICE\", a name of at most 15 letters"},
    {"[link.l]\nuplink = \"tap:sixteen-letters-\"\n",
     "r.toml:2:10: link.l.uplink: \"tap:sixteen-letters-\"; expected \"none\", \"nat\" or \"tap:DEVICE\", a name of at most "
     "15 letters"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nboot = \"bios\"\n",
     "r.toml:3:8: machine.a.boot: \"bios\"; expected \"pvh\", \"linux64\", \"bzimage\" or \"multiboot\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"l\"\nmodel = \"rtl8139\"\n[link.l]\n",
     "r.toml:5:9: machine.a.nic[0].model: \"rtl8139\"; expected \"e1000\" or \"virtio-net\""},
    // Wrong kinds
    {"rack = 1\n", "r.toml:1:8: rack: a whole number; expected a table [rack]"},
    {"machine = \"a\"\n", "r.toml:1:11: machine: a string; expected a table [machine]"},
    {"[machine]\na = true\n", "r.toml:2:5: machine.a: true or false; expected a table [machine.a]"},
    {"[machine.a]\nkernel = 1\n", "r.toml:2:10: machine.a.kernel: a whole number; expected a string"},
    {"[machine.a]\nkernel = [\"vmlinuz\"]\n", "r.toml:2:10: machine.a.kernel: a list; expected a string"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = 1.5\n",
     "r.toml:3:10: machine.a.memory: a number with a fraction; expected a string or a whole number"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ncpus = \"1\"\n",
     "r.toml:3:8: machine.a.cpus: a string; expected a whole number"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[machine.a.nic]\nlink = \"l\"\n[link.l]\n",
     "r.toml:3:1: machine.a.nic: a table; expected a list of tables [[machine.a.nic]]"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [1]\n",
     "r.toml:3:7: machine.a.nic: a list; expected a list of tables [[machine.a.nic]]"},
    {"[rack]\nseed = 2024-01-01\n", "r.toml:2:8: rack.seed: a date or time; expected a whole number"},
    {"[[machine.a]]\nkernel = \"vmlinuz\"\n", "r.toml:1:1: machine.a: a list of tables; expected a table [machine.a]"},
    // Numbers and sizes
    {"[rack]\nseed = -1\n", "r.toml:2:8: rack.seed: -1; expected 0 to 9223372036854775807"},
    {"[rack]\nips = 0\n", "r.toml:2:7: rack.ips: 0; expected 1000000 to 10000000000"},
    {"[rack]\nquantum = \"0us\"\n", "r.toml:2:11: rack.quantum: \"0ns\"; expected \"1us\" to \"1s\""},
    {"[rack]\nquantum = \"2s\"\n", "r.toml:2:11: rack.quantum: \"2s\"; expected \"1us\" to \"1s\""},
    {"[rack]\nquantum = \"fast\"\n",
     "r.toml:2:11: rack.quantum: \"fast\"; expected a time such as \"10ms\" (ns, us, ms or s), at most 3600s"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ncpus = 0\n", "r.toml:3:8: machine.a.cpus: 0; expected 1 to 16"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = \"0\"\n",
     "r.toml:3:10: machine.a.memory: \"0\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = \"3 bananas\"\n",
     "r.toml:3:10: machine.a.memory: \"3 bananas\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = \"513G\"\n",
     "r.toml:3:10: machine.a.memory: \"513G\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = \"99999999999999999999G\"\n",
     "r.toml:3:10: machine.a.memory: \"99999999999999999999G\"; expected a size such as \"256M\" or \"1G\", 16M to "
     "512G"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = \"17179869185G\"\n",
     "r.toml:3:10: machine.a.memory: \"17179869185G\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = -268435456\n",
     "r.toml:3:10: machine.a.memory: \"-268435456\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = 268435457\n",
     "r.toml:3:10: machine.a.memory: \"268435457\"; expected whole pages of 4096 bytes"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = \"15M\"\n",
     "r.toml:3:10: machine.a.memory: \"15M\"; expected a size such as \"256M\" or \"1G\", 16M to 512G"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nacpi = \"none\"\n",
     "r.toml:3:8: machine.a.acpi: \"none\"; expected \"reduced\" or \"full\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\ngdb = \"12x\"\n",
     "r.toml:3:7: machine.a.gdb: \"12x\"; expected a port such as \":1234\", or a path with a \"/\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\ngdb-wait = true\n",
     "r.toml:3:12: machine.a.gdb-wait: no address to wait at; expected gdb = \":PORT\" as well"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nvga-rom = \"vmlinuz\"\n",
     "r.toml:3:11: machine.a.vga-rom: the machine has no screen; expected vga as well"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nvga = true\nvga-rom = \"vmlinuz\"\n",
     "r.toml:4:11: machine.a.vga-rom: nobody runs it without a firmware; expected firmware as well"},
    {"[machine.a]\nfirmware = \"vmlinuz\"\nvga = true\n",
     "r.toml:3:7: machine.a.vga: a firmware shows nothing without the adapter's BIOS; expected vga-rom as well"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndisk = [{}]\n", "r.toml:3:9: machine.a.disk[0].image: no image; expected image = \"FILE\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndisk = [{image = \"disk.img\", size = 5}]\n",
     "r.toml:3:30: machine.a.disk[0].size: unknown key; expected one of image, readonly, snapshot"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndisk = [{image = \"disk.img\", readonly = 1}]\n",
     "r.toml:3:41: machine.a.disk[0].readonly: a whole number; expected true or false"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndisk = [{image = \"disk.img\", readonly = true, snapshot = true}]\n",
     "r.toml:3:58: machine.a.disk[0].snapshot: nothing is written to a disk that is readonly; expected one of the two"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndisk = [{image = \"no.img\"}]\n", "r.toml:3:18: machine.a.disk[0].image: no.img: no such file"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndisk = [{image = \"empty\"}]\n", "r.toml:3:18: machine.a.disk[0].image: empty: empty"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndisk = [{image = \"crooked.img\"}]\n", "r.toml:3:18: machine.a.disk[0].image: crooked.img: 1000 bytes; expected a multiple of 512"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nhpet = 1\n", "r.toml:3:8: machine.a.hpet: a whole number; expected true or false"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ndebug-exit = 1\n",
     "r.toml:3:14: machine.a.debug-exit: a whole number; expected true or false"},
    {"[link.l]\nwait = \"10\"\n",
     "r.toml:2:8: link.l.wait: \"10\"; expected a time such as \"10ms\" (ns, us, ms or s), at most 3600s"},
    {"[link.l]\nwait = \"2h\"\n",
     "r.toml:2:8: link.l.wait: \"2h\"; expected a time such as \"10ms\" (ns, us, ms or s), at most 3600s"},
    {"[link.l]\nwait = \"3601s\"\n",
     "r.toml:2:8: link.l.wait: \"3601s\"; expected a time such as \"10ms\" (ns, us, ms or s), at most 3600s"},
    // Names
    {"[machine.\"a b\"]\nkernel = \"vmlinuz\"\n",
     "r.toml:1:1: machine.a b: the name \"a b\"; expected a letter, then letters, digits, \"-\" or \"_\", at most 32 "
     "in all"},
    {"[machine.1a]\nkernel = \"vmlinuz\"\n",
     "r.toml:1:1: machine.1a: the name \"1a\"; expected a letter, then letters, digits, \"-\" or \"_\", at most 32 in "
     "all"},
    {"[machine.\"\"]\nkernel = \"vmlinuz\"\n",
     "r.toml:1:1: machine.: the name \"\"; expected a letter, then letters, digits, \"-\" or \"_\", at most 32 in all"},
    {"[machine.abcdefghijabcdefghijabcdefghijabc]\nkernel = \"vmlinuz\"\n",
     "r.toml:1:1: machine.abcdefghijabcdefghijabcdefghijabc: the name \"abcdefghijabcdefghijabcdefghijabc\"; expected "
     "a letter, then letters, digits, \"-\" or \"_\", at most 32 in all"},
    {"[link.\"\\u001b[2J\"]\n",
     "r.toml:1:1: link.: the name \"\"; expected a letter, then letters, digits, \"-\" or \"_\", at most 32 in all"},
    // Files
    {"[machine.a]\nmemory = \"64M\"\n", "r.toml:1:1: machine.a.kernel: no kernel; expected kernel = \"FILE\""},
    {"[machine.a]\nkernel = \"vmlinux\"\n", "r.toml:2:10: machine.a.kernel: vmlinux: no such file"},
    {"[machine.a]\nkernel = \"empty\"\n", "r.toml:2:10: machine.a.kernel: empty: empty"},
    {"[machine.a]\nkernel = \".\"\n", "r.toml:2:10: machine.a.kernel: .: a folder; expected a file"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ninitrd = \"none.img\"\n",
     "r.toml:3:10: machine.a.initrd: none.img: no such file"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ninitrd = \"\"\n",
     "r.toml:3:10: machine.a.initrd: : a folder; expected a file"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nmemory = \"16M\"\ninitrd = \"large\"\n",
     "r.toml:4:10: machine.a.initrd: large: 16777216 bytes; expected an image that fits into the memory of 16M"},
    {"[machine.a]\nkernel = \"large\"\nmemory = \"16M\"\n",
     "r.toml:2:10: machine.a.kernel: large: 16777216 bytes; expected an image that fits into the memory of 16M"},
    {"[machine.a]\nkernel = \"vmlinuz\"\ncmdline = \"a\\u0000b\"\n",
     "r.toml:3:11: machine.a.cmdline: \"a\\x00b\"; expected words without control characters"},
    // Links and addresses
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\n",
     "r.toml:3:1: machine.a.nic[0].link: no link; expected link = \"NAME\" and a [link.NAME]"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"lan\"\n",
     "r.toml:4:8: machine.a.nic[0].link: \"lan\"; expected a [link.NAME] in this file"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"lna\"\n[link.wan]\n[link.lan]\n",
     "r.toml:4:8: machine.a.nic[0].link: \"lna\"; expected one of the links wan, lan; did you mean \"lan\"?"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"l\"\nmac = \"02:00:00:00:00\"\n[link.l]\n",
     "r.toml:5:7: machine.a.nic[0].mac: \"02:00:00:00:00\"; expected an address such as \"02:00:00:00:00:01\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"l\"\nmac = \"02:00:00:00:00:0g\"\n[link.l]\n",
     "r.toml:5:7: machine.a.nic[0].mac: \"02:00:00:00:00:0g\"; expected an address such as \"02:00:00:00:00:01\""},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"l\"\nmac = \"01:00:00:00:00:01\"\n[link.l]\n",
     "r.toml:5:7: machine.a.nic[0].mac: \"01:00:00:00:00:01\" is the address of a group; expected one with an even "
     "first byte"},
    {"[machine.a]\nkernel = \"vmlinuz\"\n[[machine.a.nic]]\nlink = \"l\"\nmac = \"00:00:00:00:00:00\"\n[link.l]\n",
     "r.toml:5:7: machine.a.nic[0].mac: \"00:00:00:00:00:00\"; expected an address that is not all zeros"},
    {"[machine.a]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\", mac = \"02:00:00:00:00:01\"}]\n"
     "[machine.b]\nkernel = \"vmlinuz\"\nnic = [{link = \"l\"}, {link = \"l\", mac = "
     "\"02:00:00:00:00:01\"}]\n[link.l]\n",
     "r.toml:6:41: machine.b.nic[1].mac: \"02:00:00:00:00:01\" is the address of machine.a.nic[0] already; expected "
     "another"},
};

TEST_F(RackFileTest, WhereADebuggerConnects) {
    auto const rack = parse_rack_file("[machine.a]\nkernel = \"vmlinuz\"\ngdb = \":1234\"\ngdb-wait = true\n"
                                      "[machine.b]\nkernel = \"vmlinuz\"\ngdb = \"./b.socket\"\n"
                                      "[machine.c]\nkernel = \"vmlinuz\"\n", in_folder("r.toml"));
    ASSERT_TRUE(rack) << rack.error().message;
    EXPECT_EQ(rack->machines[0].gdb, ":1234");
    EXPECT_TRUE(rack->machines[0].waits_for_gdb);
    EXPECT_EQ(rack->machines[1].gdb, in_folder("./b.socket"));
    EXPECT_FALSE(rack->machines[1].waits_for_gdb);
    EXPECT_FALSE(rack->machines[2].gdb);
}

TEST_F(RackFileTest, EveryProblemIsOneLineWithItsPlace) {
    make("large", "");
    std::filesystem::resize_file(in_folder("large"), 16 << 20);
    for (BadFile const& bad : kBadFiles) EXPECT_EQ(problem(bad.text), bad.message) << bad.text;
}

TEST_F(RackFileTest, TooManyAreRefused) {
    std::string many_nics = "[machine.a]\nkernel = \"vmlinuz\"\n";
    for (int i = 0; i < 9; ++i) many_nics += "[[machine.a.nic]]\nlink = \"l\"\n";
    EXPECT_EQ(problem(many_nics + "[link.l]\n"), "r.toml:3:1: machine.a.nic: too many NICs; expected at most 8");
    std::string many_machines;
    for (int i = 0; i < 17; ++i) {
        many_machines += "[machine.m" + std::to_string(i) + "]\nkernel = \"vmlinuz\"\nmemory = \"512G\"\n";
    }
    EXPECT_EQ(problem(many_machines), "r.toml:49:1: machine.m16: more than 8192G of memory in the rack; expected less");
    EXPECT_EQ(problem("[machine.a]\nkernel = \"vmlinuz\"\ncmdline = \"" + std::string(2048, 'x') + "\"\n"),
              "r.toml:3:11: machine.a.cmdline: 2048 bytes; expected at most 2047");
}

TEST_F(RackFileTest, AFileThatCannotBeRead) {
    EXPECT_EQ(read_rack_file(in_folder("none.toml")).error().message, folder_ + "/none.toml: no such file");
    EXPECT_EQ(read_rack_file(folder_).error().message, folder_ + ": a folder; expected a file");
    EXPECT_EQ(read_rack_file(in_folder("empty")).error().message, folder_ + "/empty: empty");
    make("rack.toml", "[machine.a]\nkernel = \"vmlinuz\"\n");
    EXPECT_TRUE(read_rack_file(in_folder("rack.toml")));
}

TEST(RackValues, SizesAndTimesAreReadAndPrintedAgain) {
    EXPECT_EQ(*parse_memory_size("16M"), kMinMemoryBytes);
    EXPECT_EQ(*parse_memory_size("512G"), kMaxMemoryBytes);
    EXPECT_EQ(*parse_memory_size("16384K"), kMinMemoryBytes);
    EXPECT_EQ(*parse_memory_size("16781312"), kMinMemoryBytes + 4096);
    EXPECT_EQ(memory_text(kMinMemoryBytes + 4096), "16388K");
    EXPECT_EQ(memory_text(std::uint64_t{3} << 30), "3G");
    EXPECT_EQ(*parse_duration("100ns"), Ticks{100});
    EXPECT_EQ(*parse_duration("0s"), Ticks{0});
    EXPECT_EQ(duration_text(milliseconds(1500)), "1500ms");
    EXPECT_EQ(duration_text(Ticks{}), "0ns");
}

}  // namespace
}  // namespace backplane
