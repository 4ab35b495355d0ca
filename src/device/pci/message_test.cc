// MSI and MSI-X of a function, through its configuration space and the table's BAR.
#include <gtest/gtest.h>

#include <array>
#include <utility>
#include <vector>

#include "device/pci/config_space.h"
#include "device/pci/function.h"
#include "device/pci/host.h"
#include "device/testing.h"
#include "memory/frame_pool.h"

namespace backplane {
namespace {

class OneLine final : public LineInputs {
  public:
    void set_level(unsigned /*number*/, bool asserted) override { level = asserted; }
    bool level{false};
};

constexpr PciIdentity kIdentity{0x1af4, 0x1041, 0x02'0000, 1, 0x1af4, 1, 1};
constexpr std::array<std::byte, 3> kVendorContents{std::byte{7}, std::byte{8}, std::byte{9}};
constexpr std::array<std::byte, 1> kVendorWritable{std::byte{0x0f}};
constexpr std::uint8_t kVendorAt = 0x40;
constexpr std::uint8_t kMsiAt = 0x48;
constexpr std::uint8_t kMsixAt = 0x60;
constexpr std::uint64_t kBarAddress = 0xc000'0000;

class FakeFunction final : public PciFunction {
  public:
    explicit FakeFunction(MsixTable& table)
        : PciFunction{"fake", kIdentity, {PciBar{PciBar::Kind::memory32, table.bank_bytes(), false, &table, {}}}} {
        EXPECT_EQ(add_capability(pci::kVendorCapability, kVendorContents, kVendorWritable), kVendorAt);
        add_msi(4);
        add_msix(table, 0);
    }
    using PciFunction::send_message;
    using PciFunction::set_interrupt;
    void capability_written(std::uint8_t offset) override { last_written = offset; }
    std::uint8_t last_written{0};
};

class MessageTest : public testing::Test {
  protected:
    MessageTest() {
        function_.connect(bus_, InterruptLine{line_, 0}, &sink_);
        config(pci::bar_offset(0), kBarAddress);
        config(pci::kCommand, pci::kDecodeMemory | pci::kBusMaster);
    }
    void config(unsigned offset, std::uint64_t value, Width width = Width::dword) {
        function_.write_config(static_cast<std::uint8_t>(offset), width, static_cast<std::uint32_t>(value));
    }
    std::uint32_t config(unsigned offset) {
        return function_.read_config(static_cast<std::uint8_t>(offset), Width::dword);
    }
    void table(unsigned vector, std::uint64_t address, std::uint32_t data, std::uint32_t control) {
        bus_.write(GuestPhys{kBarAddress + 16 * vector}, Width::qword, address);
        bus_.write(GuestPhys{kBarAddress + 16 * vector + 8}, Width::dword, data);
        bus_.write(GuestPhys{kBarAddress + 16 * vector + 12}, Width::dword, control);
    }
    void enable_msix(std::uint16_t more = 0) { config(kMsixAt + 2, 0x8000U | more, Width::word); }
    std::uint64_t pending() { return bus_.read(GuestPhys{kBarAddress + table_.pending_offset()}, Width::qword); }
    void enable_msi(std::uint16_t log_vectors) {
        config(kMsiAt + 4, 0xfee0'1003);  // the low bits are not writable
        config(kMsiAt + 8, 0);
        config(kMsiAt + 12, 0x4550);
        config(kMsiAt + 2, log_vectors << 4 | 1U, Width::word);
    }

    FramePool pool_{std::move(FramePool::create(8).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    MessageLog sink_;
    OneLine line_;
    MsixTable table_{3};
    FakeFunction function_{table_};
    using Messages = std::vector<std::pair<std::uint64_t, std::uint32_t>>;
};

// [PCI30] 6.7.
TEST_F(MessageTest, CapabilitiesAreAList) {
    EXPECT_EQ(config(pci::kCommand) & pci::kHasCapabilities, pci::kHasCapabilities);
    EXPECT_EQ(config(pci::kCapabilities), kVendorAt);
    EXPECT_EQ(config(kVendorAt), 0x0807'0000U | kMsiAt << 8 | 0x09);
    EXPECT_EQ(config(kVendorAt + 4), 9U);
    EXPECT_EQ(config(kMsiAt), 0x0184'0000U | kMsixAt << 8 | 0x05) << "4 vectors, 64 bits, maskable";
    EXPECT_EQ(config(kMsixAt), 0x0002'0011U) << "3 vectors, the last capability";
    EXPECT_EQ(config(kMsixAt + 4), 0U);
    EXPECT_EQ(config(kMsixAt + 8), 2048U);
}

TEST_F(MessageTest, OnlyWritableBitsOfACapabilityChange) {
    config(kVendorAt, 0xffff'ffff);
    EXPECT_EQ(config(kVendorAt), 0x080f'0000U | kMsiAt << 8 | 0x09);
    EXPECT_EQ(function_.last_written, kVendorAt);
    function_.reset_config();
    EXPECT_EQ(config(kVendorAt), 0x0807'0000U | kMsiAt << 8 | 0x09);
}

TEST_F(MessageTest, WithoutEnableThePinIsUsed) {
    EXPECT_FALSE(function_.send_message(0));
    function_.set_interrupt(true);
    EXPECT_TRUE(line_.level);
    EXPECT_TRUE(sink_.sent.empty());
}

// [PCI30] 6.8.1.3: a function that is enabled for messages does not use its pin.
TEST_F(MessageTest, MessagesSilenceThePin) {
    function_.set_interrupt(true);
    enable_msix();
    EXPECT_FALSE(line_.level);
    config(kMsixAt + 2, 0, Width::word);
    EXPECT_TRUE(line_.level);
    enable_msi(0);
    EXPECT_FALSE(line_.level);
}

TEST_F(MessageTest, MsixSendsAddressAndData) {
    table(1, 0x1'fee0'3000, 0x41, 0);
    enable_msix();
    EXPECT_TRUE(function_.send_message(1));
    EXPECT_EQ(sink_.sent, (Messages{{0x1'fee0'3000, 0x41}}));
    EXPECT_EQ(pending(), 0U);
}

// [PCI30] 6.8.3.4.
TEST_F(MessageTest, AMaskedVectorIsPendingUntilItIsUnmasked) {
    enable_msix();
    table(2, 0xfee0'0000, 0x30, 1);
    EXPECT_TRUE(function_.send_message(2));
    EXPECT_TRUE(function_.send_message(2));
    EXPECT_TRUE(sink_.sent.empty());
    EXPECT_EQ(pending(), 4U);
    bus_.write(GuestPhys{kBarAddress + table_.pending_offset()}, Width::qword, 0);
    EXPECT_EQ(pending(), 4U) << "the guest cannot change it";
    table(2, 0xfee0'0000, 0x31, 0);
    EXPECT_EQ(sink_.sent, (Messages{{0xfee0'0000, 0x31}})) << "once, with the data of now";
    EXPECT_EQ(pending(), 0U);
}

TEST_F(MessageTest, TheFunctionMaskAndBusMasteringHoldMessagesBack) {
    table(0, 0xfee0'0000, 0x30, 0);
    enable_msix(0x4000);
    function_.send_message(0);
    EXPECT_EQ(pending(), 1U);
    config(pci::kCommand, pci::kDecodeMemory);
    enable_msix();
    EXPECT_TRUE(sink_.sent.empty()) << "no bus master";
    config(pci::kCommand, pci::kDecodeMemory | pci::kBusMaster);
    EXPECT_EQ(sink_.sent.size(), 1U);
}

TEST_F(MessageTest, AVectorThatIsNotThereIsDropped) {
    enable_msix();
    EXPECT_TRUE(function_.send_message(3));
    EXPECT_TRUE(function_.send_message(0xffff));
    EXPECT_EQ(pending(), 0U);
}

TEST_F(MessageTest, TheTableTakesEveryWidth) {
    table(0, 0xfee0'0000, 0x1122'3344, 1);
    bus_.write(GuestPhys{kBarAddress + 9}, Width::byte, 0xaa);
    bus_.write(GuestPhys{kBarAddress + 10}, Width::word, 0xbbcc);
    EXPECT_EQ(bus_.read(GuestPhys{kBarAddress + 8}, Width::dword), 0xbbcc'aa44U);
    EXPECT_EQ(bus_.read(GuestPhys{kBarAddress + 8}, Width::qword), 0x1'bbcc'aa44U);
    EXPECT_EQ(bus_.read(GuestPhys{kBarAddress + 7}, Width::dword), 0xccaa'4400U) << "across two dwords";
    bus_.write(GuestPhys{kBarAddress + 16 * 3}, Width::qword, ~0ULL);
    EXPECT_EQ(bus_.read(GuestPhys{kBarAddress + 16 * 3}, Width::qword), 0U) << "beyond the table";
}

TEST_F(MessageTest, ResetMasksEverything) {
    table(0, 0xfee0'0000, 0x30, 0);
    enable_msix();
    function_.reset_config();
    EXPECT_FALSE(function_.send_message(0));
    config(pci::bar_offset(0), kBarAddress);
    config(pci::kCommand, pci::kDecodeMemory | pci::kBusMaster);
    EXPECT_EQ(bus_.read(GuestPhys{kBarAddress + 12}, Width::dword), 1U);
}

// [PCI30] 6.8.1.6: the low bits of the data say which vector.
TEST_F(MessageTest, MsiPutsTheVectorIntoTheData) {
    enable_msi(2);
    EXPECT_TRUE(function_.send_message(3));
    EXPECT_EQ(sink_.sent, (Messages{{0xfee0'1000, 0x4553}}));
}

TEST_F(MessageTest, MsiFoldsWhatIsNotEnabled) {
    enable_msi(0);
    function_.send_message(3);
    enable_msi(7);  // more than the function has
    function_.send_message(3);
    EXPECT_EQ(sink_.sent, (Messages{{0xfee0'1000, 0x4550}, {0xfee0'1000, 0x4553}}));
}

TEST_F(MessageTest, MsiMaskAndPending) {
    enable_msi(2);
    config(kMsiAt + 16, 0xffff'ffff);
    EXPECT_EQ(config(kMsiAt + 16), 0xfU) << "four vectors";
    function_.send_message(1);
    EXPECT_EQ(config(kMsiAt + 20), 2U);
    EXPECT_TRUE(sink_.sent.empty());
    config(kMsiAt + 16, 0);
    EXPECT_EQ(config(kMsiAt + 20), 0U);
    EXPECT_EQ(sink_.sent, (Messages{{0xfee0'1000, 0x4551}}));
}

}  // namespace
}  // namespace backplane
