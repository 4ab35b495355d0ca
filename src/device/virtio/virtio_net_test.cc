#include "device/virtio/virtio_net.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "device/pci/config_space.h"
#include "device/testing.h"
#include "device/virtio/testing.h"

namespace backplane {
namespace {

using namespace virtio;
using virtio::testing::kMac;

constexpr std::uint64_t kBar = 0xC0000000;
constexpr std::uint64_t kTable = 0xC0010000;

class Wire final : public LineInputs {
  public:
    void set_level(unsigned, bool asserted) override { level = asserted; }
    bool level{false};
};
class VirtioNetTest : public ::testing::Test {
  protected:
    VirtioNetTest() {
        check(memory_.add_ram(GuestPage{0}, 256).has_value(), "there is room");
        card_.connect(bus_, InterruptLine{wire_, 0}, &messages_);
        card_.write_config(pci::bar_offset(0), Width::dword, kBar);
        card_.write_config(pci::bar_offset(1), Width::dword, kTable);
        card_.write_config(pci::kCommand, Width::word, pci::kDecodeMemory | pci::kBusMaster);
        card_.port().set_carrier(true);
    }
    void common(std::uint64_t offset, Width width, std::uint64_t value) {
        bus_.write(GuestPhys{kBar + kCommonRegion + offset}, width, value);
    }
    /// As far as DRIVER_OK, with no queue.
    void start() {
        common(8, Width::dword, 1);
        common(12, Width::dword, 1);
        common(0x14, Width::byte, kAcknowledge | kDriver | kFeaturesOk);
        common(0x14, Width::byte, kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
    }
    /// Where the capability of a type is; 0 when there is none.
    std::uint8_t find(std::uint8_t id, std::uint8_t type) {
        auto at = static_cast<std::uint8_t>(card_.read_config(0x34, Width::byte));
        while (at != 0) {
            bool const is_id = card_.read_config(at, Width::byte) == id;
            if (is_id && (type == 0 || card_.read_config(static_cast<std::uint8_t>(at + 3), Width::byte) == type))
                return at;
            at = static_cast<std::uint8_t>(card_.read_config(static_cast<std::uint8_t>(at + 1), Width::byte));
        }
        return 0;
    }

    FramePool pool_{FramePool::create(256).value()};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    Wire wire_;
    MessageLog messages_;
    MachineClock clock_;
    VirtioNet card_{"nic0", kMac, clock_};
};

TEST_F(VirtioNetTest, IdentityAndCapabilities) {
    EXPECT_EQ(card_.read_config(0, Width::dword), 0x10411AF4U);
    EXPECT_EQ(card_.read_config(8, Width::dword), 0x02000001U);
    EXPECT_EQ(card_.read_config(0x3D, Width::byte), 1U);
    struct {
        std::uint8_t type;
        std::uint8_t length;
        std::uint32_t offset;
        std::uint32_t bytes;
    } const expected[] = {{1, 16, 0x0000, 0x38}, {3, 16, 0x1000, 1}, {4, 16, 0x2000, 0x1000}, {2, 20, 0x3000, 0x1000}};
    for (auto const& each : expected) {
        std::uint8_t const at = find(9, each.type);
        ASSERT_NE(at, 0);
        EXPECT_EQ(card_.read_config(static_cast<std::uint8_t>(at + 2), Width::byte), each.length);
        EXPECT_EQ(card_.read_config(static_cast<std::uint8_t>(at + 4), Width::byte), 0U) << "BAR 0";
        EXPECT_EQ(card_.read_config(static_cast<std::uint8_t>(at + 8), Width::dword), each.offset);
        EXPECT_EQ(card_.read_config(static_cast<std::uint8_t>(at + 12), Width::dword), each.bytes);
    }
    EXPECT_EQ(card_.read_config(static_cast<std::uint8_t>(find(9, 2) + 16), Width::dword), 4U) << "multiplier";
    EXPECT_NE(find(9, 5), 0);
    EXPECT_NE(find(0x11, 0), 0);
}

TEST_F(VirtioNetTest, TheRegionsReachTheDevice) {
    common(0x14, Width::byte, kAcknowledge);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + 0x14}, Width::byte), kAcknowledge);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + kConfigRegion}, Width::byte), kMac[0]);
    bus_.write(GuestPhys{kBar + kNotifyRegion + 4}, Width::word, 1);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + kNotifyRegion}, Width::dword), 0U);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + kIsrRegion + 1}, Width::byte), 0U);
}

TEST_F(VirtioNetTest, ThePinSaysWhyAndReadingTakesItBack) {
    start();
    card_.port().set_carrier(false);
    EXPECT_TRUE(wire_.level);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + kIsrRegion}, Width::byte), 2U);
    EXPECT_FALSE(wire_.level);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + kIsrRegion}, Width::byte), 0U);
    card_.port().set_carrier(true);
    common(0x14, Width::byte, 0);
    EXPECT_FALSE(wire_.level) << "a reset takes it back, too";
}

TEST_F(VirtioNetTest, MessagesGoWhereTheTableSays) {
    std::uint8_t const msix = find(0x11, 0);
    card_.write_config(static_cast<std::uint8_t>(msix + 2), Width::word, 0x8000);
    bus_.write(GuestPhys{kTable + 16}, Width::dword, 0xFEE00000);
    bus_.write(GuestPhys{kTable + 24}, Width::dword, 0x41);
    bus_.write(GuestPhys{kTable + 28}, Width::dword, 0);
    start();
    card_.port().set_carrier(false);
    EXPECT_TRUE(messages_.sent.empty()) << "no vector for the configuration yet";
    common(0x10, Width::word, 1);
    card_.port().set_carrier(true);
    EXPECT_EQ(messages_.sent, (std::vector<std::pair<std::uint64_t, std::uint32_t>>{{0xFEE00000, 0x41}}));
    EXPECT_FALSE(wire_.level);
}

TEST_F(VirtioNetTest, TheWindowInConfigurationSpaceReachesTheRegions) {
    std::uint8_t const window = find(9, 5);
    auto const point = [&](std::uint32_t bar, std::uint32_t offset, std::uint32_t bytes) {
        card_.write_config(static_cast<std::uint8_t>(window + 4), Width::byte, bar);
        card_.write_config(static_cast<std::uint8_t>(window + 8), Width::dword, offset);
        card_.write_config(static_cast<std::uint8_t>(window + 12), Width::dword, bytes);
    };
    auto const data = static_cast<std::uint8_t>(window + 16);
    point(0, 0x14, 1);
    card_.write_config(data, Width::byte, kAcknowledge | kDriver);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + 0x14}, Width::byte), kAcknowledge | kDriver);
    EXPECT_EQ(card_.read_config(data, Width::byte), kAcknowledge | kDriver);
    point(0, kConfigRegion + 2, 2);
    EXPECT_EQ(card_.read_config(data, Width::word), kMac[2] | kMac[3] << 8U);
    for (auto const& [bar, offset, bytes] : std::vector<std::array<std::uint32_t, 3>>{
             {2, 0, 4}, {7, 0, 4}, {255, 0, 4}, {0, 0x4000, 4}, {0, 0xFFFFFFFC, 4}, {0, 2, 4}, {0, 0, 3}, {0, 0, 0}}) {
        point(bar, offset, bytes);
        card_.write_config(data, Width::dword, 0xFFFFFFFF);
        EXPECT_EQ(card_.read_config(data, Width::dword), 0xFFFFFFFFU) << "what was written, and nothing else";
    }
    EXPECT_EQ(bus_.read(GuestPhys{kBar + 0x14}, Width::byte), kAcknowledge | kDriver);
}

TEST_F(VirtioNetTest, MachineResetLeavesTheCable) {
    start();
    card_.reset();
    EXPECT_EQ(card_.read_config(pci::bar_offset(0), Width::dword), 0U);
    card_.write_config(pci::bar_offset(0), Width::dword, kBar);
    card_.write_config(pci::kCommand, Width::word, pci::kDecodeMemory);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + 0x14}, Width::byte), 0U);
    EXPECT_EQ(bus_.read(GuestPhys{kBar + kConfigRegion + 6}, Width::byte), 1U);
}

}  // namespace
}  // namespace backplane
