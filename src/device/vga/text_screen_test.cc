#include "device/vga/text_screen.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "device/testing.h"

namespace backplane {
namespace {

TextScreen screen_of(std::vector<std::string> const& rows, unsigned columns = 20) {
    TextScreen screen{.columns = columns, .rows = static_cast<unsigned>(rows.size())};
    for (std::string const& row : rows) {
        for (unsigned i = 0; i < columns; ++i)
            screen.cells.push_back({i < row.size() ? static_cast<std::uint8_t>(row[i]) : std::uint8_t{' '}, 0x07});
    }
    return screen;
}

TEST(TextScreen, CharactersOfCodePage437BecomeUtf8) {
    TextScreen screen = screen_of({"\x01\xb0\xc9\xe1  ", "\x1b[2J\x07\x7f"});
    EXPECT_EQ(screen.text(0), "☺░╔ß");
    EXPECT_EQ(screen.text(1), "←[2J•⌂") << "no control character of the guest's comes out";
}

TEST(ScreenPainter, LinesComeOnce) {
    TextSink out;
    ScreenPainter painter{out, ScreenStyle::lines};
    EXPECT_FALSE(painter.paint(screen_of({"one", "", ""})));
    EXPECT_FALSE(painter.paint(screen_of({"one", "two", ""})));
    EXPECT_FALSE(painter.paint(screen_of({"one", "two", ""})));
    EXPECT_EQ(out.take(), "one\ntwo\n");
    EXPECT_FALSE(painter.paint(screen_of({"one", "TWO", ""})));
    EXPECT_EQ(out.take(), "TWO\n");
}

TEST(ScreenPainter, ScrollingIsUnderstood) {
    TextSink out;
    ScreenPainter painter{out, ScreenStyle::lines};
    painter.paint(screen_of({"a", "b", "c"}));
    painter.paint(screen_of({"b", "c", "d"}));
    painter.paint(screen_of({"d", "e", "f"}));
    EXPECT_EQ(out.take(), "a\nb\nc\nd\ne\nf\n");
    painter.paint(screen_of({"", "", ""}));
    EXPECT_EQ(out.take(), "") << "cleared";
    painter.paint(screen_of({"x", "x", "x"}));
    painter.paint(screen_of({"x", "x", "x"}));
    EXPECT_EQ(out.take(), "x\nx\nx\n");
}

TEST(ScreenPainter, TheLineOfTheCursorWaitsUntilItRests) {
    TextSink out;
    ScreenPainter painter{out, ScreenStyle::lines};
    TextScreen screen = screen_of({"ready", "log"});
    screen.cursor = TextScreen::Place{1, 3};
    EXPECT_TRUE(painter.paint(screen));
    EXPECT_EQ(out.take(), "ready\n");
    screen = screen_of({"ready", "login: "});
    screen.cursor = TextScreen::Place{1, 7};
    EXPECT_TRUE(painter.paint(screen));
    EXPECT_FALSE(painter.paint(screen));
    EXPECT_EQ(out.take(), "login:\n");
}

TEST(ScreenPainter, WhatIsHeldBackComesInTheEnd) {
    TextSink out;
    ScreenPainter painter{out, ScreenStyle::lines};
    TextScreen screen = screen_of({"halted"});
    screen.cursor = TextScreen::Place{0, 6};
    painter.finish(screen);
    painter.finish(screen);
    EXPECT_EQ(out.take(), "halted\n");
}

TEST(ScreenPainter, TerminalGetsColoursAndChangedRows) {
    TextSink out;
    ScreenPainter painter{out, ScreenStyle::terminal};
    TextScreen screen = screen_of({"ab", "cd"}, 2);
    screen.cells[1].attribute = 0x1e;  // yellow on blue
    screen.cursor = TextScreen::Place{1, 1};
    painter.paint(screen);
    EXPECT_EQ(out.take(),
              "\x1b[?25l\x1b[0m\x1b[2J\x1b[1;1H\x1b[0;37;40ma\x1b[0;93;44mb\x1b[2;1H\x1b[0;37;40mcd\x1b[2;2H\x1b[?25h");
    painter.paint(screen);
    EXPECT_EQ(out.take(), "");
    screen.cells[3].character = 'D';
    screen.cursor.reset();
    painter.paint(screen);
    EXPECT_EQ(out.take(), "\x1b[?25l\x1b[2;1H\x1b[0;37;40mcD");
    painter.finish(screen);
    EXPECT_EQ(out.take(), "\x1b[0m\x1b[?25h\x1b[2;1H\n");
}

TEST(ScreenPainter, GraphicsShowNothing) {
    TextSink out;
    ScreenPainter painter{out, ScreenStyle::terminal};
    painter.paint(TextScreen{});
    painter.finish(TextScreen{});
    EXPECT_EQ(out.take(), "");
}

}  // namespace
}  // namespace backplane
