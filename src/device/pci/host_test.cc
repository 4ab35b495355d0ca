#include "device/pci/host.h"

#include <gtest/gtest.h>

#include <random>

#include "device/pci/config_space.h"
#include "memory/frame_pool.h"

namespace backplane {
namespace {

class FakeBank final : public RegisterBank {
  public:
    [[nodiscard]] std::string_view name() const override { return "fake"; }
    [[nodiscard]] std::uint64_t read(std::uint64_t offset, Width /*width*/) override { return 0xa0 + offset; }
    void write(std::uint64_t offset, Width /*width*/, std::uint64_t value) override {
        last_offset = offset;
        last_value = value;
    }
    std::uint64_t last_offset{~0ULL};
    std::uint64_t last_value{0};
};

class FakeFunction final : public PciFunction {
  public:
    using PciFunction::is_bus_master;
    using PciFunction::PciFunction;
    using PciFunction::set_interrupt;
};

class RecordingLines final : public LineInputs {
  public:
    void set_level(unsigned number, bool asserted) override {
        levels = asserted ? levels | 1U << number : levels & ~(1U << number);
    }
    std::uint32_t levels{0};
};

class CountingObserver final : public TranslationObserver {
  public:
    void drop_pages(GuestPage /*first*/, std::uint64_t count) override { dropped += count; }
    void watch_stores(GuestPage /*page*/) override {}
    void code_written(GuestPhys /*start*/, std::uint64_t /*bytes*/) override {}
    std::uint64_t dropped{0};
};

constexpr PciIdentity kNic{0x8086, 0x100e, 0x02'0000, 3, 0x1af4, 0x1100, 1};
constexpr PciWindows kWindows{GuestPhys{0xc000'0000}, 0x1000'0000, PortNumber{0xc000}, 0x1000};

class PciHostTest : public testing::Test {
  protected:
    static constexpr unsigned kSlot = 3;
    static constexpr std::uint64_t kFrameCount = 4;

    PciHostTest() {
        window_.pages()
            .map(GuestPage{0}, frames_, kFrameCount, OwnerState::owner_exclusive, Access::read_write)
            .run();
        EXPECT_TRUE(memory_.add_ram(GuestPage{0}, 16).has_value());
        EXPECT_TRUE(bus_.attach_ports(PciHost::kPorts, PciHost::kPortCount, host_).has_value());
        EXPECT_TRUE(host_.plug(kSlot, nic_).has_value());
    }
    void select(unsigned slot, unsigned offset, unsigned bus = 0, unsigned function = 0) {
        bus_.out(PortNumber{0xcf8}, Width::dword, 1U << 31 | bus << 16 | slot << 11 | function << 8 | offset);
    }
    std::uint32_t read(unsigned slot, unsigned offset) {
        select(slot, offset);
        return static_cast<std::uint32_t>(bus_.in(PortNumber{0xcfc}, Width::dword));
    }
    void write(unsigned slot, unsigned offset, std::uint32_t value) {
        select(slot, offset);
        bus_.out(PortNumber{0xcfc}, Width::dword, value);
    }
    std::uint64_t load_at(std::uint64_t address) { return bus_.read(GuestPhys{address}, Width::dword); }

    FramePool pool_{std::move(FramePool::create(64).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    RecordingLines lines_;
    PciHost host_{bus_, lines_};
    FakeBank registers_;
    FakeBank ports_;
    FrameNumber frames_{pool_.allocate(kFrameCount).value()};
    PageWindow window_{kFrameCount};
    FakeFunction nic_{"nic",
                      kNic,
                      {PciBar{PciBar::Kind::memory32, 0x2'0000, false, &registers_, {}},
                       PciBar{PciBar::Kind::io, 64, false, &ports_, {}},
                       PciBar{PciBar::Kind::memory64, kFrameCount* kPageBytes, true, nullptr, &window_}}};
};

// [PCI30] 3.2.2.3.2.
TEST_F(PciHostTest, MechanismOne) {
    select(kSlot, 0xff);
    EXPECT_EQ(bus_.in(PortNumber{0xcf8}, Width::dword), 0x8000'18fcU) << "bits 1:0 read as 0";
    bus_.out(PortNumber{0xcf8}, Width::dword, 0xffff'ffff);
    EXPECT_EQ(bus_.in(PortNumber{0xcf8}, Width::dword), 0x80ff'fffcU);
    select(kSlot, 0);
    bus_.out(PortNumber{0xcf8}, Width::byte, 0);
    bus_.out(PortNumber{0xcfa}, Width::word, 0);
    EXPECT_EQ(bus_.in(PortNumber{0xcfc}, Width::dword), 0x100e'8086U) << "the address takes dwords only";
    EXPECT_EQ(bus_.in(PortNumber{0xcfe}, Width::word), 0x100eU);
    EXPECT_EQ(bus_.in(PortNumber{0xcfd}, Width::byte), 0x80U);
    EXPECT_EQ(bus_.in(PortNumber{0xcfd}, Width::word), 0x0e80U);
    EXPECT_EQ(bus_.in(PortNumber{0xcfb}, Width::byte), 0xffU);
    bus_.out(PortNumber{0xcf8}, Width::dword, kSlot << 11);
    EXPECT_EQ(bus_.in(PortNumber{0xcfc}, Width::dword), 0xffff'ffffU) << "not enabled";
}

TEST_F(PciHostTest, WhatIsNotThereReadsAsOnes) {
    EXPECT_EQ(read(4, 0), 0xffff'ffffU);
    select(kSlot, 0, 1);
    EXPECT_EQ(bus_.in(PortNumber{0xcfc}, Width::dword), 0xffff'ffffU) << "bus 1";
    select(kSlot, 0, 0, 1);
    EXPECT_EQ(bus_.in(PortNumber{0xcfc}, Width::dword), 0xffff'ffffU) << "function 1";
    write(4, 4, 7);
    EXPECT_EQ(read(0, 0), 0x1237'8086U);
    EXPECT_EQ(read(0, 8), 0x0600'0002U);
    EXPECT_EQ(read(0, 0x0c) >> 16, 0U) << "header type 0, one function";
}

// [PCIFW] 4.1: a function's configuration space at slot << 15, function << 12.
TEST_F(PciHostTest, MemoryMappedConfiguration) {
    constexpr GuestPhys kEcam{0xb000'0000};
    ASSERT_TRUE(bus_.attach(kEcam, PciHost::kEcamBytes, host_.ecam()).has_value());
    GuestPhys const config = kEcam + (kSlot << 15);
    EXPECT_EQ(bus_.read(config, Width::dword), 0x100e'8086U);
    EXPECT_EQ(bus_.read(config + 2, Width::byte), 0x0eU);
    EXPECT_EQ(bus_.read(config, Width::qword), 0x100e'8086U | std::uint64_t{read(kSlot, 4)} << 32);
    bus_.write(config + 0x3c, Width::byte, 0x5a);
    EXPECT_EQ(read(kSlot, 0x3c) & 0xff, 0x5aU);
    EXPECT_EQ(bus_.read(config + 0x100, Width::dword), 0xffff'ffffU) << "no extended space";
    EXPECT_EQ(bus_.read(config + 0x1000, Width::dword), 0xffff'ffffU) << "function 1";
    EXPECT_EQ(bus_.read(kEcam + (4U << 15), Width::dword), 0xffff'ffffU) << "an empty slot";
    bus_.write(kEcam + (4U << 15), Width::qword, 1);
    bus_.write(config + 0x13c, Width::byte, 0);
    EXPECT_EQ(read(kSlot, 0x3c) & 0xff, 0x5aU);
}

// [PCI30] 6.1, 6.2.
TEST_F(PciHostTest, TheHeaderShowsTheIdentity) {
    EXPECT_EQ(read(kSlot, 0x00), 0x100e'8086U);
    EXPECT_EQ(read(kSlot, 0x08), 0x0200'0003U);
    EXPECT_EQ(read(kSlot, 0x2c), 0x1100'1af4U);
    EXPECT_EQ(read(kSlot, 0x3c), 0x0000'0100U);
    write(kSlot, 0x00, 0xffff'ffff);
    write(kSlot, 0x08, 0xffff'ffff);
    write(kSlot, 0x2c, 0xffff'ffff);
    write(kSlot, 0x3c, 0xffff'ffff);
    EXPECT_EQ(read(kSlot, 0x00), 0x100e'8086U);
    EXPECT_EQ(read(kSlot, 0x08), 0x0200'0003U);
    EXPECT_EQ(read(kSlot, 0x2c), 0x1100'1af4U);
    EXPECT_EQ(read(kSlot, 0x3c), 0x0000'01ffU) << "only the interrupt line";
    write(kSlot, 0x04, 0xffff'ffff);
    EXPECT_EQ(read(kSlot, 0x04), 0x0000'0557U);
    EXPECT_TRUE(nic_.is_bus_master());
}

// [PCI30] 6.2.5.1.
TEST_F(PciHostTest, SizingOfBaseAddressRegisters) {
    EXPECT_EQ(read(kSlot, 0x10), 0U);
    EXPECT_EQ(read(kSlot, 0x14), 1U);
    EXPECT_EQ(read(kSlot, 0x18), 0xcU) << "64-bit, prefetchable";
    for (unsigned bar = 0x10; bar <= 0x24; bar += 4) write(kSlot, bar, 0xffff'ffff);
    EXPECT_EQ(read(kSlot, 0x10), 0xfffe'0000U);
    EXPECT_EQ(read(kSlot, 0x14), 0xffff'ffc1U);
    EXPECT_EQ(read(kSlot, 0x18), 0xffff'c00cU);
    EXPECT_EQ(read(kSlot, 0x1c), 0xffff'ffffU);
    EXPECT_EQ(read(kSlot, 0x20), 0U);
    EXPECT_EQ(read(kSlot, 0x24), 0U);
}

TEST_F(PciHostTest, BarsAreDecodedWhileTheCommandRegisterSaysSo) {
    write(kSlot, 0x10, 0xd000'0000);
    write(kSlot, 0x14, 0xd000);
    EXPECT_EQ(load_at(0xd000'0010), 0xffff'ffffU);
    write(kSlot, 0x04, pci::kDecodeMemory);
    EXPECT_EQ(load_at(0xd000'0010), 0xb0U);
    EXPECT_EQ(bus_.in(PortNumber{0xd004}, Width::dword), 0xffff'ffffU);
    write(kSlot, 0x04, pci::kDecodeMemory | pci::kDecodeIo);
    EXPECT_EQ(bus_.in(PortNumber{0xd004}, Width::dword), 0xa4U);
    write(kSlot, 0x10, 0xd100'0000);
    EXPECT_EQ(load_at(0xd000'0010), 0xffff'ffffU);
    EXPECT_EQ(load_at(0xd100'0010), 0xb0U);
    write(kSlot, 0x04, 0);
    EXPECT_EQ(load_at(0xd100'0010), 0xffff'ffffU);
    EXPECT_EQ(bus_.in(PortNumber{0xd004}, Width::dword), 0xffff'ffffU);
    EXPECT_EQ(nic_.refused_mapping_count(), 0U);
}

TEST_F(PciHostTest, BarsOverSomethingElseAreNotDecoded) {
    FakeBank other;
    ASSERT_TRUE(bus_.attach(GuestPhys{0xfec0'0000}, 0x1000, other).has_value());
    write(kSlot, 0x04, pci::kDecodeMemory | pci::kDecodeIo);
    EXPECT_EQ(nic_.refused_mapping_count(), 0U) << "BARs at 0 are not assigned";
    write(kSlot, 0x10, 0xfec0'0000);
    EXPECT_EQ(nic_.refused_mapping_count(), 1U);
    write(kSlot, 0x14, 0xcc0);  // 0xCC0 to 0xCFF: our own configuration ports
    EXPECT_GT(nic_.refused_mapping_count(), 1U);
    EXPECT_EQ(read(kSlot, 0x14), 0xcc1U);
    write(kSlot, 0x14, 0xffff'ffff);
    EXPECT_EQ(nic_.decoded_at(1), std::nullopt) << "no such port";
    write(kSlot, 0x10, 0xd000'0000);
    EXPECT_EQ(load_at(0xd000'0010), 0xb0U) << "works again elsewhere";
}

TEST_F(PciHostTest, RamKeepsItsAddresses) {
    FrameNumber const frame = pool_.allocate(1).value();
    memory_.map().map(GuestPage{0xd001f}, frame, 1, OwnerState::owner_lent, Access::none).run();
    write(kSlot, 0x10, 0xd000'0000);
    write(kSlot, 0x04, pci::kDecodeMemory);
    EXPECT_EQ(nic_.decoded_at(0), std::nullopt) << "the last page of the BAR was lent out and will come back";
    write(kSlot, 0x18, 0x4000);
    EXPECT_EQ(nic_.decoded_at(2), std::nullopt);
    EXPECT_EQ(memory_.map().lookup(GuestPage{4}).owner, OwnerState::owner_exclusive);
}

TEST_F(PciHostTest, PagesAreMappedAsRamWithTheirInvalidationRun) {
    CountingObserver observer;
    memory_.map().add_observer(observer);
    write(kSlot, 0x18, 0x4000'0000);
    write(kSlot, 0x1c, 0x40);
    write(kSlot, 0x04, pci::kDecodeMemory);
    std::uint64_t const page = 0x40'4000'0000 >> kPageShift;
    EXPECT_EQ(observer.dropped, kFrameCount);
    EXPECT_EQ(memory_.map().lookup(GuestPage{page + 3}).frame.value(), frames_.value() + 3);
    EXPECT_TRUE(bus_.is_plain_ram(GuestPage{page}));
    bus_.write(GuestPhys{0x40'4000'0008}, Width::dword, 0x1234'5678);
    write(kSlot, 0x1c, 0x41);
    EXPECT_EQ(load_at(0x40'4000'0008), 0xffff'ffffU);
    EXPECT_EQ(load_at(0x41'4000'0008), 0x1234'5678U) << "the contents move along";
    EXPECT_EQ(observer.dropped, 3 * kFrameCount);
    write(kSlot, 0x1c, 0xffff'ffff);
    EXPECT_EQ(nic_.decoded_at(2), std::nullopt) << "beyond the physical addresses";
    memory_.map().remove_observer(observer);
}

TEST_F(PciHostTest, PagesKeepTheirOwnersWhenTheirBarMoves) {
    write(kSlot, 0x18, 0x4000'0000);
    write(kSlot, 0x1c, 0x40);
    write(kSlot, 0x04, pci::kDecodeMemory);
    window_.pages().unmap(GuestPage{1}, 1).run();
    GuestPage const second{(0x40'4000'0000 >> kPageShift) + 1};
    EXPECT_EQ(memory_.map().lookup(second).owner, OwnerState::none);
    write(kSlot, 0x1c, 0x41);
    GuestPage const moved{(0x41'4000'0000 >> kPageShift) + 1};
    EXPECT_EQ(memory_.map().lookup(moved).owner, OwnerState::none) << "a page that was given away stays away";
    EXPECT_EQ(memory_.map().lookup(GuestPage{moved.value() + 1}).owner, OwnerState::owner_exclusive);
    write(kSlot, 0x04, 0);
    window_.pages().map(GuestPage{1}, frames_, 1, OwnerState::borrower_shared, Access::read).run();
    EXPECT_EQ(memory_.map().lookup(moved).owner, OwnerState::none) << "not decoded";
    write(kSlot, 0x04, pci::kDecodeMemory);
    EXPECT_EQ(memory_.map().lookup(moved).owner, OwnerState::borrower_shared);
}

TEST_F(PciHostTest, PagesAreNotMappedUnderRegisters) {
    FakeBank other;
    ASSERT_TRUE(bus_.attach(GuestPhys{0xd000'3000}, 0x10, other).has_value());
    write(kSlot, 0x18, 0xd000'0000);
    write(kSlot, 0x04, pci::kDecodeMemory);
    EXPECT_EQ(nic_.decoded_at(2), std::nullopt);
    EXPECT_EQ(memory_.map().lookup(GuestPage{0xd0000}).owner, OwnerState::none);
}

// [PCI30] 6.2.2, 6.2.3, 2.2.6.
TEST_F(PciHostTest, InterruptDisableAndStatus) {
    nic_.set_interrupt(true);
    EXPECT_EQ(lines_.levels, 1U << 19) << "slot 3 is input 16 + 3";
    EXPECT_EQ(read(kSlot, 0x04), 1U << 19) << "Interrupt Status";
    write(kSlot, 0x04, pci::kInterruptDisable);
    EXPECT_EQ(lines_.levels, 0U);
    EXPECT_EQ(read(kSlot, 0x04), 1U << 19 | pci::kInterruptDisable);
    write(kSlot, 0x04, 0);
    EXPECT_EQ(lines_.levels, 1U << 19);
    nic_.set_interrupt(false);
    EXPECT_EQ(lines_.levels, 0U);
}

TEST_F(PciHostTest, SlotsShareInputs) {
    FakeFunction other{"other", kNic, {}};
    ASSERT_TRUE(host_.plug(7, other).has_value());
    EXPECT_EQ(IntxRouter::input_of(7), IntxRouter::input_of(kSlot));
    nic_.set_interrupt(true);
    other.set_interrupt(true);
    nic_.set_interrupt(false);
    EXPECT_EQ(lines_.levels, 1U << 19) << "the other still asserts";
    other.set_interrupt(false);
    EXPECT_EQ(lines_.levels, 0U);
}

TEST_F(PciHostTest, PlugRefuses) {
    FakeFunction other{"other", kNic, {}};
    EXPECT_FALSE(host_.plug(32, other).has_value());
    EXPECT_FALSE(host_.plug(kSlot, other).has_value());
    EXPECT_FALSE(host_.plug(0, other).has_value()) << "the host bridge";
    PciIdentity identity = kNic;
    identity.interrupt_pin = 2;
    FakeFunction pin_b{"pin-b", identity, {}};
    EXPECT_FALSE(host_.plug(5, pin_b).has_value());
}

TEST_F(PciHostTest, AssignsBarsLargestFirst) {
    FakeBank big;
    FakeFunction other{"other", kNic, {PciBar{PciBar::Kind::memory32, 0x10'0000, false, &big, {}}}};
    ASSERT_TRUE(host_.plug(9, other).has_value());
    ASSERT_TRUE(host_.assign_bars(kWindows).has_value());
    EXPECT_EQ(read(9, 0x10), 0xc000'0000U);
    EXPECT_EQ(read(kSlot, 0x10), 0xc010'0000U);
    EXPECT_EQ(read(kSlot, 0x14), 0xc001U);
    EXPECT_EQ(read(kSlot, 0x18), 0xc012'000cU);
    EXPECT_EQ(read(kSlot, 0x04) & 7, 3U) << "decoding on, bus master off";
    EXPECT_EQ(read(9, 0x04) & 7, 2U);
    EXPECT_EQ(read(kSlot, 0x3c), 0x0113U);
    EXPECT_EQ(load_at(0xc010'0004), 0xa4U);
    host_.reset();
    EXPECT_EQ(load_at(0xc010'0004), 0xffff'ffffU);
    EXPECT_EQ(read(kSlot, 0x10), 0U);
    EXPECT_TRUE(host_.assign_bars(kWindows).has_value()) << "again after a reset";
}

TEST_F(PciHostTest, AssignSaysWhatDoesNotFit) {
    auto small = host_.assign_bars({GuestPhys{0xc000'0000}, 0x1'0000, PortNumber{0xc000}, 0x1000});
    ASSERT_FALSE(small.has_value());
    EXPECT_EQ(small.error().message, "nic, BAR 0: does not fit into the PCI window");
    EXPECT_FALSE(host_.assign_bars({GuestPhys{0xc000'0000}, 0x1000'0000, PortNumber{0xc000}, 32}).has_value());
    host_.reset();
    FakeBank other;
    ASSERT_TRUE(bus_.attach(GuestPhys{0xc000'0000}, 0x10, other).has_value());
    EXPECT_FALSE(host_.assign_bars(kWindows).has_value());
}

TEST_F(PciHostTest, TheResetRegisterLiesBetweenTheConfigurationPorts) {
    FakeBank reset;
    EXPECT_EQ(bus_.in(PortNumber{0xcf9}, Width::byte), 0xffU);
    host_.set_reset_register(reset);
    select(kSlot, 0);
    EXPECT_EQ(reset.last_offset, ~0ULL) << "a dword at 0xCF8 is the address";
    bus_.out(PortNumber{0xcf9}, Width::byte, 6);
    EXPECT_EQ(reset.last_offset, 0U);
    EXPECT_EQ(reset.last_value, 6U);
    EXPECT_EQ(bus_.in(PortNumber{0xcf9}, Width::byte), 0xa0U);
    EXPECT_EQ(bus_.in(PortNumber{0xcfc}, Width::dword), 0x100e'8086U);
}

TEST_F(PciHostTest, RandomAccessesDoNoHarm) {
    std::mt19937_64 random{43};
    std::array constexpr kWidths{Width::byte, Width::word, Width::dword, Width::qword};
    for (int i = 0; i < 50'000; ++i) {
        if (random() % 2 == 0) select(random() % 2 == 0 ? kSlot : 0, random() % 64);
        Width const width = kWidths[random() % 4];
        std::uint64_t const value = random() >> (random() % 64);
        bus_.out(PortNumber{static_cast<std::uint16_t>(0xcf8 + random() % 8)}, width, value & ones(width));
        static_cast<void>(bus_.in(PortNumber{static_cast<std::uint16_t>(0xcf8 + random() % 8)}, width));
        static_cast<void>(host_.read(random() % 8, width));
    }
    for (std::uint64_t page = 0; page < 16; ++page) EXPECT_TRUE(bus_.is_plain_ram(GuestPage{page}));
    host_.reset();
    EXPECT_EQ(read(kSlot, 0), 0x100e'8086U);
}

}  // namespace
}  // namespace backplane
