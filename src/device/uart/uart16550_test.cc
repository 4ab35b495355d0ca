#include "device/uart/uart16550.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "device/testing.h"

namespace backplane {
namespace {

class RecordingLines final : public LineInputs {
  public:
    void set_level(unsigned number, bool asserted) override {
        if (number == 4) level = asserted;
    }
    bool level{false};
};

class Uart16550Test : public testing::Test {
  protected:
    enum Port : std::uint64_t { kData, kIer, kIir, kLcr, kMcr, kLsr, kMsr, kScratch };
    unsigned in(std::uint64_t port) { return static_cast<unsigned>(uart_.read(port, Width::byte)); }
    void out(std::uint64_t port, unsigned value) { uart_.write(port, Width::byte, value); }
    std::size_t push(std::string_view text) { return uart_.push(std::as_bytes(std::span{text.data(), text.size()})); }

    TextSink sink_;
    RecordingLines lines_;
    Uart16550 uart_{sink_, InterruptLine{lines_, 4}};
};

TEST_F(Uart16550Test, SendsAtOnceAndIsAlwaysEmpty) {
    out(kData, 'h');
    out(kData, 'i');
    EXPECT_EQ(sink_.text, "hi");
    EXPECT_EQ(in(kLsr), 0x60U);
}

// [PC16550D] 8.3.
TEST_F(Uart16550Test, TheDivisorLatchHidesDataAndInterruptEnable) {
    out(kIer, 0x05);
    out(kLcr, 0x83);
    out(kData, 0x0c);
    out(kIer, 0x34);
    EXPECT_EQ(in(kData), 0x0cU);
    EXPECT_EQ(in(kIer), 0x34U);
    out(kLcr, 0x03);
    EXPECT_EQ(in(kIer), 0x05U);
    EXPECT_EQ(in(kLcr), 0x03U);
    EXPECT_EQ(sink_.text, "");
}

// The steps by which Linux' 8250 driver tells a 16550A from its relatives (autoconfig).
TEST_F(Uart16550Test, IsProbedAsA16550A) {
    out(kIer, 0xff);
    EXPECT_EQ(in(kIer), 0x0fU) << "no bits of an XScale or 16750 port";
    out(kIer, 0);
    out(kMcr, 0x1a);
    EXPECT_EQ(in(kMsr)&0xf0, 0x90U) << "loopback of RTS and OUT2";
    out(kMcr, 0x0b);
    out(kIir, 0x01);
    EXPECT_EQ(in(kIir) >> 6, 3U);
    out(kIir, 0x21);
    EXPECT_EQ(in(kIir)&0x20, 0U) << "no 64-byte FIFO";
    out(kIir, 0);
    EXPECT_EQ(in(kIir) >> 6, 0U);
    out(kScratch, 0x5a);
    EXPECT_EQ(in(kScratch), 0x5aU);
}

// [PC16550D] 8.6.1, table V.
TEST_F(Uart16550Test, TransmitterInterruptIsRaisedByEnablingAndByWriting) {
    out(kMcr, 0x08);
    out(kIer, 0x02);
    EXPECT_TRUE(lines_.level);
    EXPECT_EQ(in(kIir), 0x02U);
    EXPECT_FALSE(lines_.level) << "reading IIR ends it";
    EXPECT_EQ(in(kIir), 0x01U);
    out(kData, 'x');
    EXPECT_TRUE(lines_.level);
    out(kIer, 0x00);
    EXPECT_FALSE(lines_.level);
}

TEST_F(Uart16550Test, Out2GatesTheLine) {
    out(kIer, 0x02);
    EXPECT_FALSE(lines_.level);
    out(kMcr, 0x08);
    EXPECT_TRUE(lines_.level);
}

// [PC16550D] 8.6.1, 8.11: available data above the trigger, timeout below it.
TEST_F(Uart16550Test, ReceiveInterruptsFollowTheTriggerLevel) {
    out(kMcr, 0x08);
    out(kIir, 0x41);  // 4 bytes
    out(kIer, 0x01);
    EXPECT_EQ(push("abc"), 3U);
    EXPECT_TRUE(lines_.level);
    EXPECT_EQ(in(kIir), 0xccU);
    EXPECT_EQ(push("d"), 1U);
    EXPECT_EQ(in(kIir), 0xc4U);
    EXPECT_EQ(in(kLsr), 0x61U);
    for (char const expected : std::string{"abcd"}) EXPECT_EQ(in(kData), static_cast<unsigned>(expected));
    EXPECT_FALSE(lines_.level);
    EXPECT_EQ(in(kLsr), 0x60U);
    EXPECT_EQ(in(kData), 0U) << "an empty FIFO";
}

TEST_F(Uart16550Test, PushTakesWhatFits) {
    EXPECT_EQ(uart_.room(), 1U);
    EXPECT_EQ(push("ab"), 1U);
    out(kIir, 0x01);
    EXPECT_EQ(uart_.room(), 16U) << "switching the FIFOs on empties them";
    EXPECT_EQ(push("0123456789abcdefXYZ"), 16U);
    EXPECT_EQ(uart_.room(), 0U);
    EXPECT_EQ(in(kLsr)&0x02, 0U) << "nothing was lost";
    out(kIir, 0x03);
    EXPECT_EQ(uart_.room(), 16U);
    out(kMcr, 0x10);
    EXPECT_EQ(push("x"), 0U) << "in loopback the input is disconnected";
}

// [PC16550D] 8.7, bit 4.
TEST_F(Uart16550Test, LoopbackReturnsDataAndOverruns) {
    out(kIir, 0x01);
    out(kIer, 0x04);
    out(kMcr, 0x10);
    for (unsigned i = 0; i < 17; ++i) out(kData, i);
    EXPECT_EQ(sink_.text, "");
    EXPECT_EQ(in(kIir), 0xc6U) << "line status has the highest priority";
    EXPECT_EQ(in(kLsr), 0x63U);
    EXPECT_EQ(in(kLsr), 0x61U) << "reading clears the overrun";
    for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(in(kData), i);
}

// [PC16550D] 8.8.
TEST_F(Uart16550Test, ModemStatusDeltas) {
    EXPECT_EQ(in(kMsr), 0xb0U);
    out(kIer, 0x08);
    out(kMcr, 0x14);  // loopback with OUT1: RI on; CTS, DSR and DCD off
    EXPECT_EQ(in(kIir), 0x00U);
    EXPECT_EQ(in(kMsr), 0x4bU);
    EXPECT_EQ(in(kMsr), 0x40U);
    EXPECT_EQ(in(kIir), 0x01U);
    out(kMcr, 0x10);
    EXPECT_EQ(in(kMsr), 0x04U) << "the trailing edge of RI";
}

TEST_F(Uart16550Test, WideAccessesAreByteAccesses) {
    uart_.write(kData, Width::word, 0x0241);  // 'A', then IER
    EXPECT_EQ(sink_.text, "A");
    EXPECT_EQ(in(kIer), 0x02U);
    EXPECT_EQ(uart_.read(kScratch, Width::word), 0xff00U);
}

TEST_F(Uart16550Test, RandomAccessesDoNoHarm) {
    std::mt19937_64 random{16550};
    std::array constexpr kWidths{Width::byte, Width::word, Width::dword, Width::qword};
    for (int i = 0; i < 100'000; ++i) {
        Width const width = kWidths[random() % 4];
        uart_.write(random() % 8, width, random() & ones(width));
        static_cast<void>(uart_.read(random() % 8, width));
        EXPECT_LE(push("random"), Uart16550::kFifoBytes);
        ASSERT_LE(uart_.room(), Uart16550::kFifoBytes);
    }
}

}  // namespace
}  // namespace backplane
