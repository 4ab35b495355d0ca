#include "device/fw_cfg/fw_cfg.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>

#include "memory/frame_pool.h"

namespace backplane {
namespace {

std::vector<std::byte> text(std::string_view text) {
    auto const bytes = std::as_bytes(std::span{text});
    return {bytes.begin(), bytes.end()};
}

class FwCfgTest : public testing::Test {
  protected:
    static constexpr std::uint64_t kControl = 0x1000;
    static constexpr std::uint64_t kTarget = 0x2000;

    FwCfgTest() {
        EXPECT_TRUE(memory_.add_ram(GuestPage{0}, 8).has_value());
        EXPECT_TRUE(fw_cfg_.attach(bus_).has_value());
    }
    void select(unsigned item) { bus_.out(PortNumber{0x510}, Width::word, item); }
    std::string read(std::size_t count) {
        std::string result;
        for (std::size_t i = 0; i < count; ++i) result += static_cast<char>(bus_.in(PortNumber{0x511}, Width::byte));
        return result;
    }
    /// \return the control word afterwards
    std::uint32_t dma(std::uint32_t control, std::uint32_t bytes, std::uint64_t into) {
        std::array<std::byte, 16> request{};
        store(request, 0, __builtin_bswap32(control));
        store(request, 4, __builtin_bswap32(bytes));
        store(request, 8, __builtin_bswap64(into));
        EXPECT_TRUE(memory_.write(GuestPhys{kControl}, request));
        bus_.out(PortNumber{0x514}, Width::dword, 0);
        bus_.out(PortNumber{0x518}, Width::dword, __builtin_bswap32(kControl));
        std::uint32_t after = 0;
        EXPECT_TRUE(memory_.read_object(GuestPhys{kControl}, after));
        return __builtin_bswap32(after);
    }
    std::string memory(std::uint64_t at, std::size_t count) {
        std::string result(count, '?');
        EXPECT_TRUE(memory_.read(GuestPhys{at}, std::as_writable_bytes(std::span{result})));
        return result;
    }

    FramePool pool_{std::move(FramePool::create(16).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    FwCfg fw_cfg_;
};

TEST_F(FwCfgTest, Signature) {
    select(FwCfg::kSignature);
    EXPECT_EQ(read(6), std::string("QEMU\0\0", 6)) << "zeros behind the end";
    select(FwCfg::kInterface);
    EXPECT_EQ(bus_.in(PortNumber{0x511}, Width::byte), 3U);
    EXPECT_EQ(bus_.in(PortNumber{0x514}, Width::dword), __builtin_bswap32(0x5145'4d55)) << "the DMA's own signature";
    EXPECT_EQ(bus_.in(PortNumber{0x518}, Width::dword), __builtin_bswap32(0x2043'4647));
}

TEST_F(FwCfgTest, Files) {
    fw_cfg_.set_file("etc/two", text("22"));
    fw_cfg_.set_file("etc/one", text("one"));
    fw_cfg_.set_file("etc/two", text("second"));
    select(FwCfg::kDirectory);
    EXPECT_EQ(read(4), std::string("\0\0\0\2", 4));
    std::string const first = read(64);
    EXPECT_EQ(first.substr(0, 8), std::string("\0\0\0\3\0\x21\0\0", 8)) << "by name";
    EXPECT_EQ(first.substr(8).c_str(), std::string{"etc/one"});
    EXPECT_EQ(read(64).substr(0, 8), std::string("\0\0\0\6\0\x20\0\0", 8));
    select(0x21);
    EXPECT_EQ(read(3), "one");
    select(0x20);
    EXPECT_EQ(read(6), "second");
}

TEST_F(FwCfgTest, DmaReads) {
    fw_cfg_.set_file("f", text("0123456789"));
    EXPECT_EQ(dma(0x20'0000 | 8 | 2, 4, kTarget), 0U) << "select and read";
    EXPECT_EQ(memory(kTarget, 4), "0123");
    EXPECT_EQ(dma(4, 2, 0), 0U) << "skip";
    EXPECT_EQ(dma(2, 6, kTarget), 0U);
    EXPECT_EQ(memory(kTarget, 6), std::string("6789\0\0", 6));
    EXPECT_EQ(dma(4, 0xffff'ffff, 0), 0U);
}

TEST_F(FwCfgTest, DmaErrors) {
    EXPECT_EQ(dma(2, 4, 0x10'0000), 1U) << "no memory there";
    EXPECT_EQ(dma(16, 4, kTarget), 1U) << "nothing can be written";
    EXPECT_EQ(dma(2, 0xffff'ffff, kTarget), 1U) << "too long";
    bus_.out(PortNumber{0x514}, Width::dword, 0xffff'ffff);
    bus_.out(PortNumber{0x518}, Width::dword, 0);  // a control structure that is nowhere
    EXPECT_EQ(dma(2, 1, kTarget), 0U) << "and the next one works";
}

TEST_F(FwCfgTest, AnyGuestInputIsLegal) {
    std::mt19937 random{510};
    Width const widths[]{Width::byte, Width::word, Width::dword};
    for (int i = 0; i < 50'000; ++i) {
        PortNumber const port{static_cast<std::uint16_t>(0x510 + random() % 12)};
        if (random() % 2 == 0)
            bus_.out(port, widths[random() % 3], random() & (random() % 2 == 0 ? 0x3f : 0xffff'ffff));
        else
            static_cast<void>(bus_.in(port, widths[random() % 3]));
    }
}

}  // namespace
}  // namespace backplane
