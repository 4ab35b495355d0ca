#include "device/window/window_device.h"

#include <gtest/gtest.h>

#include "device/pci/config_space.h"
#include "device/testing.h"

namespace backplane {
namespace {

using namespace window;

struct Pin final : LineInputs {
    void set_level(unsigned, bool asserted) override { level = asserted; }
    bool level{false};
};

constexpr std::uint64_t kRegisters = 0xC000'0000, kMessages = 0xC000'1000;

struct WindowDeviceTest : testing::Test {
    WindowDeviceTest() {
        device.connect(bus, InterruptLine{pin, 0}, &messages);
        write(pci::bar_offset(0), kRegisters);
        write(pci::bar_offset(1), kMessages);
        write(pci::kCommand, pci::kDecodeMemory | pci::kBusMaster);
    }
    void write(unsigned offset, std::uint64_t value) {
        device.write_config(static_cast<std::uint8_t>(offset), Width::dword, static_cast<std::uint32_t>(value));
    }
    std::uint32_t read(unsigned offset, Width width = Width::dword) {
        return device.read_config(static_cast<std::uint8_t>(offset), width);
    }
    std::uint32_t get(std::uint64_t offset) {
        return static_cast<std::uint32_t>(bus.read(GuestPhys{kRegisters + offset}, Width::dword));
    }
    void set(std::uint64_t offset, std::uint64_t value, Width width = Width::dword) {
        bus.write(GuestPhys{kRegisters + offset}, width, value);
    }
    unsigned capability(std::uint32_t id) {
        unsigned at = read(pci::kCapabilities, Width::byte);
        while (at != 0 && read(at, Width::byte) != id) at = read(at + 1, Width::byte);
        return at;
    }

    FramePool pool{*FramePool::create(1)};
    MachineClock clock;
    GuestMemory memory{pool};
    Bus bus{memory};
    Pin pin;
    MessageLog messages;
    WindowDevice device{
        {.layout = {.peers = 3, .common_bytes = 0x2000, .section_bytes = 0x4000}, .position = 2, .vectors = 2},
        bus,
        clock};
};

// What a driver of ivshmem goes by: [QEMU] ivshmem-spec, "PCI device".
TEST_F(WindowDeviceTest, LooksLikeIvshmem) {
    EXPECT_EQ(read(0), 0x1110'1AF4U);
    EXPECT_EQ(read(8), 0x0500'0001U);
    EXPECT_EQ(read(0x2C), 0x1100'1AF4U);
    EXPECT_EQ(device.bars()[0].bytes, 256U);
    EXPECT_EQ(device.bars()[2].bytes, 0x1'0000U) << "2 and 3 times 4 pages are 14; the next power of two is 16";
    EXPECT_EQ(get(kPosition), 2U);
}

TEST_F(WindowDeviceTest, ACapabilityTellsHowTheMemoryIsDivided) {
    unsigned const at = capability(kCapability);
    ASSERT_NE(at, 0U);
    EXPECT_EQ(read(at + 2, Width::byte), 24U);
    EXPECT_EQ(read(at + 3, Width::byte), 1U);
    EXPECT_EQ(read(at + 4), 3U);
    EXPECT_EQ(read(at + 8), 0x2000U);
    EXPECT_EQ(read(at + 12), 0U);
    EXPECT_EQ(read(at + 16), 0x4000U);
    EXPECT_EQ(read(at + 20), 0U);
    write(at + 4, 77);
    EXPECT_EQ(read(at + 4), 3U);
}

TEST_F(WindowDeviceTest, ThePinIsStatusAndMaskUntilStatusIsRead) {
    device.hear(0);
    EXPECT_FALSE(pin.level) << "masked after reset";
    set(kInterruptMask, 1);
    EXPECT_TRUE(pin.level);
    EXPECT_EQ(get(kInterruptStatus), 1U);
    EXPECT_FALSE(pin.level);
    EXPECT_EQ(get(kInterruptStatus), 0U) << "reading clears";
    device.hear(1);
    EXPECT_TRUE(pin.level) << "without messages all vectors are one pin";
    set(kInterruptMask, 0);
    EXPECT_FALSE(pin.level);
    set(kInterruptMask, 1);
    set(kInterruptStatus, 0);
    EXPECT_FALSE(pin.level);
}

// All that uio_pci_generic has: [PCI30] 6.2.2, 6.2.3.
TEST_F(WindowDeviceTest, CommandBit10HoldsThePinBackAndStatusBit3TellsOfIt) {
    constexpr std::uint32_t kOn = pci::kDecodeMemory | pci::kBusMaster;
    set(kInterruptMask, 1);
    write(pci::kCommand, kOn | 1U << 10);
    device.hear(0);
    EXPECT_FALSE(pin.level);
    EXPECT_NE(read(pci::kCommand) & 1U << 19, 0U);
    write(pci::kCommand, kOn);
    EXPECT_TRUE(pin.level);
    (void)get(kInterruptStatus);
    EXPECT_EQ(read(pci::kCommand) & 1U << 19, 0U);
}

TEST_F(WindowDeviceTest, WithMsixThereAreMessagesAndNoPin) {
    bus.write(GuestPhys{kMessages + 16}, Width::dword, 0xfee0'0000);
    bus.write(GuestPhys{kMessages + 24}, Width::dword, 0x41);
    bus.write(GuestPhys{kMessages + 28}, Width::dword, 0);
    write(capability(0x11), 1U << 31);
    set(kInterruptMask, 1);
    device.hear(1);
    EXPECT_FALSE(pin.level);
    EXPECT_EQ(get(kInterruptStatus), 0U);
    ASSERT_EQ(messages.sent.size(), 1U);
    EXPECT_EQ(messages.sent[0].second, 0x41U);
}

TEST_F(WindowDeviceTest, OtherRegistersAndWidthsDoNothing) {
    EXPECT_EQ(get(0x10), 0U);
    EXPECT_EQ(get(kDoorbell), 0U);
    EXPECT_EQ(bus.read(GuestPhys{kRegisters + kPosition}, Width::word), 0xffffU);
    set(kDoorbell, 0, Width::word);
    set(kInterruptMask, 1, Width::byte);
    set(kInterruptMask, ~std::uint64_t{0}, Width::qword);
    set(kPosition, 9);
    EXPECT_EQ(get(kInterruptMask), 0U);
    EXPECT_EQ(get(kPosition), 2U);
    EXPECT_EQ(device.counters().rung, 0U);
}

TEST_F(WindowDeviceTest, DoorbellsAreTakenOnceWithTheirTime) {
    clock.advance_to(Ticks{7});
    set(kDoorbell, 1U << 16 | 1);
    clock.advance_to(Ticks{8});
    set(kDoorbell, 1U << 16 | 1);
    set(kDoorbell, 3U << 16);
    set(kDoorbell, 2);
    std::vector<Doorbell> const taken = device.take_doorbells();
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(taken[0].rung, Ticks{7});
    EXPECT_EQ(taken[0].peer, 1U);
    EXPECT_EQ(taken[0].vector, 1U);
    EXPECT_TRUE(device.take_doorbells().empty());
    EXPECT_EQ(device.counters().rung, 4U);
    EXPECT_EQ(device.counters().merged, 1U);
    EXPECT_EQ(device.counters().lost, 2U);
}

}  // namespace
}  // namespace backplane
