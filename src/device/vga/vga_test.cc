#include "device/vga/vga.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "device/testing.h"
#include "memory/frame_pool.h"

namespace backplane {
namespace {

constexpr std::uint64_t kText = 0xB'8000;

class VgaTest : public testing::Test {
  protected:
    VgaTest() { EXPECT_TRUE(vga_.attach(bus_).has_value()); }
    void out(std::uint16_t port, unsigned value) { bus_.out(PortNumber{port}, Width::byte, value); }
    unsigned in(std::uint16_t port) { return static_cast<unsigned>(bus_.in(PortNumber{port}, Width::byte)); }
    /// Index and data in one word, as drivers do.
    void set(std::uint16_t port, unsigned index, unsigned value) { bus_.out(PortNumber{port}, Width::word, value << 8 | index); }
    void poke(std::uint64_t address, unsigned value) { bus_.write(GuestPhys{address}, Width::byte, value); }
    unsigned peek(std::uint64_t address) { return static_cast<unsigned>(bus_.read(GuestPhys{address}, Width::byte)); }
    void print(unsigned cell, std::string const& text) {
        for (char const c : text) bus_.write(GuestPhys{kText + 2 * cell++}, Width::word, 0x1700U | static_cast<std::uint8_t>(c));
    }
    void pass(Ticks time) {
        Ticks const end = clock_.now() + time;
        while (clock_.next_deadline() <= end) {
            clock_.advance_to(clock_.next_deadline());
            clock_.fire_due();
        }
        clock_.advance_to(end);
    }

    FramePool pool_{std::move(FramePool::create(8).value())};
    GuestMemory memory_{pool_};
    Bus bus_{memory_};
    MachineClock clock_;
    TextSink output_;
    Vga vga_{clock_, output_, ScreenStyle::lines};
};

// [VGA] "Video modes", mode 3.
TEST_F(VgaTest, BeginsWith80By25) {
    print(80, "hello");
    TextScreen const screen = vga_.screen();
    EXPECT_EQ(screen.columns, 80U);
    EXPECT_EQ(screen.rows, 25U);
    EXPECT_EQ(screen.text(1), "hello");
    EXPECT_EQ(screen.cells[80].attribute, 0x17);
    EXPECT_EQ(peek(kText + 160), 'h');
    EXPECT_EQ(bus_.read(GuestPhys{kText + 160}, Width::dword), 0x1765'1768U);
}

TEST_F(VgaTest, ShowsWhatWasWrittenAndThenArmsNoTimer) {
    EXPECT_EQ(clock_.next_deadline(), Ticks::never());
    print(0, "hello");
    pass(milliseconds(30));
    EXPECT_EQ(output_.text, "hello\n");
    EXPECT_EQ(clock_.next_deadline(), Ticks::never()) << "an idle machine stays idle";
}

// Characters of 8 lines: 80 by 50.
TEST_F(VgaTest, RowsFollowTheHeightOfACharacter) {
    set(0x3d4, 0x09, 0x47);
    EXPECT_EQ(vga_.screen().rows, 50U);
}

// [VGA] "Start Address High Register", "Cursor Location High Register".
TEST_F(VgaTest, StartAddressScrollsAndTheCursorIsRelativeToIt) {
    print(160, "third");
    set(0x3d4, 0x0d, 160);
    set(0x3d4, 0x0f, 165);
    EXPECT_EQ(vga_.screen().text(0), "third");
    EXPECT_EQ(vga_.screen().cursor, (TextScreen::Place{0, 5}));
    set(0x3d4, 0x0a, 0x20);
    EXPECT_EQ(vga_.screen().cursor, std::nullopt);
    set(0x3d4, 0x0c, 0xff);  // the memory wraps around
    EXPECT_EQ(vga_.screen().cells.size(), 2000U);
}

TEST_F(VgaTest, LinesThatScrollAwayAtOnceAreNotMissed) {
    for (unsigned i = 1; i <= 100; ++i) {
        print(80 * (i + 23), "line " + std::to_string(i));
        set(0x3d4, 0x0c, 80 * i >> 8);
        set(0x3d4, 0x0d, 80 * i & 0xff);
    }
    vga_.finish();
    std::string expected;
    for (unsigned i = 1; i <= 100; ++i) expected += "line " + std::to_string(i) + '\n';
    EXPECT_EQ(output_.text, expected);
}

TEST_F(VgaTest, NoSizeIsTooLarge) {
    for (unsigned index = 0; index < 0x20; ++index) set(0x3d4, index, 0xff);
    set(0x3d4, 0x11, 0);
    set(0x3d4, 0x01, 0xff);
    set(0x3d4, 0x07, 0xff);
    set(0x3d4, 0x09, 0x00);
    TextScreen const screen = vga_.screen();
    EXPECT_LE(screen.columns, 132U);
    EXPECT_LE(screen.rows, 60U);
    set(0x3d4, 0x13, 0);
    EXPECT_EQ(vga_.screen().cursor, std::nullopt);
}

// [VGA] "Vertical Retrace End".
TEST_F(VgaTest, TimingRegistersCanBeProtected) {
    set(0x3d4, 0x01, 0x27);
    EXPECT_EQ(vga_.screen().columns, 80U) << "they are so in mode 3";
    set(0x3d4, 0x11, 0x0e);
    set(0x3d4, 0x01, 0x27);
    EXPECT_EQ(vga_.screen().columns, 40U);
}

// A font goes into plane 2, one plane at a time; the text stays.
TEST_F(VgaTest, PlanesAreReachedOneByOne) {
    print(0, "text");
    set(0x3c4, 2, 0x04);
    set(0x3c4, 4, 0x06);
    set(0x3ce, 4, 0x02);
    set(0x3ce, 6, 0x04);
    poke(0xA'0001, 0x5a);
    EXPECT_EQ(peek(0xA'0001), 0x5aU);
    EXPECT_EQ(peek(kText), 0xffU) << "not decoded now";
    set(0x3c4, 2, 0x03);
    set(0x3c4, 4, 0x02);
    set(0x3ce, 4, 0x00);
    set(0x3ce, 6, 0x0e);
    EXPECT_EQ(vga_.screen().text(0), "text");
}

TEST_F(VgaTest, GraphicsModeShowsNothing) {
    set(0x3ce, 6, 0x05);
    EXPECT_EQ(vga_.screen().columns, 0U);
}

// [VGA] "Attribute Controller Registers": the status register resets the flip-flop.
TEST_F(VgaTest, AttributeControllerTakesIndexAndDataInTurn) {
    (void)in(0x3da);
    out(0x3c0, 0x10);
    out(0x3c0, 0x08);
    out(0x3c0, 0x30);
    (void)in(0x3da);
    out(0x3c0, 0x30);
    EXPECT_EQ(in(0x3c1), 0x08U);
    EXPECT_EQ(in(0x3c0), 0x30U);
}

TEST_F(VgaTest, PaletteCountsItsComponents) {
    out(0x3c8, 255);
    for (unsigned value : {1U, 2U, 0xffU, 4U}) out(0x3c9, value);
    EXPECT_EQ(in(0x3c8), 0U);
    out(0x3c7, 255);
    EXPECT_EQ(in(0x3c9), 1U);
    EXPECT_EQ(in(0x3c9), 2U);
    EXPECT_EQ(in(0x3c9), 0x3fU);
    EXPECT_EQ(in(0x3c9), 4U) << "and wrap around";
}

TEST_F(VgaTest, RetraceFollowsTime) {
    unsigned seen = 0;
    unsigned not_seen = 0;
    for (int i = 0; i < 2000; ++i) {
        pass(microseconds(10));
        ((in(0x3da) & 8) != 0 ? seen : not_seen) += 1;
    }
    EXPECT_GT(seen, 0U);
    EXPECT_GT(not_seen, seen);
}

}  // namespace
}  // namespace backplane
